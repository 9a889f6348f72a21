"""Archives for tests, made file by file: good ones, and pieces for bad ones."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from typing import IO, Any, Final

from updates.bundles.base import Inspection
from updates.bundles.inspect import inspect_bundle

MANIFEST: Final[dict[str, Any]] = {
    "format_version": "bundle-v2",
    "bundle_type": "app_agents",
    "scope_id": "core",
    "version": "1.0.0",
    "created_at": "2026-01-01T00:00:00Z",
    "files": [],
}
"""Of an archive without files, for app_agents/core 1.0.0."""

Member = tuple[tarfile.TarInfo, bytes]
END: Final = bytes(2 * tarfile.BLOCKSIZE)
"""The two blocks of zeros that end a tar archive."""


def inspect(archive: IO[bytes], **release: Any) -> Inspection:
    """Inspect it as app_agents/core 1.0.0, or as another release."""
    return inspect_bundle(archive, **{"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0", **release})


def packed(files: Mapping[str, bytes]) -> io.BytesIO:
    """Return a .tar.gz of these files, as they are; its manifest is one of them, or missing."""
    return zipped(tar_of(*(a_member(name, content) for name, content in files.items())))


def with_manifest(files: Mapping[str, bytes], /, **changes: Any) -> dict[str, bytes]:
    """Add the manifest that lists these files, with some changes."""
    entries = [entry_of(name, content) for name, content in files.items()]
    return {**files, "bundle.manifest.json": json.dumps({**MANIFEST, "files": entries, **changes}).encode()}


def entry_of(name: str, content: bytes) -> dict[str, Any]:
    return {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def a_member(name: str, content: bytes = b"", **fields: Any) -> Member:
    """A file, or what `type` says; `fields` are those of TarInfo."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def tar_of(*members: Member, format: int = tarfile.PAX_FORMAT, pax_headers: Mapping[str, str] | None = None) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=format, pax_headers=pax_headers) as archive:
        for header, content in members:
            archive.addfile(header, io.BytesIO(content))
    return raw.getvalue()


def good_members(*names: str) -> list[Member]:
    """The manifest of app_agents/core 1.0.0, and the files that it lists, each with its own name in it."""
    files = with_manifest({name: name.encode() for name in names})
    return [a_member(name, content) for name, content in files.items()]


def blocks(*members: Member) -> bytes:
    """A tar archive without its end."""
    return b"".join(
        header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
        for header, content in members
    )


def raw_block(content: bytes = b"", size: bytes | None = None, **fields: bytes) -> bytes:
    """One header with fields that `tarfile` wouldn't write, its checksum right, and its content."""
    places = {
        "name": (0, 100),
        "mode": (100, 8),
        "type": (156, 1),
        "link": (157, 100),
        "magic": (257, 8),
        "prefix": (345, 155),
    }
    header = bytearray(a_member("x", content)[0].tobuf(tarfile.USTAR_FORMAT))
    if size is not None:
        header[124:136] = size.ljust(12, b"\0")
    for field, value in fields.items():
        start, length = places[field]
        header[start : start + length] = value.ljust(length, b"\0")
    return with_checksum(header) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def with_checksum(header: bytearray | bytes) -> bytes:
    """Return a header with its checksum, of POSIX: the sum of its bytes, its own taken for spaces."""
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return bytes(header[:148]) + b"%06o\0 " % total + bytes(header[156:])


def pax_record(key: str, value: bytes | str) -> bytes:
    body = b" " + key.encode() + b"=" + (value.encode() if isinstance(value, str) else value) + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def pax_header(*others: bytes, **records: bytes | str) -> bytes:
    content = b"".join([*others, *(pax_record(*record) for record in records.items())])
    return raw_block(content, type=b"x", name=b"PaxHeaders/x")


def zipped(tar: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.compress(tar, mtime=0))
