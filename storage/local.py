"""Artifacts in a folder of this machine: ARTIFACT_ROOT."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

from config import limits
from config.errors import ApiError, ErrorCode
from storage.base import BLOCK_BYTES, ArtifactStorage
from storage.keys import check_key
from storage.signatures import signed_url

logger = logging.getLogger(__name__)

_INCOMING: Final = ".incoming"  # no key can name it: see storage.keys
_LEFTOVER_SECONDS: Final = 86_400


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

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        with _outage():
            return File(open(self.path(name), mode))

    def _save(self, name: str, content: File[bytes]) -> str:
        target = Path(self.path(name))
        with _outage():
            if target.exists():
                self.refuse_other_bytes(name, content)
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
        _remove_leftovers(folder)
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


def _remove_leftovers(folder: Path) -> None:
    """Delete what processes that were killed while writing have left."""
    oldest = time.time() - _LEFTOVER_SECONDS
    for file in folder.iterdir():
        try:
            if file.stat().st_mtime < oldest:
                file.unlink()
        except FileNotFoundError:
            continue  # another process was faster
