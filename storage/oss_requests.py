"""Requests to Alibaba Cloud OSS: how they are signed, how long they may take, and when they are sent again."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import ParseError

import oss2
import requests
from django.conf import settings
from oss2.exceptions import InconsistentError, NoSuchKey, NotFound, OssError, RequestError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from config import limits
from config.errors import ApiError, ErrorCode
from storage.addresses import origin, region

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PASSING_FAULTS: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    InconsistentError,
)
_PASSING_STATUSES: Final = frozenset({408, 429})
_UNREADABLE: Final = (ParseError, RuntimeError, ValueError)
"""What oss2 raises about a body that is not OSS's: XML that ends too early, lacks an element, or isn't text."""


def make_bucket(session: Any, address: str, *, is_cname: bool = False, is_signed: bool = True) -> Any:
    """Return the bucket at an address: the endpoint, or a domain that is bound to the bucket."""
    auth = oss2.AnonymousAuth()
    if is_signed:
        key_id, secret = settings.OSS_ACCESS_KEY_ID, settings.OSS_ACCESS_KEY_SECRET
        auth = oss2.make_auth(key_id, secret, settings.OSS_SIGNATURE_VERSION)
    return oss2.Bucket(
        auth,
        origin(address),
        settings.OSS_BUCKET_NAME,
        is_cname=is_cname,
        session=session,
        connect_timeout=(limits.OSS_CONNECT_SECONDS, limits.OSS_ANSWER_SECONDS),
        # Uploads are checked by MD5: oss2's CRC64 is 40 times as slow where it was installed without a compiler.
        enable_crc=False,
        region=region(),
    )


def request(call: Callable[[], Any]) -> Any:
    """Make a request by `call`, which has to be idempotent, and make it again when it meets a fault that may pass.

    oss2's methods try once, so these tries are all there are. The answer is read to its end, which oss2 doesn't always
    do: only then can its connection be used again.

    Raises:
        OssError, requests.RequestException: the last try's.
    """

    def attempt() -> Any:
        result = checked(call())
        result.resp.read()
        return result

    return persist(attempt)


def persist(call: Callable[[], T]) -> T:
    """Call up to OSS_TRIES times, with pauses that grow and differ, so that many clients don't come back at once.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    pause = wait_random_exponential(multiplier=limits.OSS_BACKOFF_SECONDS, max=limits.OSS_BACKOFF_MAX_SECONDS)
    retrying = Retrying(
        stop=stop_after_attempt(limits.OSS_TRIES),
        wait=pause,
        retry=retry_if_exception(_may_pass),
        before_sleep=_log_retry,
        reraise=True,
    )
    result: T = retrying(_read, call)
    return result


def checked(result: Any) -> Any:
    """Refuse an answer that isn't OSS's, such as a proxy's page: OSS gives each of its own a request id."""
    if not result.request_id:
        result.resp.response.close()
        raise InconsistentError("The answer has no x-oss-request-id.")
    return result


def pages(call: Callable[..., Any], markers: Mapping[str, str]) -> Iterator[Any]:
    """Yield all pages of a listing.

    Args:
        call: gives a page.
        markers: argument of `call` → attribute of a page with its value for the next page.
    """
    position: dict[str, str] = {}
    while True:
        page = request(partial(call, **position))
        yield page
        if not page.is_truncated:
            return
        position = {argument: getattr(page, attribute) for argument, attribute in markers.items()}


def find_meta(bucket: Any, key: str) -> Any:
    """Return size and ETag of the object, or None when there is none."""
    try:
        return request(partial(bucket.get_object_meta, key))
    except NotFound as error:
        # HEAD has no body, and older installations don't tell the code in a header either.
        if error.code not in ("", NoSuchKey.code):
            raise
        return None


@contextmanager
def outage() -> Iterator[None]:
    """Turn what OSS or the way to it refuses into STORAGE_UNAVAILABLE; an unknown key is FileNotFoundError."""
    try:
        yield
    except NoSuchKey as error:
        raise FileNotFoundError("There is no artifact under this key.") from error
    except (OssError, requests.RequestException) as error:
        logger.error("OSS fails: %s", describe(error))
        raise ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS) from error


def describe(error: BaseException | None) -> str:
    """Say what happened without the URL, which may hold a signature."""
    if isinstance(error, RequestError):
        return f"{type(error).__name__} {type(error.exception).__name__}"
    if isinstance(error, OssError):
        return f"{type(error).__name__} {error.status} {error.code} (request {error.request_id or 'unknown'})"
    return type(error).__name__


def _read(call: Callable[[], T]) -> T:
    try:
        return call()
    except requests.RequestException:
        raise  # some of them are ValueErrors
    except _UNREADABLE as error:
        raise InconsistentError("The answer can't be read.") from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, RequestError):
        error = error.exception
    if isinstance(error, _PASSING_FAULTS):
        return True
    if not isinstance(error, OssError):
        return False
    return error.status >= 500 or error.status in _PASSING_STATUSES or error.code == "RequestTimeout"


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning("OSS fails, it is tried again: %s", describe(error))
