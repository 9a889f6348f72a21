"""Events as Parquet: https://github.com/apache/parquet-format.

Written here rather than by pyarrow, which was measured: it takes 170 MB of the image and 55 MiB of the process, so that
with Django around it no size of row groups kept 10 million events below 150 MiB (many small ones grow its metadata,
few large ones its buffers), and a web worker that had exported once would keep all that. Of the format this needs
little: flat columns of text and of times, plain or by a dictionary, compressed by gzip, which every reader knows.

Pages are of version 1, one for each column of a row group. An index into a dictionary takes 16 bits, whatever the
dictionary's size: the format allows it, bits need no packing then, and gzip takes the zeros out.
"""

import itertools
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final, Protocol

from telemetry.exports import thrift
from telemetry.exports.reading import EventRow
from telemetry.exports.thrift import binary, flag, i32, i64, sequence, struct, text, varint

_ROW_GROUP_ROWS: Final = 16_384
"""At most 65,535, so that an index of 16 bits reaches all values of a row group, and a batch goes over it."""
_ROW_GROUP_CHARACTERS: Final = 4 * 1024 * 1024
"""Of payloads; whichever of the two comes first. A row group is held in memory, and once more as it is compressed."""

_TIMES: Final = ("event_time", "received_at")
_NULLABLE: Final = ("email", "course_id", "course_code")
_PLAIN_TEXTS: Final = ("event_id", "payload")
"""Texts of which hardly any occurs twice; the others have a dictionary."""

_MAGIC: Final = b"PAR1"
_CREATED_BY: Final = "llm-course-backend version 0.1.0 (build 0)"
"""In the form that readers take apart to know of the faults of certain writers."""

# The numbers that the format gives them (parquet.thrift).
_INT64, _BYTE_ARRAY = 2, 6
_REQUIRED, _OPTIONAL = 0, 1
_UTF8, _TIMESTAMP_MICROS = 0, 10
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_GZIP: Final = 2
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2

_GZIP_LEVEL: Final = 4
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INDEX_BITS: Final = 16


@dataclass(frozen=True, slots=True)
class _Content:
    """What a row group has of one column: the body of the data page without its definition levels, and so on.

    `statistics` are the fields of that struct, where they help readers to skip a row group.
    """

    values: bytes
    dictionary: bytes | None = None
    dictionary_size: int = 0
    statistics: Mapping[int, thrift.Value] | None = None


class _Column(Protocol):
    kind: int

    def add(self, values: Sequence[str | bytes]) -> None: ...

    def take(self) -> _Content:
        """Return what was added since the last time."""
        ...


class ParquetEncoder:
    """Times are in microseconds of UTC, all else is text, and `payload` is JSON."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = {name: _ColumnWriter(name) for name in columns}
        self._values = [attrgetter(name) for name in columns]
        self._row_groups: list[thrift.Value] = []
        self._offset = 0
        self._all_rows = 0
        self._rows = 0
        self._characters = 0

    def begin(self) -> bytes:
        return self._placed(_MAGIC)

    def add(self, rows: Sequence[EventRow]) -> bytes:
        for column, value_of in zip(self._columns.values(), self._values, strict=True):
            column.add([value_of(event) for event, _, _ in rows])
        self._rows += len(rows)
        self._characters += sum(characters for _, _, characters in rows)
        is_full = self._rows >= _ROW_GROUP_ROWS or self._characters >= _ROW_GROUP_CHARACTERS
        return self._row_group() if is_full else b""

    def end(self) -> bytes:
        rest = self._row_group() if self._rows else b""
        footer = self._footer()
        return rest + self._placed(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def _placed(self, part: bytes) -> bytes:
        self._offset += len(part)
        return part

    def _row_group(self) -> bytes:
        begin = self._offset
        chunks, parts, size = [], [], 0
        for column in self._columns.values():
            chunk = column.take(self._offset)
            parts.append(self._placed(chunk.body))
            chunks.append(chunk.metadata)
            size += chunk.uncompressed_bytes
        self._row_groups.append(
            struct(
                {
                    1: sequence(chunks),
                    2: i64(size),
                    3: i64(self._rows),
                    5: i64(begin),
                    6: i64(self._offset - begin),
                }
            )
        )
        self._all_rows += self._rows
        self._rows = self._characters = 0
        return b"".join(parts)

    def _footer(self) -> bytes:
        root = struct({4: text("events"), 5: i32(len(self._columns))})
        order = struct({1: struct({})})
        return struct(
            {
                1: i32(2),
                2: sequence([root, *(column.schema() for column in self._columns.values())]),
                3: i64(self._all_rows),
                4: sequence(self._row_groups, of=root),
                6: text(_CREATED_BY),
                7: sequence([order] * len(self._columns)),
            }
        ).encoded


@dataclass(slots=True)
class _Chunk:
    """A column of one row group, as it lies in the file."""

    body: bytes = b""
    uncompressed_bytes: int = 0
    metadata: thrift.Value = field(default_factory=lambda: struct({}))

    def add_page(self, kind: int, content: bytes, header_field: int, header: thrift.Value) -> None:
        compressed = zlib.compress(content, _GZIP_LEVEL, wbits=_GZIP_WINDOW)
        fields = {1: i32(kind), 2: i32(len(content)), 3: i32(len(compressed)), header_field: header}
        page_header = struct(fields).encoded
        self.body += page_header + compressed
        self.uncompressed_bytes += len(page_header) + len(content)


class _ColumnWriter:
    """Makes the chunks of one column."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_nullable = name in _NULLABLE
        self._present: list[bool] = []
        self._rows = 0
        self._column: _Column
        if name in _TIMES:
            self._column = _Times()
        else:
            self._column = _PlainTexts() if name in _PLAIN_TEXTS else _DictionaryTexts()

    def schema(self) -> thrift.Value:
        """Return the `SchemaElement`."""
        if self._name in _TIMES:
            microseconds = struct({2: struct({})})
            converted, logical = _TIMESTAMP_MICROS, struct({8: struct({1: flag(True), 2: microseconds})})
        else:
            converted, logical = _UTF8, struct({1: struct({})})
        return struct(
            {
                1: i32(self._column.kind),
                3: i32(_OPTIONAL if self._is_nullable else _REQUIRED),
                4: text(self._name),
                6: i32(converted),
                10: logical,
            }
        )

    def add(self, values: Sequence[str | bytes | None]) -> None:
        self._rows += len(values)
        present = [value for value in values if value is not None]
        if self._is_nullable:
            self._present += [value is not None for value in values]
        self._column.add(present)

    def take(self, offset: int) -> _Chunk:
        """Return the chunk that begins at this place of the file, and begin the next one."""
        chunk, content = _Chunk(), self._column.take()
        encodings = [i32(_RLE), i32(_PLAIN)]
        encoding, places = _PLAIN, {9: i64(offset)}
        if content.dictionary is not None:
            header = struct({1: i32(content.dictionary_size), 2: i32(_PLAIN)})
            chunk.add_page(_DICTIONARY_PAGE, content.dictionary, 7, header)
            encodings.append(i32(_RLE_DICTIONARY))
            encoding, places = _RLE_DICTIONARY, {9: i64(offset + len(chunk.body)), 11: i64(offset)}
        header = struct({1: i32(self._rows), 2: i32(encoding), 3: i32(_RLE), 4: i32(_RLE)})
        chunk.add_page(_DATA_PAGE, self._take_levels() + content.values, 5, header)
        fields = {
            1: i32(self._column.kind),
            2: sequence(encodings),
            3: sequence([text(self._name)]),
            4: i32(_GZIP),
            5: i64(self._rows),
            6: i64(chunk.uncompressed_bytes),
            7: i64(len(chunk.body)),
            **places,
        }
        if content.statistics:
            fields[12] = struct(content.statistics)
        chunk.metadata = struct({2: i64(0), 3: struct(fields)})
        self._rows = 0
        return chunk

    def _take_levels(self) -> bytes:
        """Return which values are there, as runs; a column that has all of them says nothing."""
        if not self._is_nullable:
            return b""
        runs = [
            varint(sum(1 for _ in run) << 1) + bytes([is_present])
            for is_present, run in itertools.groupby(self._present)
        ]
        self._present = []
        levels = b"".join(runs)
        return len(levels).to_bytes(4, "little") + levels


class _Times:
    kind = _INT64

    def __init__(self) -> None:
        self._microseconds = array("q")

    def add(self, values: Sequence[str | bytes]) -> None:
        self._microseconds.extend((datetime.fromisoformat(str(value)) - _EPOCH) // _MICROSECOND for value in values)

    def take(self) -> _Content:
        times, self._microseconds = self._microseconds, array("q")
        least, greatest = (time.to_bytes(8, "little", signed=True) for time in (min(times), max(times)))
        return _Content(_little_endian(times), statistics={3: i64(0), 5: binary(greatest), 6: binary(least)})


class _PlainTexts:
    kind = _BYTE_ARRAY

    def __init__(self) -> None:
        self._values = bytearray()

    def add(self, values: Sequence[str | bytes]) -> None:
        self._values += _byte_arrays(values)

    def take(self) -> _Content:
        content, self._values = _Content(bytes(self._values)), bytearray()
        return content


class _DictionaryTexts:
    kind = _BYTE_ARRAY

    def __init__(self) -> None:
        self._places: dict[str | bytes, int] = {}
        self._indexes = array("H")

    def add(self, values: Sequence[str | bytes]) -> None:
        places = self._places
        self._indexes.extend([places.setdefault(value, len(places)) for value in values])

    def take(self) -> _Content:
        groups = -(-len(self._indexes) // 8)
        self._indexes.extend([0] * (groups * 8 - len(self._indexes)))
        values = bytes([_INDEX_BITS]) + varint(groups << 1 | 1) + _little_endian(self._indexes)
        content = _Content(values, _byte_arrays(self._places), len(self._places))
        self._places, self._indexes = {}, array("H")
        return content


def _byte_arrays(values: Iterable[str | bytes]) -> bytes:
    """Return the texts one after the other, the length before each."""
    parts = []
    for value in values:
        encoded = value.encode() if isinstance(value, str) else bytes(value)
        parts += [len(encoded).to_bytes(4, "little"), encoded]
    return b"".join(parts)


def _little_endian(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
