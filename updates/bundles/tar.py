"""The members of a tar archive of strangers, one after the other.

The standard library's `tarfile` reads extension headers of any size into memory, takes data it can't explain for the
archive's end, and what it makes of an ambiguous header is not what other readers make of it. So only single headers
are parsed by it, and whatever two readers could take for two things is refused: the formats of POSIX.1-2001 (`pax`)
and of GNU tar remain, as every tool writes them.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from updates.bundles.base import BundleError, excerpt
from updates.bundles.unpacking import BLOCK_BYTES, too_large

_HEADER_BYTES: Final = tarfile.BLOCKSIZE
_NO_HEADER: Final = bytes(_HEADER_BYTES)

_GLOBAL: Final = tarfile.XGLTYPE
_GNU_TEXTS: Final = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_EXTENSIONS: Final = {tarfile.XHDTYPE, _GLOBAL, *_GNU_TEXTS}

_PAX_RECORD: Final = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")
_PAX_FIELDS: Final = {"path", "linkpath", "size"}
_PAX_SIZE: Final = re.compile(r"[0-9]{1,20}")

_PREFIX: Final = slice(345, 500)
_MAGIC: Final = slice(257, 263)
_POSIX_MAGIC: Final = b"ustar\0"

_SET_ID_BITS: Final = 0o6000


class Kind(Enum):
    """What a member is; devices, pipes and sparse files are none that a bundle may have."""

    FILE = "file"
    FOLDER = "folder"
    SYMBOLIC_LINK = "symbolic link"
    HARD_LINK = "hard link"


_KINDS: Final = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.SYMBOLIC_LINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
}
_DEVICE: Final = _("It is a device: a bundle has files, folders and links only.")
_REFUSED: Final = {
    tarfile.CHRTYPE: _DEVICE,
    tarfile.BLKTYPE: _DEVICE,
    tarfile.FIFOTYPE: _("It is a named pipe: a bundle has files, folders and links only."),
    tarfile.GNUTYPE_SPARSE: _("It is a sparse file: a bundle has files, folders and links only."),
}
_HAS_CONTENT: Final = {
    Kind.FOLDER: _("It is a folder, but has a content."),
    Kind.SYMBOLIC_LINK: _("It is a symbolic link, but has a content."),
    Kind.HARD_LINK: _("It is a hard link, but has a content."),
}


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    """As the archive has it; bytes that aren't UTF-8 are lone surrogates."""
    kind: Kind
    size: int
    link: str
    """Where a link leads; empty for what is none."""


class TarReader:
    """Reads an archive's members in their order. Whatever it refuses is a `BundleError`."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._offset = 0
        self._last_name = ""

    def members(self) -> Iterator[Member]:
        """The content of each file has to be read before the next member is asked for."""
        extended: dict[str, str] = {}
        seen: set[bytes] = set()
        while (header := self._read_header()) is not None:
            if header.type in _EXTENSIONS:
                if header.type in seen:
                    raise self._damaged(_("it has two extension headers of one type in a row"))
                seen.add(header.type)
                self._read_extension(header, extended)
                continue
            member = _member(header, extended)
            self._last_name = member.name
            yield member
            extended, seen = {}, set()
        if seen - {_GLOBAL}:
            raise self._damaged(_("it ends with an extension header"))

    def content(self, member: Member) -> Iterator[bytes]:
        """Read a file's content, in blocks."""
        if member.size > limits.BUNDLE_UNPACKED_MAX_BYTES - self._offset:
            raise too_large().naming(member.name)
        remaining = member.size
        while remaining:
            block = self._read(min(remaining, BLOCK_BYTES), member.name)
            remaining -= len(block)
            yield block
        self._skip_padding(member.size, member.name)

    def _read_header(self) -> tarfile.TarInfo | None:
        """Return the next header, or None at the archive's end, after which nothing but zeros may come."""
        is_first = not self._offset
        raw = self._stream.read(_HEADER_BYTES)
        if raw == _NO_HEADER:
            self._refuse_what_follows()
            return None
        if is_first and len(raw) < _HEADER_BYTES:
            raise BundleError.of(_("The gzip file holds no tar archive."))
        if len(raw) < _HEADER_BYTES:
            raise self._damaged(_("it was cut short, for its end mark is missing"))
        try:
            header = tarfile.TarInfo.frombuf(raw, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if is_first:
                raise BundleError.of(_("The gzip file holds no tar archive.")) from error
            raise self._damaged(_("there is no header with a valid checksum")) from error
        if raw[_PREFIX].strip(b"\0") and raw[_MAGIC] != _POSIX_MAGIC:
            raise self._damaged(_("there is a header with fields of two formats"), header.name)
        self._offset += _HEADER_BYTES
        return header

    def _refuse_what_follows(self) -> None:
        while block := self._stream.read(BLOCK_BYTES):
            if block.strip(b"\0"):
                raise BundleError.of(_("Data follows the end of the tar archive."))

    def _read(self, size: int, name: str) -> bytes:
        try:
            block = self._stream.read(size)
        except BundleError as error:
            raise error.naming(name) from error
        self._offset += len(block)
        if len(block) < size:
            raise BundleError.of(_("The tar archive was cut short in the middle of this file."), name)
        return block

    def _skip_padding(self, size: int, name: str) -> None:
        self._read(-size % _HEADER_BYTES, name)

    def _damaged(self, what: StrOrPromise, name: str = "") -> BundleError:
        values = {"offset": f"{self._offset:,}", "name": excerpt(self._last_name), "what": what}
        text = (
            _("The tar archive is damaged at byte {offset} after '{name}': {what}.")
            if self._last_name
            else _("The tar archive is damaged at byte {offset}: {what}.")
        )
        return BundleError.of(format_lazy(text, **values), name)

    def _read_extension(self, header: tarfile.TarInfo, extended: dict[str, str]) -> None:
        """Add to `extended` what an extension header says of the next member."""
        most = limits.BUNDLE_TAR_EXTENSION_MAX_BYTES
        if not 0 <= header.size <= most:
            text = _("Its extension header is too large: {most} bytes are the most.")
            raise BundleError.of(format_lazy(text, most=f"{most:,}"), header.name)
        raw = self._read(header.size, header.name)
        self._skip_padding(header.size, header.name)
        if field := _GNU_TEXTS.get(header.type):
            found = {field: _gnu_text(raw, header.name)}
        else:
            found = _pax_fields(raw, header.name)
        if found and header.type == _GLOBAL:
            raise BundleError.of(_("A global header must not set the path, link or size of files."), header.name)
        if found.keys() & extended.keys():
            raise self._damaged(_("two headers name one file"), header.name)
        extended.update(found)


def _member(header: tarfile.TarInfo, extended: dict[str, str]) -> Member:
    name = extended.get("path", header.name)
    kind = _KINDS.get(header.type)
    if kind is None:
        unknown = _("It is of the unknown type {type}: a bundle has files, folders and links only.")
        text = _REFUSED.get(header.type) or format_lazy(unknown, type=repr(header.type.decode("latin-1")))
        raise BundleError.of(text, name)
    if header.mode & _SET_ID_BITS:
        raise BundleError.of(_("It has the setuid or the setgid bit."), name)
    size = _size(header, extended, name)
    if size and kind is not Kind.FILE:
        raise BundleError.of(_HAS_CONTENT[kind], name)
    is_link = kind in (Kind.SYMBOLIC_LINK, Kind.HARD_LINK)
    return Member(name, kind, size, extended.get("linkpath", header.linkname) if is_link else "")


def _size(header: tarfile.TarInfo, extended: dict[str, str], name: str) -> int:
    stated = extended.get("size")
    if header.size < 0 or (stated is not None and not _PAX_SIZE.fullmatch(stated)):
        raise BundleError.of(_("Its header states no valid size."), name)
    return header.size if stated is None else int(stated)


def _gnu_text(raw: bytes, name: str) -> str:
    text, _end, rest = raw.partition(b"\0")
    if rest.strip(b"\0"):
        raise BundleError.of(_("Something is hidden behind the end of its name."), name)
    return _text(text)


def _pax_fields(raw: bytes, name: str) -> dict[str, str]:
    """Return the path, link and size that an extended header states; the last one counts, as POSIX has it."""
    found = {}
    for key, value in _pax_records(raw, name):
        if key.startswith("GNU.sparse."):
            raise BundleError.of(_("It is a sparse file: a bundle has plain files only."), name)
        if key in _PAX_FIELDS:
            found[key] = value
    return found


def _pax_records(raw: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Parse records of the form `length key=value` and a line feed, where length counts the whole record."""
    start = count = 0
    while start < len(raw):
        count += 1
        match = _PAX_RECORD.match(raw, start)
        end = start + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(raw) or raw[end - 1 : end] != b"\n":
            raise BundleError.of(_("Its extended header is malformed."), name)
        if count > limits.BUNDLE_PAX_RECORDS_MAX:
            text = _("Its extended header has more than {most} records.")
            raise BundleError.of(format_lazy(text, most=limits.BUNDLE_PAX_RECORDS_MAX), name)
        yield _text(match[2]), _text(raw[match.end() : end - 1])
        start = end


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
