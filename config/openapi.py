"""The OpenAPI document: each operation lists the error codes that it can answer, by status."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from config.errors import ErrorCode, in_english

AUTHENTICATED = (ErrorCode.UNAUTHORIZED, ErrorCode.INVALID_TOKEN, ErrorCode.INVALID_USER)
WITH_BODY = (
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.VALIDATION_ERROR,
)
ALWAYS = (ErrorCode.MALFORMED_REQUEST, ErrorCode.INTERNAL_ERROR, ErrorCode.SERVICE_UNAVAILABLE)

DEVICE_ID_HEADER = OpenApiParameter(
    "X-Device-Id",
    str,
    OpenApiParameter.HEADER,
    description="The device's id. The first one seen after a login becomes the session's.",
)


class Schema(AutoSchema):
    """drf-spectacular's schema without the docstrings of viewsets: these are for their next reader."""

    def get_description(self, *args: Any) -> str:  # DRF's signature has arguments, drf-spectacular's none
        return ""


def operation(
    *,
    summary: str,
    answer: Any,
    request: type[serializers.Serializer[Any]] | None = None,
    errors: Iterable[ErrorCode | tuple[ErrorCode, HTTPStatus]] = (),
    status: HTTPStatus = HTTPStatus.OK,
    also: Mapping[HTTPStatus, Any] | None = None,
    authenticated: bool = False,
    parameters: Iterable[OpenApiParameter | type[serializers.Serializer[Any]]] = (),
    messages: Mapping[ErrorCode, str] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Document a view method: what it takes, what it answers, and every code that it may answer with.

    `errors` names the operation's own codes, as a pair where the status isn't the catalogue's; those that come
    with a body, with a token or with any request are added. `also` are further answers of success, by status.
    `messages` take the place of the catalogue's where these are for other callers.
    """
    listed = [*errors, *ALWAYS]
    header_parameters = list(parameters)
    if request is not None:
        listed += WITH_BODY
    if authenticated:
        listed += AUTHENTICATED
        header_parameters.append(DEVICE_ID_HEADER)
    by_status: dict[int, list[ErrorCode]] = defaultdict(list)
    for entry in listed:
        code, code_status = entry if isinstance(entry, tuple) else (entry, entry.status)
        if code not in by_status[code_status]:
            by_status[code_status].append(code)
    return extend_schema(
        summary=summary,
        request=request,
        parameters=header_parameters,
        responses={
            int(status): answer,
            **{int(other): of_other for other, of_other in (also or {}).items()},
            **{int(s): _error_answer(c, messages or {}) for s, c in sorted(by_status.items())},
        },
        **options,
    )


def _error_answer(codes: list[ErrorCode], messages: Mapping[ErrorCode, str]) -> OpenApiResponse:
    error: dict[str, Any] = {
        "type": "object",
        "required": ["code", "message", "request_id"],
        "properties": {
            "code": {"type": "string", "enum": sorted(codes)},
            "message": {"type": "string", "description": "A sentence for people."},
            "request_id": {"type": "string", "description": "Also in the header X-Request-Id and in the logs."},
        },
    }
    if ErrorCode.VALIDATION_ERROR in codes:
        error["properties"]["details"] = {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        }
    return OpenApiResponse(
        {"type": "object", "required": ["error"], "properties": {"error": error}},
        description=" ".join(f"`{code}`: {in_english(messages.get(code, code.message))}" for code in codes),
    )
