"""Artifacts in a bucket of Alibaba Cloud OSS."""

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, cast

import oss2
import requests
from django.conf import settings
from django.core.files.base import File
from oss2.exceptions import NoSuchKey, OssError

from config import limits
from config.errors import ApiError, ErrorCode
from storage.addresses import origin
from storage.base import ArtifactStorage
from storage.keys import check_key
from storage.signatures import default_expiry

logger = logging.getLogger(__name__)

_TIMEOUTS: Final = (3.05, 20.0)
"""Seconds to connect, and between two packets of an answer."""

_PART_BYTES: Final = 10 * 1024 * 1024
"""Larger objects are uploaded in parts of this size: OSS allows 10,000 of them."""

_HEADERS: Final = {"Content-Type": "application/octet-stream", "x-oss-forbid-overwrite": "true"}


class OssArtifactStorage(ArtifactStorage):
    """An object per key. Settings are read at each call, and connections are shared by all calls of the process."""

    def __init__(self) -> None:
        self._session: Any = oss2.Session()

    def exists(self, name: str) -> bool:
        with _outage():
            return bool(self._bucket().object_exists(check_key(name)))

    def size(self, name: str) -> int:
        with _outage():
            return int(self._bucket().get_object_meta(check_key(name)).content_length)

    def delete(self, name: str) -> None:
        with _outage():
            self._bucket().delete_object(check_key(name))

    def download_url(self, key: str, *, base_url: str, expires_seconds: int | None) -> str:
        """Return the object's URL: at the CDN domain when there is one, else at the bucket's own.

        It is signed unless OSS_DOWNLOAD_SIGNED_URL_ENABLED is false. A signature on the CDN domain is checked by OSS
        behind it, so the CDN must pass the query string on, and must not add a signature of its own ("private bucket
        access" off): OSS refuses a request with two. With that access on, use plain CDN URLs.
        """
        if expires_seconds is None:
            now = int(time.time())
            expires_seconds = default_expiry(now) - now
        with _outage():
            bucket = self._public_bucket()
            return str(bucket.sign_url("GET", check_key(key), expires_seconds, slash_safe=True)).removesuffix("?")

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        with _outage():
            result = self._bucket().get_object(check_key(name))
        return File(cast(IO[bytes], io.BufferedReader(_ObjectReader(result))))

    def _save(self, name: str, content: File[bytes]) -> str:
        bucket = self._bucket()
        source = cast(IO[bytes], content.file)
        with _outage():
            # Buckets with versioning ignore x-oss-forbid-overwrite; and nobody waits for an upload in vain.
            if bucket.object_exists(check_key(name)):
                self.refuse_other_bytes(name, source)
                return name
            source.seek(0)
            try:
                if content.size > _PART_BYTES:
                    _put_parts(bucket, name, source, content.size)
                else:
                    bucket.put_object(name, source, headers=_HEADERS)
            except OssError as error:
                if error.code != "FileAlreadyExists":
                    raise
                self.refuse_other_bytes(name, source)
        return name

    def _bucket(self) -> Any:
        auth = oss2.Auth(settings.OSS_ACCESS_KEY_ID, settings.OSS_ACCESS_KEY_SECRET)
        return self._make_bucket(auth, settings.OSS_ENDPOINT)

    def _public_bucket(self) -> Any:
        if not settings.OSS_DOWNLOAD_SIGNED_URL_ENABLED:
            auth = oss2.AnonymousAuth()
        else:
            auth = oss2.Auth(settings.OSS_ACCESS_KEY_ID, settings.OSS_ACCESS_KEY_SECRET)
        if settings.OSS_CDN_DOMAIN:
            return self._make_bucket(auth, settings.OSS_CDN_DOMAIN, is_cname=True)
        return self._make_bucket(auth, settings.OSS_ENDPOINT)

    def _make_bucket(self, auth: Any, address: str, *, is_cname: bool = False) -> Any:
        return oss2.Bucket(
            auth,
            origin(address),
            settings.OSS_BUCKET_NAME,
            is_cname=is_cname,
            session=self._session,
            connect_timeout=_TIMEOUTS,
        )


def _put_parts(bucket: Any, key: str, source: IO[bytes], size: int) -> None:
    """Upload in parts; the object appears when the last step has succeeded."""
    upload_id = bucket.init_multipart_upload(key, headers=_HEADERS).upload_id
    try:
        parts = []
        for number, offset in enumerate(range(0, size, _PART_BYTES), start=1):
            part = oss2.SizedFileAdapter(source, min(_PART_BYTES, size - offset))
            result = bucket.upload_part(key, upload_id, number, part)
            parts.append(oss2.models.PartInfo(number, result.etag, size=part.len, part_crc=result.crc))
        bucket.complete_multipart_upload(key, upload_id, parts, headers=_HEADERS)
    except BaseException:
        _abort_upload(bucket, key, upload_id)
        raise


def _abort_upload(bucket: Any, key: str, upload_id: str) -> None:
    """Give the uploaded parts up. Where that fails, a life cycle rule of the bucket has to clear them away."""
    try:
        bucket.abort_multipart_upload(key, upload_id)
    except (OssError, requests.RequestException) as error:
        logger.warning("The parts of an upload stay in the bucket: %s", _describe(error))


class _ObjectReader(io.RawIOBase):
    """The body of an OSS answer as a file. A connection that breaks is STORAGE_UNAVAILABLE, never a short file."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _outage():
            data: bytes = self._result.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._result.close()
        super().close()


@contextmanager
def _outage() -> Iterator[None]:
    """Turn what OSS or the way to it refuses into STORAGE_UNAVAILABLE; an unknown key is FileNotFoundError."""
    try:
        yield
    except NoSuchKey as error:
        raise FileNotFoundError("There is no artifact under this key.") from error
    except (OssError, requests.RequestException) as error:
        logger.error("OSS fails: %s", _describe(error))
        raise ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS) from error


def _describe(error: OssError | requests.RequestException) -> str:
    """Say what happened without the URL, which may hold a signature."""
    if isinstance(error, OssError):
        return f"{type(error).__name__} {error.status} {error.code} (request {error.request_id or 'unknown'})"
    return type(error).__name__
