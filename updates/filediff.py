"""What a release changes in one text file: both files are read from the archives, and compared line by line.

Each side's archive is unpacked up to the file and no further, within limits, and nothing of it is kept but the file.
What the archives hold was written by strangers: see `visible`.
"""

import difflib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import IO, Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from config import limits
from storage.artifacts import open_artifact
from updates.bundles.base import BundleError
from updates.bundles.contents import FileChange
from updates.bundles.names import split
from updates.bundles.tar import Kind, TarReader
from updates.bundles.tree import Content
from updates.bundles.unpacking import BLOCK_BYTES, Unpacking
from updates.models import BundleRelease

_HEADER: Final = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_CONTEXT_LINES: Final = 3


class Mark(Enum):
    """What a line of a difference is."""

    GAP = "gap"
    """Lines that are the same in both, and are left out."""
    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, with its number in the file before and in the file after, where it is in that file."""

    mark: Mark
    text: str = ""
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class TextDifference:
    """The lines that differ between two texts, with some around them; or why there are none."""

    lines: Sequence[Line] = ()
    is_cut: bool = False
    """There are more lines than `TEXT_DIFF_ROWS_SHOWN`."""
    refusal: Promise | str = ""
    """A sentence for people; empty: the files were compared."""


class _RefusedError(Exception):
    """There is nothing to compare; its text says why."""

    def __init__(self, reason: Promise | str) -> None:
        super().__init__()
        self.reason = reason


def compare_texts(*, before: BundleRelease | None, after: BundleRelease, change: FileChange) -> TextDifference:
    """Compare a file in the archives of two releases. Opens no transaction and needs none: it may take a second.

    Args:
        before: the release with the file before; it may be missing where the change has no `before`.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    try:
        if not change.may_be_compared:
            raise _RefusedError(_("The file is too large to be compared line by line."))
        old = _text_of(before, change.path, change.before)
        new = _text_of(after, change.path, change.after)
        lines = list(islice(_difference(*_lines_of(old, new)), limits.TEXT_DIFF_ROWS_SHOWN + 1))
    except _RefusedError as refused:
        return TextDifference(refusal=refused.reason)
    return TextDifference(lines[: limits.TEXT_DIFF_ROWS_SHOWN], len(lines) > limits.TEXT_DIFF_ROWS_SHOWN)


def visible(text: str) -> str:
    """Show what is not printable as an escape, tabs aside: a text must not look like another one.

    Characters that turn the direction of writing make a line read otherwise than a program reads it (CVE-2021-42574).
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\t" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


# --- Reading ----------------------------------------------------------------------------------------------------


def _text_of(release: BundleRelease | None, path: str, expected: Content | None) -> str | None:
    """Return the text of a release's file, None where it has none."""
    if release is None or expected is None:
        return None
    if not release.artifact_key:
        raise _RefusedError(_("The archive lies elsewhere, so there are no files here to compare."))
    raw = _read(release, path, expected)
    if b"\0" in raw:
        raise _RefusedError(_("The file is no text: it can't be compared line by line."))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _RefusedError(_("The file is no text in UTF-8: it can't be compared line by line.")) from error


def _read(release: BundleRelease, path: str, expected: Content) -> bytes:
    try:
        with open_artifact(key=release.artifact_key) as file:
            found = _find(file, path)
    except FileNotFoundError as error:
        raise _RefusedError(_("The archive is not in the store any more.")) from error
    except BundleError as error:
        raise _RefusedError(_("The archive can't be read.")) from error
    if found is None or len(found) != expected.size_bytes or hashlib.sha256(found).hexdigest() != expected.sha256:
        raise _RefusedError(_("The archive has another file there than its manifest says, or a link."))
    return found


def _find(file: IO[bytes], path: str) -> bytes | None:
    """Return what an archive holds at this path; None for a link, what is too large, and where there is nothing."""
    parts = split(path)
    reader = TarReader(io.BufferedReader(_Bounded(file), 4 * BLOCK_BYTES))
    for member in reader.members():
        wanted = split(member.name) == parts
        if wanted and (member.kind is not Kind.FILE or member.size > limits.TEXT_DIFF_FILE_MAX_BYTES):
            return None
        if member.kind is Kind.FILE:
            content = [block for block in reader.content(member) if wanted]
            if wanted:
                return b"".join(content)
    return None


class _Bounded(Unpacking):
    """The unpacked bytes of an archive, as far as a page may wait for them."""

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        _refuse_beyond(self._unpacked_bytes)
        return count

    def _fill(self) -> bool:
        """Packed bytes take time as well, and may unpack to nothing."""
        filled = super()._fill()
        _refuse_beyond(self._packed_bytes)
        return filled


def _refuse_beyond(count: int) -> None:
    if count > limits.TEXT_DIFF_UNPACKED_MAX_BYTES:
        raise _RefusedError(_("The file lies too far inside a large archive to be looked up here."))


# --- Comparing --------------------------------------------------------------------------------------------------


def _lines_of(old: str | None, new: str | None) -> tuple[list[str], list[str]]:
    """Split both texts. Ends of lines as on Windows are left out if both have no others, and else are seen."""
    texts = [[] if text is None else text.split("\n") for text in (old, new)]
    if all(line.endswith("\r") for lines in texts for line in lines[:-1]):
        texts = [[line.removesuffix("\r") for line in lines] for lines in texts]
    # After the end of the last line there is no further, empty one.
    before, after = (lines[:-1] if lines and not lines[-1] else lines for lines in texts)
    if max(len(before), len(after)) > limits.TEXT_DIFF_LINES_MAX:
        raise _RefusedError(_("The file has too many lines to be compared."))
    return before, after


def _difference(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    old = new = 0
    found = difflib.unified_diff(before, after, n=_CONTEXT_LINES, lineterm="")
    for raw in islice(found, 2, None):  # the first two name the files
        if header := _HEADER.match(raw):
            old, new = int(header[1]), int(header[2])
            if max(old, new) > 1:
                yield Line(Mark.GAP)
            continue
        mark, text = raw[:1], visible(raw[1:])
        if mark == "-":
            yield Line(Mark.REMOVED, text, before=old)
        elif mark == "+":
            yield Line(Mark.ADDED, text, after=new)
        else:
            yield Line(Mark.SAME, text, old, new)
        old, new = old + (mark != "+"), new + (mark != "-")
