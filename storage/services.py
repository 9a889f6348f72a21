"""What learners get to download with: URLs and temporary credentials."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from config.errors import ApiError, ErrorCode
from storage import sts
from storage.addresses import host, origin
from storage.artifacts import artifact_url
from storage.keys import folder_of
from storage.selectors import readable_artifacts


@dataclass(frozen=True, slots=True)
class DownloadCredentials:
    """Where the bucket is, what of it the learner may read, and credentials for that, if a role is configured."""

    bucket: str
    endpoint: str
    region: str
    cdn_domain: str | None
    allowed_prefixes: list[str]
    access_key_id: str | None
    access_key_secret: str | None
    security_token: str | None
    expiration: datetime | None
    issued_at: datetime


def resolve_artifact_url(*, user_id: uuid.UUID, artifact: str, base_url: str, expires_seconds: int | None) -> str:
    """Return an absolute URL of an artifact that the learner may read; an http(s) URL is returned as it is.

    Raises:
        ApiError: ARTIFACT_ACCESS_DENIED, STORAGE_UNAVAILABLE.
    """
    if _is_http_url(artifact):
        return artifact
    key = readable_artifacts(user_id=user_id).find_key(artifact)
    return artifact_url(key=key, base_url=base_url, expires_seconds=expires_seconds)


def issue_download_credentials(
    *, user_id: uuid.UUID, duration_seconds: int | None, allowed_prefixes: Sequence[str] | None
) -> DownloadCredentials:
    """Give a learner what an OSS SDK needs to read some, or all, of the artifacts that the learner may read.

    Raises:
        ApiError: SERVER_MISCONFIGURED (503) when OSS is off, ARTIFACT_ACCESS_DENIED, STORAGE_UNAVAILABLE.
    """
    if not settings.OSS_ENABLED:
        message = "Downloads go by URL here; there are no credentials for them."
        raise ApiError(ErrorCode.SERVER_MISCONFIGURED, message, status=HTTPStatus.SERVICE_UNAVAILABLE)
    readable = readable_artifacts(user_id=user_id)
    prefixes = (
        readable.find_prefixes(allowed_prefixes) if allowed_prefixes else {key: folder_of(key) for key in readable.keys}
    )
    issued_at = timezone.now()
    granted, credentials = _grant(
        list(prefixes), user_id=user_id, duration_seconds=duration_seconds or settings.OSS_STS_DURATION_SECONDS
    )
    return DownloadCredentials(
        bucket=settings.OSS_BUCKET_NAME,
        endpoint=origin(settings.OSS_ENDPOINT),
        region=settings.OSS_REGION_ID,
        cdn_domain=host(settings.OSS_CDN_DOMAIN) if settings.OSS_CDN_DOMAIN else None,
        allowed_prefixes=list(dict.fromkeys(prefixes[key] for key in granted)),
        access_key_id=credentials.access_key_id if credentials else None,
        access_key_secret=credentials.access_key_secret if credentials else None,
        security_token=credentials.security_token if credentials else None,
        expiration=credentials.expiration if credentials else None,
        issued_at=issued_at,
    )


def _grant(
    keys: list[str], *, user_id: uuid.UUID, duration_seconds: int
) -> tuple[list[str], sts.TemporaryCredentials | None]:
    """Return the keys that the credentials cover, and the credentials; without a role all keys, and none."""
    if not settings.OSS_ROLE_ARN:
        return keys, None
    fitting = sts.fitting_keys(keys)
    if not fitting:
        return [], None
    session_name = f"learner-{user_id.hex}"
    return fitting, sts.assume_role(keys=fitting, duration_seconds=duration_seconds, session_name=session_name)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
