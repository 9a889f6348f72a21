"""What a place for artifacts must be able to do, besides Django's storage API."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, cast

from django.core.files.storage import Storage

from config.errors import ApiError, ErrorCode

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """What lies in the store under a key, and since when."""

    key: str
    size_bytes: int
    modified_at: datetime


class ArtifactStorage(Storage):
    """A store whose objects never change: `save` puts bytes under exactly the key given, or refuses.

    `save` raises ApiError BUNDLE_RELEASE_CONFLICT when other bytes lie under the key, and does nothing when the same
    do. Nobody ever sees a part of an object under its key. `open` and `size` raise FileNotFoundError for an unknown
    key. All raise ApiError STORAGE_UNAVAILABLE when the store can't be reached, and SuspiciousFileOperation for a key
    that `storage.keys.check_key` refuses.
    """

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def download_url(self, key: str, *, base_url: str, expires_seconds: int | None) -> str:
        """Return an absolute URL that a plain GET downloads; see `storage.artifacts.artifact_url`."""
        raise NotImplementedError

    def list_artifacts(self, prefix: str) -> Iterator[StoredArtifact]:
        """Yield what lies under keys that begin with `prefix`; see `storage.artifacts.list_artifacts`."""
        raise NotImplementedError

    def abort_stale_uploads(self, older_than: datetime) -> int:
        """Give up unfinished uploads; see `storage.artifacts.abort_stale_uploads`."""
        raise NotImplementedError

    def refuse_other_bytes(self, key: str, content: IO[bytes]) -> None:
        """Compare `content` with what lies under the key, from the beginning of both.

        Raises:
            ApiError: BUNDLE_RELEASE_CONFLICT when they differ.
        """
        content.seek(0)
        with cast(IO[bytes], self.open(key)) as stored:
            while True:
                expected, found = read_block(stored), read_block(content)
                if expected != found:
                    raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, "Other bytes are already stored under this key.")
                if not expected:
                    return


def read_block(source: Any, size: int = BLOCK_BYTES) -> bytes:
    """Read `size` bytes, or less only at the end: a network stream may return fewer on each call."""
    parts: list[bytes] = []
    missing = size
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
