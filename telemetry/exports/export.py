"""An export: events read, encoded, and given out as bytes, a bounded number at a time."""

import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from enum import StrEnum
from typing import Final

from telemetry.exports.encoding import Encoder
from telemetry.exports.parquet import ParquetEncoder
from telemetry.exports.reading import EventRow, Privacy, read_events
from telemetry.exports.selection import Selection
from telemetry.exports.text import CsvEncoder, NdjsonEncoder
from telemetry.exports.xapi import XapiEncoder

_BATCH_ROWS: Final = 500
_BATCH_CHARACTERS: Final = 256 * 1024
"""Of payloads; whichever of the two comes first."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_LEVEL: Final = 4
"""Of 1 to 9: half the time of the usual 6, for a tenth more bytes."""


class Format(StrEnum):
    """What events can be exported as."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    XAPI = "xapi"

    @property
    def suffix(self) -> str:
        """What a file's name ends in."""
        return ".xapi.ndjson" if self is Format.XAPI else f".{self}"

    @property
    def content_type(self) -> str:
        if self is Format.CSV:
            return "text/csv; charset=utf-8; header=present"
        return "application/vnd.apache.parquet" if self is Format.PARQUET else "application/x-ndjson"

    @property
    def is_text(self) -> bool:
        """Whether gzip makes it smaller: Parquet is compressed by itself."""
        return self is not Format.PARQUET


class Export:
    """The bytes of an export, to be iterated over once; fit for a StreamingHttpResponse.

    Nothing is read before the first byte is asked for. Closing it before its end frees the connection and ends the
    query. The bytes of a text format with `gzip` are compressed.

    Attributes:
        format: tells the content type and the suffix of a file's name.
        rows: events that were read so far: those that are written, and those left out.
        left_out: events so far that the format has no form for, by why.
    """

    def __init__(self, chosen: Format, selection: Selection, privacy: Privacy, *, gzip: bool, for_excel: bool) -> None:
        if gzip and not chosen.is_text:
            raise ValueError(f"{chosen} is compressed by itself.")
        self.format = chosen
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self._for_excel = for_excel
        self._bytes = self._stream(selection, privacy, gzip=gzip)

    def __iter__(self) -> Iterator[bytes]:
        return self._bytes

    def close(self) -> None:
        self._bytes.close()

    def _stream(self, selection: Selection, privacy: Privacy, *, gzip: bool) -> Generator[bytes]:
        parts = self._encoded(selection, privacy)
        with closing(parts):
            yield from _compressed(parts) if gzip else filter(None, parts)

    def _encoded(self, selection: Selection, privacy: Privacy) -> Generator[bytes]:
        encoder = self._encoder(privacy)
        rows = read_events(selection, privacy, with_titles=self.format is Format.XAPI)
        head = encoder.begin()
        with closing(rows):
            # Nothing is given out before the database has answered: an error should come before the first byte.
            for batch in _batches(rows):
                encoded = encoder.add(batch)
                self.rows += len(batch)
                yield head + encoded
                head = b""
            yield head + encoder.end()

    def _encoder(self, privacy: Privacy) -> Encoder:
        columns = privacy.columns()
        match self.format:
            case Format.NDJSON:
                return NdjsonEncoder()
            case Format.CSV:
                return CsvEncoder(columns, with_mark=self._for_excel)
            case Format.PARQUET:
                return ParquetEncoder(columns)
            case Format.XAPI:
                return XapiEncoder(privacy, self.left_out)


def stream(
    chosen: Format,
    selection: Selection,
    *,
    identify: bool = False,
    with_payload: bool = True,
    gzip: bool = False,
    for_excel: bool = False,
) -> Export:
    """Return the export of these events, in order of `event_time`.

    Args:
        identify: with email and user id, and the ids of events and sessions as clients sent them. Otherwise all of
            these are keyed hashes.
        with_payload: False leaves out what clients say freely, where learners may name themselves.
        gzip: compress a text format.
        for_excel: begin CSV with the mark by which Excel knows UTF-8.
    """
    return Export(chosen, selection, Privacy(identify, with_payload), gzip=gzip, for_excel=for_excel)


def _batches(rows: Iterator[EventRow]) -> Iterator[list[EventRow]]:
    batch: list[EventRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += row[2]
        if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _compressed(parts: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
    for part in parts:
        if compressed := compressor.compress(part):
            yield compressed
    yield compressor.flush()
