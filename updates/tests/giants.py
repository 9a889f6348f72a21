"""Archives of any size, made on the fly: neither their maker nor whoever sends them holds them."""

import hashlib
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from config.limits import MIB
from updates.tests.archives import MANIFEST

_STORED_MAX: Final = 65_535  # bytes in a stored block of deflate (RFC 1951, section 3.2.4)
_GZIP_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@dataclass
class Giant:
    """A bundle with one file of so many MiB that don't compress: `iter` gives the archive in blocks, once."""

    mib: int
    version: str = "1.0.0"
    block: bytes = field(default_factory=lambda: os.urandom(MIB), repr=False)
    sha256: str = ""
    """Of the archive; known when all of it was given out."""

    @property
    def size_bytes(self) -> int:
        lengths = [512, *[MIB] * self.mib, 512, len(_padded(self._manifest("0" * 64))), 1024]
        return len(_GZIP_HEAD) + sum(n + 5 * -(-n // _STORED_MAX) for n in lengths) + 5 + 8

    def __iter__(self) -> Iterator[bytes]:
        digest, checksum, size = hashlib.sha256(_GZIP_HEAD), 0, 0
        yield _GZIP_HEAD
        for piece in self._tar():
            checksum, size = zlib.crc32(piece, checksum), size + len(piece)
            stored = b"".join(_stored(piece))
            digest.update(stored)
            yield stored
        end = _block(b"", is_last=True) + struct.pack("<LL", checksum, size % 2**32)
        digest.update(end)
        self.sha256 = digest.hexdigest()
        yield end

    def _tar(self) -> Iterator[bytes]:
        content = hashlib.sha256()
        yield _header("data.bin", self.mib * MIB)
        for _ in range(self.mib):
            content.update(self.block)
            yield self.block
        manifest = self._manifest(content.hexdigest())
        yield _header("bundle.manifest.json", len(manifest))
        yield _padded(manifest)
        yield bytes(1024)

    def _manifest(self, sha256: str) -> bytes:
        entry = {"path": "data.bin", "sha256": sha256, "size_bytes": self.mib * MIB}
        return json.dumps({**MANIFEST, "version": self.version, "files": [entry]}).encode()


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def _stored(piece: bytes) -> Iterator[bytes]:
    for start in range(0, len(piece), _STORED_MAX):
        yield _block(piece[start : start + _STORED_MAX])


def _block(content: bytes, *, is_last: bool = False) -> bytes:
    return struct.pack("<BHH", is_last, len(content), len(content) ^ 0xFFFF) + content
