"""Artifacts in a bucket of Alibaba Cloud OSS."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, cast

import oss2
from django.conf import settings
from django.core.files.base import File
from oss2.exceptions import InconsistentError

from config import limits
from storage.base import ArtifactStorage, StoredArtifact
from storage.keys import check_key, is_key
from storage.oss_requests import checked, find_meta, make_bucket, outage, pages, persist, request
from storage.oss_uploads import abort_stale, upload
from storage.oss_urls import object_url


class OssArtifactStorage(ArtifactStorage):
    """An object per key. Settings are read at each call, and connections are shared by all calls of the process."""

    def __init__(self) -> None:
        self._session: Any = oss2.Session()

    def exists(self, name: str) -> bool:
        with outage():
            return find_meta(self._bucket(), check_key(name)) is not None

    def size(self, name: str) -> int:
        with outage():
            meta = find_meta(self._bucket(), check_key(name))
        if meta is None:
            raise FileNotFoundError("There is no artifact under this key.")
        return int(meta.content_length)

    def delete(self, name: str) -> None:
        with outage():
            request(partial(self._bucket().delete_object, check_key(name)))

    def download_url(self, key: str, *, base_url: str, expires_seconds: int | None) -> str:
        with outage():
            return object_url(self._session, check_key(key), expires_seconds=expires_seconds)

    def list_artifacts(self, prefix: str) -> Iterator[StoredArtifact]:
        with outage():
            listing = partial(self._bucket().list_objects_v2, prefix=prefix, max_keys=limits.OSS_PAGE_ENTRIES)
            for page in pages(listing, {"continuation_token": "next_continuation_token"}):
                for entry in page.object_list:
                    if is_key(entry.key):
                        modified_at = datetime.fromtimestamp(entry.last_modified, UTC)
                        yield StoredArtifact(entry.key, entry.size, modified_at)

    def abort_stale_uploads(self, older_than: datetime) -> int:
        with outage():
            return abort_stale(self._bucket(), settings.OSS_BUNDLE_PREFIX, older_than)

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        with outage():
            reader = _ObjectReader(self._bucket(), check_key(name))
        return File(cast(IO[bytes], io.BufferedReader(reader)))

    def _save(self, name: str, content: File[bytes]) -> str:
        source = cast(IO[bytes], content.file)
        with outage():
            bucket = self._bucket()
            # Buckets with versioning ignore x-oss-forbid-overwrite; and nobody waits for an upload in vain.
            is_free = find_meta(bucket, check_key(name)) is None
            if not is_free or not upload(bucket, name, source, content.size):
                self.refuse_other_bytes(name, source)
        return name

    def _bucket(self) -> Any:
        return make_bucket(self._session, settings.OSS_ENDPOINT)


class _ObjectReader(io.RawIOBase):
    """The bytes of an object as a file. Where a connection breaks, another one goes on at the same byte.

    When that fails it is STORAGE_UNAVAILABLE, never a short file; so it is when the object was replaced meanwhile.
    """

    def __init__(self, bucket: Any, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._offset = 0
        self._result: Any = None  # `close` needs it, also when the next line fails
        self._result = persist(lambda: checked(bucket.get_object(key)))
        self._etag: str = self._result.headers.get("ETag", "")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with outage():
            data = persist(partial(self._read_some, len(buffer)))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _read_some(self, size: int) -> bytes:
        if self._result is None:
            self._connect_again()
        try:
            return bytes(self._result.read(size))
        except BaseException:
            self._disconnect()
            raise

    def _connect_again(self) -> None:
        byte_range = (self._offset, None) if self._offset else None
        result = checked(self._bucket.get_object(self._key, byte_range=byte_range, headers={"If-Match": self._etag}))
        if byte_range and not (result.content_range or "").startswith(f"bytes {self._offset}-"):
            result.close()
            raise InconsistentError("OSS doesn't answer with the part that was asked for.")
        self._result = result

    def _disconnect(self) -> None:
        if self._result is not None:
            self._result.close()
            self._result = None
