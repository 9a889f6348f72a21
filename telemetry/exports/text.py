"""Events as lines of text: NDJSON and CSV, both in UTF-8."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from telemetry.exports.reading import EventRow, ExportedEvent

_FORMULA_SIGNS: Final = (
    "=+\\-@"
    "\uff1d\uff0b\uff0d\uff20"  # full-width
    "\ufe66\ufe62\ufe63\ufe6b"  # small
    "\u2212"  # minus
)
_RISKY: Final = re.compile(rf"['\t\r\n]|\s*[{_FORMULA_SIGNS}]").match
"""Begins what a spreadsheet may take for a formula (OWASP, "CSV Injection"), or what `unescape_cell` would change."""


class NdjsonEncoder:
    """One JSON object a line (RFC 8259), `payload` in it as an object; numbers have all their digits."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def begin(self) -> bytes:
        return b""

    def add(self, rows: Sequence[EventRow]) -> bytes:
        return self._encoder.encode_lines([event for event, _, _ in rows])

    def end(self) -> bytes:
        return b""


class CsvEncoder:
    """CSV of RFC 4180 with a header line; no field begins a formula.

    Excel takes a file for UTF-8 only where it begins with the mark of it, which other programs take for text.
    """

    def __init__(self, columns: Sequence[str], *, with_mark: bool) -> None:
        self._columns = columns
        self._mark = codecs.BOM_UTF8 if with_mark else b""
        self._values = attrgetter(*columns)

    def begin(self) -> bytes:
        return self._mark + _csv_lines([self._columns])

    def add(self, rows: Sequence[EventRow]) -> bytes:
        return _csv_lines(self._cells(event) for event, _, _ in rows)

    def end(self) -> bytes:
        return b""

    def _cells(self, event: ExportedEvent) -> list[str | None]:
        return [escape_cell(_text(value)) if value else None for value in self._values(event)]


def escape_cell(text: str) -> str:
    """Put an apostrophe before what a spreadsheet might run, and before an apostrophe that the text begins with."""
    # Most begin so, and it is asked in a third of the time that the pattern takes.
    return text if text[:1].isalnum() or not _RISKY(text) else f"'{text}"


def unescape_cell(cell: str) -> str:
    """Give back what `escape_cell` was given."""
    return cell.removeprefix("'")


def _text(value: str | msgspec.Raw) -> str:
    return value if isinstance(value, str) else bytes(value).decode()


def _csv_lines(rows: Iterator[list[str | None]] | Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)  # its default dialect has commas, and CRLF at the end of each line
    return buffer.getvalue().encode()
