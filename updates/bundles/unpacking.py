"""The bytes in a gzip file of strangers (RFC 1952), within limits.

The standard library's `gzip` skips what pads a file byte by byte, and reads the texts in a header likewise, however
long they are: a hostile file would keep it busy for many minutes. zlib itself reads all of it in blocks.
"""

import hashlib
import io
import zlib
from typing import IO, Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from updates.bundles.base import BundleError

BLOCK_BYTES: Final = 64 * 1024
_NO_GZIP: Final = _("This is not a gzip file: a bundle is a .tar.gz.")
_GZIP_ONLY: Final = 16 + zlib.MAX_WBITS


def too_large() -> BundleError:
    most = limits.BUNDLE_UNPACKED_MAX_BYTES // limits.MIB
    text = _("The archive is too large when unpacked: {most} MiB are the most.")
    return BundleError.of(format_lazy(text, most=f"{most:,}"))


class Unpacking(io.RawIOBase):
    """The unpacked bytes of a gzip file, of one or several members, maybe padded with zeros.

    Reading raises `BundleError` for what is no gzip file, is damaged or cut short, and as soon as more was unpacked
    than the limits allow.
    """

    def __init__(self, file: IO[bytes], digest: "hashlib._Hash | None" = None) -> None:
        """`digest` is updated with the packed bytes."""
        super().__init__()
        self._file = file
        self._digest = digest
        self._packed = b""
        self._packed_bytes = 0
        self._unpacked_bytes = 0
        self._members = 0
        self._inflater: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        block = b""
        while not block and (self._inflater or self._begin_member()):
            block = self._inflate(len(buffer))
        buffer[: len(block)] = block
        self._unpacked_bytes += len(block)
        self._refuse_bomb()
        return len(block)

    def _begin_member(self) -> bool:
        """Begin the file's next member, if there is one."""
        while not self._packed:
            if not self._fill():
                if not self._members:
                    raise BundleError.of(_NO_GZIP)
                return False
            if self._members:
                self._packed = self._packed.lstrip(b"\0")
        self._members += 1
        if self._members > limits.BUNDLE_GZIP_MEMBERS_MAX:
            text = _("The gzip file has more than {most} members.")
            raise BundleError.of(format_lazy(text, most=f"{limits.BUNDLE_GZIP_MEMBERS_MAX:,}"))
        self._inflater = zlib.decompressobj(_GZIP_ONLY)
        return True

    def _fill(self) -> bool:
        self._packed = self._file.read(BLOCK_BYTES)
        self._packed_bytes += len(self._packed)
        if self._digest:
            self._digest.update(self._packed)
        return bool(self._packed)

    def _inflate(self, size: int) -> bytes:
        """Return up to `size` bytes, none when more packed ones are needed or the member ended."""
        at_end = not self._packed and not self._fill()
        try:
            block: bytes = self._inflater.decompress(self._packed, size)
        except zlib.error as error:
            raise BundleError.of(self._explain(error)) from error
        if self._inflater.eof:
            self._packed = self._inflater.unused_data.lstrip(b"\0")
            self._inflater = None
        elif at_end and not block:
            raise BundleError.of(_("The gzip data was cut short: the file ends in the middle of it."))
        else:
            self._packed = self._inflater.unconsumed_tail
        return block

    def _explain(self, error: zlib.error) -> StrOrPromise:
        words = str(error).rpartition(": ")[2]
        if words != "incorrect header check":
            return format_lazy(_("The gzip data is damaged ({words})."), words=words)
        if self._members == 1:
            return _NO_GZIP
        return _("Something else than gzip data follows the gzip data.")

    def _refuse_bomb(self) -> None:
        """Judge what was unpacked so far, not the whole: a bomb ends before it is unpacked."""
        unpacked = self._unpacked_bytes
        if unpacked > limits.BUNDLE_UNPACKED_MAX_BYTES:
            raise too_large()
        consumed = self._packed_bytes - len(self._packed)
        if unpacked > limits.BUNDLE_RATIO_FREE_BYTES and unpacked > limits.BUNDLE_RATIO_MAX * consumed:
            text = _("The archive unpacks to more than {times} times its size, as zip bombs do.")
            raise BundleError.of(format_lazy(text, times=limits.BUNDLE_RATIO_MAX))
