"""Our own downloads: what a signed URL gives."""

import hashlib
import logging
from dataclasses import dataclass
from typing import IO, Final, cast

from django.conf import settings

from config import limits
from config.errors import ApiError, ErrorCode
from config.places import Places
from storage.artifacts import artifact_storage
from storage.local import LocalArtifactStorage
from storage.ranges import ByteRange, FilePart
from storage.signatures import check_signature

logger = logging.getLogger(__name__)


def make_places(threads: int) -> Places:
    """Make the places for downloads in a process of so many threads: half of them, and one at least.

    A download holds its thread for as long as its client takes. The other half is for the calls that must not fail.
    """
    return Places(max(1, threads // 2))


_places: Final = make_places(settings.WEB_THREADS)


@dataclass(frozen=True, slots=True)
class Download:
    """An artifact that may be downloaded: its size in bytes, and for how many more seconds it may be."""

    key: str
    size: int
    etag: str
    max_age: int

    def open(self, part: ByteRange) -> FilePart:
        """Open the file at a part of it, and hold one of this process's places until that is closed.

        Raises:
            ApiError: SERVICE_UNAVAILABLE at once when all places are taken, STORAGE_UNAVAILABLE.
        """
        give_back = _places.take()
        try:
            return FilePart(self._open_at(part.first), part.length, on_end=give_back)
        except BaseException:
            give_back()
            raise

    def _open_at(self, offset: int) -> IO[bytes]:
        try:
            file = cast(IO[bytes], _local_storage().open(self.key))
        except FileNotFoundError as error:
            raise _missing(self.key) from error
        try:
            file.seek(offset)
        except BaseException:
            file.close()
            raise
        return file


def find_download(*, key: str, expires: str, signature: str) -> Download:
    """Look up what a signed URL names.

    A file that isn't there, though we signed its URL, is our fault and may come back (a folder that isn't mounted):
    503, not 404, which clients take for final.

    Raises:
        ApiError: NOT_FOUND when artifacts lie elsewhere, ARTIFACT_ACCESS_DENIED, STORAGE_UNAVAILABLE.
    """
    storage = _local_storage()
    max_age = check_signature(key, expires=expires, signature=signature)
    try:
        size = storage.size(key)
    except FileNotFoundError as error:
        raise _missing(key) from error
    return Download(key=key, size=size, etag=_etag(key, size), max_age=max_age)


def _local_storage() -> LocalArtifactStorage:
    storage = artifact_storage()
    if not isinstance(storage, LocalArtifactStorage):
        raise ApiError(ErrorCode.NOT_FOUND)
    return storage


def _etag(key: str, size: int) -> str:
    """Return a strong validator. Bytes under a key never change, and it is the same on every node behind a proxy."""
    return f'"{hashlib.sha256(f"{size}/{key}".encode()).hexdigest()[:32]}"'


def _missing(key: str) -> ApiError:
    logger.error("An artifact is missing in the folder: %s", key)
    return ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS)
