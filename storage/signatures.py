"""The signatures of our own download URLs."""

import re
import time
from typing import Final
from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from config import limits
from config.errors import ApiError, ErrorCode

_SALT: Final = "storage.download-url"
_EXPIRES: Final = re.compile(r"[0-9]{1,12}")


def default_expiry(now: float) -> int:
    """Return the Unix time, at least OSS_DOWNLOAD_URL_EXPIRE_SECONDS ahead, at which a URL made now expires."""
    rounding = limits.ARTIFACT_URL_ROUNDING_SECONDS
    return -int(-(now + settings.OSS_DOWNLOAD_URL_EXPIRE_SECONDS) // rounding) * rounding


def signed_url(key: str, *, base_url: str, expires_seconds: int | None) -> str:
    """Return our own URL of a key: valid for `expires_seconds` exactly, or to the rounded default."""
    now = time.time()
    expires = default_expiry(now) if expires_seconds is None else int(now) + expires_seconds
    query = urlencode({"expires": expires, "signature": _sign(key, str(expires))})
    return f"{base_url.rstrip('/')}/artifacts/{quote(key, safe='/')}?{query}"


def check_signature(key: str, *, expires: str, signature: str) -> int:
    """Return the seconds for which a URL stays valid.

    Raises:
        ApiError: ARTIFACT_ACCESS_DENIED; that a URL has expired is said only of one that we had signed.
    """
    if not _EXPIRES.fullmatch(expires) or not constant_time_compare(signature, _sign(key, expires)):
        raise ApiError(ErrorCode.ARTIFACT_ACCESS_DENIED, "This download link is not valid.")
    remaining = int(expires) - int(time.time())
    if remaining <= 0:
        raise ApiError(
            ErrorCode.ARTIFACT_ACCESS_DENIED, "This download link has expired. Please check for updates again."
        )
    return remaining


def _sign(key: str, expires: str) -> str:
    return salted_hmac(_SALT, f"{expires}\n{key}", algorithm="sha256").hexdigest()
