"""Parts of a file: RFC 9110, section 14."""

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final

_ONE_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_DIGITS_MAX: Final = 18


class UnsatisfiableRangeError(Exception):
    """The range begins behind the end of the file, or has no bytes."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes `first..last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def requested_range(header: str, size: int) -> ByteRange | None:
    """Return the part of a file of `size` bytes that a `Range` header asks for.

    None means the whole file: without the header, for a malformed one, another unit and for several ranges at once,
    which a server may answer so.

    Raises:
        UnsatisfiableRangeError: there is nothing of it in the file.
    """
    match = _ONE_RANGE.fullmatch(header)
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return _suffix(_number(last), size)
    if last and _number(last) < _number(first):
        return None
    if _number(first) >= size:
        raise UnsatisfiableRangeError
    return ByteRange(_number(first), min(_number(last), size - 1) if last else size - 1)


def _suffix(length: int, size: int) -> ByteRange:
    if not length or not size:
        raise UnsatisfiableRangeError
    return ByteRange(max(0, size - length), size - 1)


def _number(digits: str) -> int:
    """Read a number of any length; Python refuses very long ones, and no file has so many bytes."""
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX


class FilePart:
    """The next `length` bytes of an open file; with its descriptor, so that the app server can use sendfile.

    The file is closed and `on_end` called, once, when the part is closed or when nobody holds it any more. The latter
    can happen at any moment in any thread, so `on_end` must take no lock.
    """

    def __init__(self, file: IO[bytes], length: int, on_end: Callable[[], object]) -> None:
        self._file = file
        self._left = length
        self._end = weakref.finalize(self, _end, file, on_end)

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._end()


def _end(file: IO[bytes], on_end: Callable[[], object]) -> None:
    try:
        file.close()
    finally:
        on_end()
