"""The parsers of request bodies: JSON everywhere, and a form where an archive is uploaded."""

import json
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

from config import limits
from config.errors import ApiError, ErrorCode
from config.uploads import read_archive_form

_INTEGER_DIGITS_MAX: Final = 100
_HUGE: Final = 10**_INTEGER_DIGITS_MAX


class LimitedJSONParser(BaseParser):
    """JSON by RFC 8259, of at most `limits.REQUEST_BODY_MAX_BYTES`.

    DRF's own parser reads past Django's size limit and lets deep nesting end in a RecursionError.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE.
        ParseError: no JSON, or no UTF-8.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        raw: bytes = stream.read(limits.REQUEST_BODY_MAX_BYTES + 1)
        if len(raw) > limits.REQUEST_BODY_MAX_BYTES:
            raise ApiError(
                ErrorCode.PAYLOAD_TOO_LARGE,
                f"The request body may have at most {limits.REQUEST_BODY_MAX_BYTES:,} bytes.",
            )
        try:
            return json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_int=_parse_integer)
        except UnicodeDecodeError as error:
            raise ParseError("The request body is not UTF-8.") from error
        except RecursionError as error:
            raise ParseError("The request body is nested too deeply.") from error
        except ValueError as error:
            raise ParseError("The request body is not valid JSON.") from error


class ArchiveFormParser(BaseParser):
    """A multipart form (RFC 7578) with an archive in the field `file`, which streams to the disk.

    Raises:
        ApiError: see `read_archive_form`.
        ParseError: no such form.
    """

    media_type = "multipart/form-data"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> "DataAndFiles[Any, Any]":
        request = (parser_context or {})["request"]._request
        try:
            return DataAndFiles(*read_archive_form(request, stream, field="file"))
        except MultiPartParserError as error:
            raise ParseError("The request body is no multipart form.") from error


def _parse_integer(digits: str) -> int:
    """Read an integer. Python refuses very long ones, which would sink a batch for one event.

    One that is too long for any use stands for all of them; whoever needs a number refuses it.
    """
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else _HUGE


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
