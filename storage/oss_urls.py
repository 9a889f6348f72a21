"""Download URLs of objects in OSS.

Signatures of version 4 are made here, not by oss2: its URLs hold the second at which they were made, and ours have to
stay the same for a while, so that they cache well.
"""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from django.conf import settings

from config import limits
from storage.addresses import region
from storage.oss_requests import make_bucket
from storage.signatures import default_expiry

_ALGORITHM: Final = "OSS4-HMAC-SHA256"
_REQUEST: Final = "aliyun_v4_request"


def object_url(session: Any, key: str, *, expires_seconds: int | None) -> str:
    """Return the object's URL: at the CDN domain when there is one, else at the bucket's own.

    It is signed unless OSS_DOWNLOAD_SIGNED_URL_ENABLED is false. A signature on the CDN domain is checked by OSS
    behind it, so the CDN must pass the query string on, and must not add a signature of its own ("private bucket
    access" off): OSS refuses a request with two. With that access on, use plain CDN URLs.
    """
    by_oss2 = settings.OSS_DOWNLOAD_SIGNED_URL_ENABLED and settings.OSS_SIGNATURE_VERSION == "v1"
    domain = settings.OSS_CDN_DOMAIN
    bucket = make_bucket(session, domain or settings.OSS_ENDPOINT, is_cname=bool(domain), is_signed=by_oss2)
    now = int(time.time())
    seconds = default_expiry(now) - now if expires_seconds is None else expires_seconds
    url = str(bucket.sign_url("GET", key, seconds, slash_safe=True)).removesuffix("?")
    if by_oss2 or not settings.OSS_DOWNLOAD_SIGNED_URL_ENABLED:
        return url
    return f"{url}?{_signed_query(key, *_validity(now, expires_seconds))}"


def _validity(now: int, expires_seconds: int | None) -> tuple[int, int]:
    """Return from which Unix time on, and for how many seconds, a URL is valid.

    The default begins up to ARTIFACT_URL_ROUNDING_SECONDS ago, where both times together fit into what OSS allows.
    """
    if expires_seconds is not None:
        return now, expires_seconds
    seconds = settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS + limits.ARTIFACT_URL_ROUNDING_SECONDS
    if seconds > limits.OSS_SIGNED_URL_MAX_SECONDS:
        return now, settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS
    return default_expiry(now) - seconds, seconds


def _signed_query(key: str, signed_at: int, seconds: int) -> str:
    """Return the query of a GET that is signed by version 4.

    https://www.alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls
    """
    moment = datetime.fromtimestamp(signed_at, UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = [moment[:8], region(), "oss", _REQUEST]
    parameters = {  # in the order of their names
        "x-oss-credential": "/".join([settings.OSS_ACCESS_KEY_ID, *scope]),
        "x-oss-date": moment,
        "x-oss-expires": str(seconds),
        "x-oss-signature-version": _ALGORITHM,
    }
    query = urlencode(parameters, quote_via=quote, safe="")
    path = quote(f"/{settings.OSS_BUCKET_NAME}/{key}", safe="/")
    no_headers = no_additional_headers = ""
    canonical = "\n".join(["GET", path, query, no_headers, no_additional_headers, "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join([_ALGORITHM, moment, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    signing_key = f"aliyun_v4{settings.OSS_ACCESS_KEY_SECRET}".encode()
    for part in scope:
        signing_key = _hmac(signing_key, part)
    return f"{query}&x-oss-signature={_hmac(signing_key, to_sign).hex()}"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
