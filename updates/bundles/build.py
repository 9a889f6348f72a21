"""An archive from a folder. The same files give the same bytes."""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from updates.bundles.base import Bundle, BundleError
from updates.bundles.inspect import inspect_bundle
from updates.bundles.manifest import MANIFEST_NAME, MINIMUM_VERSIONS, V2, minimum_version_of, required_experts_of
from updates.bundles.sources import source_files, source_manifest
from updates.models import BundleType

Progress = Callable[[int], None]
"""Is told how many more bytes of the source were packed; in all, as many as `source_bytes` says."""


@contextmanager
def build_bundle(
    *,
    source: Path,
    bundle_type: str,
    scope_id: str,
    version: str,
    created_at: datetime,
    title: str = "",
    required_experts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Bundle]:
    """Pack the files of a folder, with a manifest of format v2. The same files give the same bytes.

    Nothing of this machine gets into the archive: names are sorted, times and owners zero, and the time of creation
    is the caller's. The bytes can still differ between versions of zlib. What was built has passed `inspect_bundle`.
    The minimum versions are those of a manifest in the folder.

    Args:
        title: of a chapter; empty takes that of a manifest in the folder, or else the chapter's code.
        required_experts: None takes those of a manifest in the folder.
        progress: told of each block.

    Raises:
        BundleError: a file can't be in an archive, or the whole is none that could be a release.
        OSError: a file can't be read, or became shorter meanwhile.
    """
    files = source_files(source)
    given = source_manifest(source)
    experts = required_experts_of(given) if required_experts is None else list(required_experts)
    if not files:
        raise BundleError.of("The folder has no files to pack.")
    manifest: dict[str, Any] = {
        "format_version": V2,
        "bundle_type": bundle_type,
        "scope_id": scope_id,
        "version": version,
        "created_at": created_at.isoformat().replace("+00:00", "Z"),
        "files": [_file_entry(name, path) for name, path in files.items()],
    }
    minimums = {name: minimum_version_of(given, name) for name in MINIMUM_VERSIONS}
    manifest |= {name: minimum for name, minimum in minimums.items() if minimum}
    if bundle_type == BundleType.CHAPTER:
        manifest["chapter"] = _chapter_entry(files, scope_id, title or _title_of(given), experts)
    elif experts:
        manifest["required_experts"] = experts
    with tempfile.TemporaryFile() as archive:
        _write_archive(archive, files, manifest, progress)
        found = inspect_bundle(archive, bundle_type=bundle_type, scope_id=scope_id, version=version)
        yield Bundle(archive, found.sha256, found.size_bytes, found.manifest)


def _chapter_entry(
    files: Mapping[str, Path], scope_id: str, title: str, required_experts: Sequence[str]
) -> dict[str, Any]:
    course_id, _, chapter_code = scope_id.rpartition("/")
    return {
        **({"course_id": course_id} if course_id else {}),
        "chapter_code": chapter_code,
        "title": title or chapter_code,
        "has_scripts": any(name.startswith("scripts/") for name in files),
        "has_datasets": any(name.startswith("datasets/") for name in files),
        "required_experts": list(required_experts),
    }


def _title_of(manifest: Mapping[str, Any]) -> str:
    chapter = manifest.get("chapter")
    title = chapter.get("title") if isinstance(chapter, dict) else None
    return title if isinstance(title, str) else ""


def _file_entry(name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"path": name, "sha256": digest, "size_bytes": file.tell()}


def _write_archive(
    target: IO[bytes], files: Mapping[str, Path], manifest: Mapping[str, Any], progress: Progress | None
) -> None:
    raw = json.dumps(manifest, indent=2, sort_keys=True).encode()
    sizes = {entry["path"]: entry["size_bytes"] for entry in manifest["files"]}
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted([*files, MANIFEST_NAME]):
            if name == MANIFEST_NAME:
                archive.addfile(_member(name, len(raw)), io.BytesIO(raw))
            else:
                with _Watched(files[name], progress) as file:
                    archive.addfile(_member(name, sizes[name]), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A regular file of mode 0644 whose time and owner are zero, as they are by default."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


class _Watched(io.BufferedReader):
    """A file of which each read is told."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(io.FileIO(path))
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if self._progress:
            self._progress(len(block))
        return block
