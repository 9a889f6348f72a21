"""Temporary credentials of Alibaba Cloud's STS, for exactly the objects that a learner may read."""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from django.conf import settings

from config import limits
from config.errors import ApiError, ErrorCode
from storage.addresses import origin, region

logger = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 3
_ANSWER_SECONDS: Final = 10

_POLICY_SPECIAL: Final = re.compile(r"[*?$]")
"""What a policy doesn't take literally. Keys with it get no credentials; they still have URLs."""


@dataclass(frozen=True, slots=True)
class TemporaryCredentials:
    """What an OSS SDK needs; valid until `expiration`."""

    access_key_id: str
    access_key_secret: str
    security_token: str
    expiration: datetime


def fitting_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys, in their order, that a policy of at most STS_POLICY_MAX_CHARACTERS can name."""
    fitting: list[str] = []
    length = len(session_policy([]))
    for key in keys:
        entry = len(json.dumps(_resource(key))) + len(",")
        if not _POLICY_SPECIAL.search(key) and length + entry <= limits.STS_POLICY_MAX_CHARACTERS:
            fitting.append(key)
            length += entry
    return fitting


def session_policy(keys: Sequence[str]) -> str:
    """Return a policy that allows reading these objects, and nothing else: no listing, no other key."""
    resources = [_resource(key) for key in keys]
    statement = {"Effect": "Allow", "Action": ["oss:GetObject"], "Resource": resources}
    return json.dumps({"Version": "1", "Statement": [statement]}, separators=(",", ":"))


def assume_role(*, keys: Sequence[str], duration_seconds: int, session_name: str) -> TemporaryCredentials:
    """Ask STS for credentials that read `keys`, which `fitting_keys` has chosen.

    Args:
        duration_seconds: 900 to 3600.
        session_name: 2 to 64 letters, digits, `.`, `@`, `-` and `_`; shows up in OSS's access log.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    client = AcsClient(
        settings.OSS_ACCESS_KEY_ID,
        settings.OSS_ACCESS_KEY_SECRET,
        region(),
        auto_retry=False,
        connect_timeout=_CONNECT_SECONDS,
        timeout=_ANSWER_SECONDS,
    )
    request = CommonRequest(domain=_endpoint(), version="2015-04-01", action_name="AssumeRole")
    request.set_method("POST")
    request.add_body_params("RoleArn", settings.OSS_ROLE_ARN)
    request.add_body_params("RoleSessionName", session_name)
    request.add_body_params("DurationSeconds", str(duration_seconds))
    request.add_body_params("Policy", session_policy(keys))
    try:
        return _parse(client.do_action_with_exception(request))
    except (ClientException, ServerException, ValueError, LookupError, TypeError) as error:
        # The last three: the SDK and we run into an answer that isn't STS's.
        logger.error("STS fails: %s %s", type(error).__name__, getattr(error, "error_code", ""))
        raise ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS) from error


def _parse(body: bytes) -> TemporaryCredentials:
    found: dict[str, Any] = json.loads(body)["Credentials"]
    return TemporaryCredentials(
        access_key_id=str(found["AccessKeyId"]),
        access_key_secret=str(found["AccessKeySecret"]),
        security_token=str(found["SecurityToken"]),
        expiration=datetime.strptime(found["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
    )


def _resource(key: str) -> str:
    return f"acs:oss:*:*:{settings.OSS_BUCKET_NAME}/{key}"


def _endpoint() -> str:
    if settings.OSS_STS_ENDPOINT:
        return origin(settings.OSS_STS_ENDPOINT)
    place = region()
    return f"https://sts.{place}.aliyuncs.com" if place else "https://sts.aliyuncs.com"
