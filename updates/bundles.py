"""Archives: `bundle.tar.gz` with `bundle.manifest.json` at its root (wire contract, "Bundles in the field").

Nothing is held in memory but the manifest: archives lie in temporary files.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, cast

from django.core.exceptions import ValidationError

from config import limits
from config.jsonvalues import json_fault
from updates.models import BundleType, validate_expert_ids

MANIFEST_NAME: Final = "bundle.manifest.json"
FORMAT_VERSIONS: Final = ("bundle-v1", "bundle-v2")

_BLOCK_BYTES: Final = 1024 * 1024
_TOO_LARGE: Final = "The archive is too large when unpacked."
_UNREADABLE: Final = (tarfile.TarError, OSError, EOFError, zlib.error)


class BundleError(ValueError):
    """What is wrong with an archive, as a sentence for the person who made it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive in a seekable file, with the hash and size of its bytes and its parsed manifest."""

    file: IO[bytes]
    sha256: str
    size_bytes: int
    manifest: dict[str, Any]


@contextmanager
def build_bundle(
    *,
    source: Path,
    bundle_type: str,
    scope_id: str,
    version: str,
    created_at: datetime,
    required_experts: Sequence[str] = (),
) -> Iterator[Bundle]:
    """Pack the files of a folder, with a manifest of format v1. The same files give the same bytes.

    Nothing of this machine gets into the archive: names are sorted, times and owners zero, and the time of creation
    is the caller's. The bytes can still differ between versions of zlib.
    """
    files = _source_files(source)
    manifest: dict[str, Any] = {
        "format_version": "bundle-v1",
        "bundle_type": bundle_type,
        "scope_id": scope_id,
        "version": version,
        "created_at": created_at.isoformat().replace("+00:00", "Z"),
        "files": [_file_entry(name, path) for name, path in files.items()],
    }
    if required_experts:
        manifest["required_experts"] = list(required_experts)
    with tempfile.TemporaryFile() as archive:
        _write_archive(archive, files, manifest)
        yield _with_digest(archive, manifest)


def read_bundle(file: IO[bytes]) -> Bundle:
    """Read an archive to its end: hash, size and manifest.

    Raises:
        BundleError: no gzip, no tar, cut short, too large when unpacked, or without a manifest that can be read.
    """
    file.seek(0)
    try:
        with gzip.open(file) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            raw = _read_members(archive)
            _read_to_end(unpacked)
    except _UNREADABLE as error:
        raise BundleError("The archive is not a readable .tar.gz file.") from error
    if raw is None:
        raise BundleError(f"The archive has no {MANIFEST_NAME} at its root.")
    return _with_digest(file, _parse_manifest(raw))


def check_manifest(manifest: Mapping[str, Any], *, bundle_type: str, scope_id: str, version: str) -> None:
    """Refuse a manifest that contradicts the release it is for.

    Of a chapter's scope only the chapter counts: authors' tools write other course ids into it, or none.

    Raises:
        BundleError: names the field and both values.
    """
    if manifest.get("format_version") not in FORMAT_VERSIONS:
        raise BundleError(f"{MANIFEST_NAME}: format_version must be one of {', '.join(FORMAT_VERSIONS)}.")
    stated_scope = manifest.get("scope_id")
    if bundle_type == BundleType.CHAPTER and isinstance(stated_scope, str):
        stated_scope, scope_id = stated_scope.rpartition("/")[2], scope_id.rpartition("/")[2]
    for name, stated, expected in (
        ("bundle_type", manifest.get("bundle_type"), bundle_type),
        ("scope_id", stated_scope, scope_id),
        ("version", manifest.get("version"), version),
    ):
        if stated != expected:
            raise BundleError(f"{MANIFEST_NAME}: {name} is {stated!r}, but the release's is {str(expected)!r}.")
    if not isinstance(manifest.get("files"), list):
        raise BundleError(f"{MANIFEST_NAME}: files must be a list.")
    required_experts_of(manifest)


def required_experts_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the experts that a chapter needs: `chapter.required_experts` (v2), or at the top level.

    Raises:
        BundleError: it is no list of expert ids.
    """
    chapter = manifest.get("chapter")
    stated = chapter.get("required_experts") if isinstance(chapter, dict) else None
    experts = manifest.get("required_experts", []) if stated is None else stated
    try:
        validate_expert_ids(experts)
    except ValidationError as error:
        raise BundleError(f"{MANIFEST_NAME}: required_experts must be a list of expert ids.") from error
    return cast(list[str], experts)


# --- Building ---------------------------------------------------------------------------------------------------


def _source_files(source: Path) -> dict[str, Path]:
    """Return the folder's files by their names in the archive, sorted; what Python compiled is left out."""
    found = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return dict(sorted((path.relative_to(source).as_posix(), path) for path in found))


def _file_entry(name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": name, "sha256": digest, "size_bytes": path.stat().st_size}


def _write_archive(target: IO[bytes], files: dict[str, Path], manifest: dict[str, Any]) -> None:
    raw = json.dumps(manifest, indent=2, sort_keys=True).encode()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted([*files, MANIFEST_NAME]):
            if name == MANIFEST_NAME:
                archive.addfile(_member(name, len(raw)), io.BytesIO(raw))
            else:
                with files[name].open("rb") as file:
                    archive.addfile(_member(name, files[name].stat().st_size), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A regular file of mode 0644 whose time and owner are zero, as they are by default."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _with_digest(file: IO[bytes], manifest: dict[str, Any]) -> Bundle:
    file.seek(0)
    digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    size = file.tell()
    file.seek(0)
    return Bundle(file, digest, size, manifest)


# --- Reading ----------------------------------------------------------------------------------------------------


def _read_members(archive: tarfile.TarFile) -> bytes | None:
    raw: bytes | None = None
    for member in archive:
        if member.offset_data + member.size > limits.BUNDLE_UNPACKED_MAX_BYTES:
            raise BundleError(_TOO_LARGE)
        if member.name.removeprefix("./") == MANIFEST_NAME:
            raw = _read_manifest_member(archive, member)
    return raw


def _read_to_end(unpacked: gzip.GzipFile) -> None:
    """Read what follows the tar's end, to the checksum at the very end; it counts as well, however much it is."""
    while unpacked.read(_BLOCK_BYTES):
        if unpacked.tell() > limits.BUNDLE_UNPACKED_MAX_BYTES:
            raise BundleError(_TOO_LARGE)


def _read_manifest_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or member.size > limits.BUNDLE_MANIFEST_MAX_BYTES:
        raise BundleError(f"{MANIFEST_NAME} must be a file of at most {limits.BUNDLE_MANIFEST_MAX_BYTES:,} bytes.")
    return cast(IO[bytes], archive.extractfile(member)).read()


def _parse_manifest(raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME} is not valid JSON.") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{MANIFEST_NAME} must hold an object.")
    if fault := json_fault(manifest):
        raise BundleError(f"{MANIFEST_NAME}: {fault}")
    return manifest
