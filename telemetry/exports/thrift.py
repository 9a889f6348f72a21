"""As much of Thrift's compact protocol as the metadata of Parquet needs.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_TRUE: Final = 1
_FALSE: Final = 2
_I32: Final = 5
_I64: Final = 6
_BINARY: Final = 8
_LIST: Final = 9
_STRUCT: Final = 12

_SHORT_LIST_MAX: Final = 14
_STOP: Final = b"\0"


class Value(NamedTuple):
    """A value as bytes, with the number of its type."""

    kind: int
    encoded: bytes


def varint(number: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the low ones first (ULEB128)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def i32(number: int) -> Value:
    return Value(_I32, varint(_zigzag(number)))


def i64(number: int) -> Value:
    return Value(_I64, varint(_zigzag(number)))


def flag(is_set: bool) -> Value:
    """A field of a struct: its type is its value."""
    return Value(_TRUE if is_set else _FALSE, b"")


def binary(data: bytes) -> Value:
    return Value(_BINARY, varint(len(data)) + data)


def text(characters: str) -> Value:
    return binary(characters.encode())


def sequence(values: Sequence[Value], *, of: Value | None = None) -> Value:
    """A list of values of one type: that of the first, or of `of` where there may be none."""
    sample = values[0] if values else of
    if sample is None:
        raise ValueError("An empty list needs a type.")
    number = len(values)
    head = bytes([number << 4 | sample.kind]) if number <= _SHORT_LIST_MAX else bytes([0xF0 | sample.kind])
    length = varint(number) if number > _SHORT_LIST_MAX else b""
    return Value(_LIST, b"".join([head, length, *(value.encoded for value in values)]))


def struct(fields: Mapping[int, Value]) -> Value:
    """A struct of fields by their numbers, which rise by at most 15."""
    parts = []
    last = 0
    for number, value in fields.items():
        parts += [bytes([(number - last) << 4 | value.kind]), value.encoded]
        last = number
    return Value(_STRUCT, b"".join([*parts, _STOP]))


def _zigzag(number: int) -> int:
    """Map numbers to ones that are not negative, those near zero to small ones."""
    return number << 1 if number >= 0 else (-number << 1) - 1
