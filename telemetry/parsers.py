"""The parsers of bodies that a client's queue sends: compressed if it likes, and events each by itself."""

import json
import re
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from config import limits
from config.errors import ApiError, ErrorCode
from config.parsers import LimitedJSONParser

_GZIP_WINDOW_BITS: Final = 31  # zlib's way to say gzip, and nothing else

_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\[\s\S]?)*+"?|[][{}]')
"""A string, also one that the text's end cuts off, or a bracket. Linear time."""

_EVENT_DEPTH: Final = 3  # the body, its list, an event


class _Body(msgspec.Struct):
    events: list[msgspec.Raw]


# Of a list, it keeps as many elements as tell that there are too many, and reads past the others: 4 MiB of `{},` would
# be 1.4 million in 100 MB. It takes 50 µs, which is much for a few events.
_FirstEvents: Final = msgspec.defstruct(
    "_FirstEvents",
    [(f"event_{number}", msgspec.Raw | UnsetType, UNSET) for number in range(limits.EVENTS_PER_CALL_MAX + 1)],
    array_like=True,
)


class _LongBody(msgspec.Struct):
    events: _FirstEvents  # type: ignore[valid-type]  # made at run time


_body_decoder: Final = msgspec.json.Decoder(_Body)
_long_body_decoder: Final = msgspec.json.Decoder(_LongBody)

_COMMAS_OF_FEW_ELEMENTS: Final = 50 * limits.EVENTS_PER_CALL_MAX
"""A body with so many of them makes no list that would take more than 4 MB."""


class CompressibleJSONParser(LimitedJSONParser):
    """JSON of the size that every body may have, compressed or not.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE; UNSUPPORTED_MEDIA_TYPE for an unknown compression.
        ParseError: no JSON, no UTF-8, broken gzip.
    """

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = read_body(stream, parser_context, limits.REQUEST_BODY_MAX_BYTES)
        return super().parse(BytesIO(body), media_type, parser_context)


class EventsParser(BaseParser):
    """`{"events": [{…}, …]}` as the list of its events, each still JSON: what is wrong in one is its own matter.

    The compiled decoder refuses the whole of a body for a lone surrogate, NaN or deep nesting in one event. Then the
    events are cut out first.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE; UNSUPPORTED_MEDIA_TYPE for an unknown compression.
        ParseError: no JSON, no UTF-8, broken gzip.
        ValidationError: JSON, but no list of objects.
    """

    media_type = "application/json"

    def parse(  # type: ignore[override]  # DRF takes anything that a parser returns
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> list[msgspec.Raw]:
        body = read_body(stream, parser_context, limits.EVENTS_BODY_MAX_BYTES)
        try:
            return split_events(body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ParseError("The request body is not UTF-8.") from error


def sent_events(request: Request) -> list[msgspec.Raw]:
    """Return what `EventsParser` read.

    Raises:
        ValidationError: there was no body, which the framework doesn't bring to a parser.
    """
    if not isinstance(request.data, list):
        raise not_a_list_of_objects()
    return request.data


def split_events(body: str) -> list[msgspec.Raw]:
    """Return the events of a call, each a JSON object as sent. Those that nobody could read are still in it.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE.
        ParseError: no JSON.
        ValidationError: JSON, but no list of objects.
    """
    try:
        events = _decode_events(body)
    except msgspec.ValidationError:
        raise not_a_list_of_objects() from None
    except (msgspec.DecodeError, RecursionError):
        events = _cut_out_events(body)
    if len(events) > limits.EVENTS_PER_CALL_MAX:
        raise _too_many_events()
    if not all(memoryview(event)[0] == ord("{") for event in events):
        raise not_a_list_of_objects()
    return events


def _decode_events(body: str) -> list[msgspec.Raw]:
    """Return the elements of the list of events, or the first of them, one more than a call may have.

    Raises:
        msgspec.DecodeError, RecursionError: no JSON, or none that the decoder takes.
        msgspec.ValidationError: JSON without a list of events.
    """
    if body.count(",") <= _COMMAS_OF_FEW_ELEMENTS:
        return _body_decoder.decode(body).events
    first: tuple[msgspec.Raw | UnsetType, ...] = msgspec.structs.astuple(_long_body_decoder.decode(body).events)
    return [event for event in first if event is not UNSET]


def _too_many_events() -> ApiError:
    return ApiError(
        ErrorCode.PAYLOAD_TOO_LARGE, f"At most {limits.EVENTS_PER_CALL_MAX:,} events may be sent in a call."
    )


def not_a_list_of_objects() -> ValidationError:
    return ValidationError({"events": ["This must be a list of objects."]})


def read_body(stream: IO[Any], parser_context: Mapping[str, Any] | None, max_bytes: int) -> bytes:
    """Read a body of at most `max_bytes`, as sent and when decompressed (RFC 9110, section 8.4).

    Raises:
        ApiError: PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE.
        ParseError: broken gzip.
    """
    encoding = str((parser_context or {})["request"].headers.get("Content-Encoding", "")).strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "The request body may be compressed by gzip only.")
    body: bytes = stream.read(max_bytes + 1)
    if len(body) <= max_bytes and encoding.endswith("gzip"):
        body = _decompress(body, max_bytes + 1)
    if len(body) > max_bytes:
        raise ApiError(ErrorCode.PAYLOAD_TOO_LARGE, f"The request body may have at most {max_bytes:,} bytes.")
    return body


def _decompress(body: bytes, max_bytes: int) -> bytes:
    """Return the content of one gzip member, or its first `max_bytes`."""
    decompressor = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        content = decompressor.decompress(body, max_bytes)
    except zlib.error as error:
        raise ParseError("The request body is not valid gzip.") from error
    if len(content) < max_bytes and (not decompressor.eof or decompressor.unused_data):
        raise ParseError("The request body is not valid gzip.")
    return content


def _cut_out_events(body: str) -> list[msgspec.Raw]:
    skeleton, objects = _cut_out_objects(body)
    try:
        match msgspec.json.decode(skeleton):
            case {"events": list(numbered)} if all(isinstance(event, dict) for event in numbered):
                events = [objects[event["number"]] for event in numbered]
            case _:
                raise not_a_list_of_objects()
    except RecursionError as error:
        raise ParseError("The request body is nested too deeply.") from error
    except msgspec.MsgspecError as error:
        raise ParseError("The request body is not valid JSON.") from error
    for event in events:
        _check_json(event)
    return [msgspec.Raw(event) for event in events]


def _cut_out_objects(body: str) -> tuple[str, list[str]]:
    """Return the body with a number in place of each object of a list in it, and these objects.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE, as soon as there are more than a call may have events.
    """
    objects: list[str] = []
    skeleton: list[str] = []
    depth = end = 0
    begin: int | None = None
    for match in _STRUCTURE.finditer(body):
        mark = match[0]
        if mark in ("{", "["):
            depth += 1
            if depth == _EVENT_DEPTH and mark == "{":
                begin = match.start()
        elif mark in ("}", "]"):
            if depth == _EVENT_DEPTH and begin is not None:
                if len(objects) == limits.EVENTS_PER_CALL_MAX:
                    raise _too_many_events()
                skeleton.append(f'{body[end:begin]}{{"number":{len(objects)}}}')
                end = match.end()
                objects.append(body[begin:end])
                begin = None
            depth -= 1
    skeleton.append(body[end:])
    return "".join(skeleton), objects


def _check_json(event: str) -> None:
    """Refuse the body for an event that is no JSON by any reading.

    Raises:
        ParseError.
    """
    try:
        json.loads(event, parse_int=float)
    except RecursionError:
        return  # it is nested too deeply, and fails alone
    except ValueError as error:
        raise ParseError("The request body is not valid JSON.") from error
