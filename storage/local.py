"""Artifacts in a folder of this machine: ARTIFACT_ROOT."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.utils import timezone

from config import limits
from config.errors import ApiError, ErrorCode
from storage.base import BLOCK_BYTES, ArtifactStorage, StoredArtifact
from storage.keys import check_key, is_key
from storage.signatures import signed_url

logger = logging.getLogger(__name__)

_INCOMING: Final = ".incoming"  # no key can name it: see storage.keys
_LEFTOVER_AGE: Final = timedelta(days=1)


class LocalArtifactStorage(ArtifactStorage, FileSystemStorage):
    """A file per key. Its folder must be on a file system with hard links, as all of Linux's and Apple's own are.

    A new file is written and synced under another name and then linked to its own: `link` is atomic and refuses a
    name that is taken, which `rename` would overwrite.
    """

    @property
    def base_location(self) -> str:
        return str(settings.ARTIFACT_ROOT)

    @property
    def location(self) -> str:
        return os.path.abspath(self.base_location)

    def path(self, name: str) -> str:
        return super().path(check_key(name))

    def exists(self, name: str) -> bool:
        return Path(self.path(name)).is_file()

    def size(self, name: str) -> int:
        with _outage():
            return super().size(name)

    def delete(self, name: str) -> None:
        with _outage():
            super().delete(name)

    def download_url(self, key: str, *, base_url: str, expires_seconds: int | None) -> str:
        return signed_url(check_key(key), base_url=base_url, expires_seconds=expires_seconds)

    def list_artifacts(self, prefix: str) -> Iterator[StoredArtifact]:
        root = Path(self.location)
        with _outage():
            for path in _walk(root / prefix.rpartition("/")[0]):
                key = path.relative_to(root).as_posix()
                if key.startswith(prefix) and is_key(key) and (status := _status(path)):
                    yield StoredArtifact(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def abort_stale_uploads(self, older_than: datetime) -> int:
        with _outage():
            return _remove_leftovers(Path(self.location) / _INCOMING, older_than)

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        with _outage():
            return File(open(self.path(name), mode))

    def _save(self, name: str, content: File[bytes]) -> str:
        target = Path(self.path(name))
        with _outage():
            if target.exists():
                self.refuse_other_bytes(name, content)
                _sync_folder(target.parent)  # whoever linked it may have died before this
                return name
            temporary = self._write_temporary(content)
            try:
                _make_folders(target.parent, Path(self.location))
                os.link(temporary, target)
                _sync_folder(target.parent)
            except FileExistsError:
                self.refuse_other_bytes(name, content)
            finally:
                temporary.unlink()
        return name

    def _write_temporary(self, content: File[bytes]) -> Path:
        folder = Path(self.location) / _INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, timezone.now() - _LEFTOVER_AGE)
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for block in content.chunks(BLOCK_BYTES):
                    file.write(block)
                file.flush()
                os.fchmod(descriptor, self.file_permissions_mode or 0o644)
                os.fsync(descriptor)
        except BaseException:
            os.unlink(name)
            raise
        return Path(name)


@contextmanager
def _outage() -> Iterator[None]:
    """Turn what the disk refuses (full, read-only, not mounted, broken) into STORAGE_UNAVAILABLE."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        logger.error("The artifact folder fails: %s", error)
        raise ApiError(ErrorCode.STORAGE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS) from error


def _make_folders(folder: Path, root: Path) -> None:
    """Make `folder` below `root`, so that a power cut after this doesn't lose the way to it."""
    missing = [part for part in (folder, *folder.parents) if part.is_relative_to(root) and not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in reversed(missing):
        _sync_folder(part.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder; what vanishes meanwhile, the folder itself included, is no error."""

    def report(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _folders, names in os.walk(folder, onerror=report):
        yield from (Path(parent, name) for name in names)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _remove_leftovers(folder: Path, older_than: datetime) -> int:
    """Delete what processes that were killed while writing have left; return the number of files."""
    removed = 0
    for file in _walk(folder):
        status = _status(file)
        if status and status.st_mtime < older_than.timestamp():
            try:
                file.unlink()
                removed += 1
            except FileNotFoundError:
                continue  # another process was faster
    return removed
