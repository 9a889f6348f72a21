"""The catalogue of error codes, and the one exception that carries them.

Clients show `message` to learners and decide by status and `code` (the wire contract lists how). A new code is
added here and nowhere else; the OpenAPI document and the tests read this catalogue.

Messages that the admin shows become text where they are shown, in the language of whoever reads: the API answers in
English since no language is active there, and what is kept for everybody is `in_english`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import TypedDict

from django.core.exceptions import ValidationError
from django.utils import translation
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django_stubs_ext import StrOrPromise


class ErrorCode(StrEnum):
    """Every code that an answer may carry, with its usual status and message."""

    status: HTTPStatus
    message: StrOrPromise
    """Translated for those codes that staff meet in the admin."""

    def __new__(cls, value: str, status: HTTPStatus, message: StrOrPromise) -> "ErrorCode":
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.message = message
        return member

    UNAUTHORIZED = "UNAUTHORIZED", HTTPStatus.UNAUTHORIZED, "Please log in."
    INVALID_TOKEN = "INVALID_TOKEN", HTTPStatus.UNAUTHORIZED, "The access token is invalid or has expired."
    INVALID_USER = "INVALID_USER", HTTPStatus.UNAUTHORIZED, "This account no longer exists or is disabled."
    EMAIL_ALREADY_REGISTERED = (
        "EMAIL_ALREADY_REGISTERED",
        HTTPStatus.BAD_REQUEST,
        "This email address is already registered. Please log in.",
    )
    USER_NOT_FOUND = "USER_NOT_FOUND", HTTPStatus.NOT_FOUND, "There is no account with this email address."
    VERIFICATION_CODE_NOT_FOUND = (
        "VERIFICATION_CODE_NOT_FOUND",
        HTTPStatus.BAD_REQUEST,
        "No verification code is pending for this email address. Please request one.",
    )
    VERIFICATION_CODE_EXPIRED = (
        "VERIFICATION_CODE_EXPIRED",
        HTTPStatus.BAD_REQUEST,
        "The verification code has expired. Please request a new one.",
    )
    INVALID_VERIFICATION_CODE = (
        "INVALID_VERIFICATION_CODE",
        HTTPStatus.BAD_REQUEST,
        "The verification code is wrong. After five wrong tries a new one is needed.",
    )
    INVALID_CREDENTIALS = (
        "INVALID_CREDENTIALS",
        HTTPStatus.UNAUTHORIZED,
        "The email address or the password is wrong.",
    )
    UNSUPPORTED_AUTH_FLOW = (
        "UNSUPPORTED_AUTH_FLOW",
        HTTPStatus.BAD_REQUEST,
        "Codes are sent for the purpose 'register' only.",
    )
    INVALID_REFRESH_TOKEN = (
        "INVALID_REFRESH_TOKEN",
        HTTPStatus.UNAUTHORIZED,
        "This session has ended. Please log in again.",
    )
    DEVICE_MISMATCH = (
        "DEVICE_MISMATCH",
        HTTPStatus.UNAUTHORIZED,
        "This session belongs to another device. Please log in again.",
    )
    REFRESH_TOKEN_EXPIRED = (
        "REFRESH_TOKEN_EXPIRED",
        HTTPStatus.UNAUTHORIZED,
        "This session has expired. Please log in again.",
    )
    EMAIL_SEND_FAILED = (
        "EMAIL_SEND_FAILED",
        HTTPStatus.BAD_GATEWAY,
        "The email could not be sent. Please try again in a moment.",
    )
    SERVER_MISCONFIGURED = (
        "SERVER_MISCONFIGURED",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server is not configured for this.",
    )
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS", HTTPStatus.TOO_MANY_REQUESTS, "Too many requests. Please wait a moment."

    COURSE_NOT_FOUND = "COURSE_NOT_FOUND", HTTPStatus.NOT_FOUND, "There is no such course, or it has ended."
    COURSE_ACCESS_DENIED = "COURSE_ACCESS_DENIED", HTTPStatus.FORBIDDEN, "You are not enrolled in this course."
    CHAPTER_NOT_FOUND = "CHAPTER_NOT_FOUND", HTTPStatus.NOT_FOUND, "There is no such chapter in this course."

    VALIDATION_ERROR = "VALIDATION_ERROR", HTTPStatus.UNPROCESSABLE_ENTITY, _("The request has invalid fields.")
    MALFORMED_REQUEST = "MALFORMED_REQUEST", HTTPStatus.BAD_REQUEST, "The request could not be read."
    NOT_FOUND = "NOT_FOUND", HTTPStatus.NOT_FOUND, "There is nothing at this address."
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED", HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here."
    UNSUPPORTED_MEDIA_TYPE = (
        "UNSUPPORTED_MEDIA_TYPE",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The request body must be application/json.",
    )
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _("The request is too large.")
    FORBIDDEN = "FORBIDDEN", HTTPStatus.FORBIDDEN, _("You may not do this.")
    ARTIFACT_ACCESS_DENIED = "ARTIFACT_ACCESS_DENIED", HTTPStatus.FORBIDDEN, "You may not read this artifact."
    RANGE_NOT_SATISFIABLE = (
        "RANGE_NOT_SATISFIABLE",
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "The requested range lies outside the file.",
    )
    STORAGE_UNAVAILABLE = (
        "STORAGE_UNAVAILABLE",
        HTTPStatus.SERVICE_UNAVAILABLE,
        _("The file storage is not available. Please try again in a moment."),
    )
    BUNDLE_RELEASE_CONFLICT = (
        "BUNDLE_RELEASE_CONFLICT",
        HTTPStatus.CONFLICT,
        _("The release conflicts with an existing one."),
    )
    BUNDLE_INVALID = (
        "BUNDLE_INVALID",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        _("The bundle's archive is not what the release needs."),
    )
    ARTIFACT_UNREACHABLE = (
        "ARTIFACT_UNREACHABLE",
        HTTPStatus.BAD_GATEWAY,
        _("The bundle could not be fetched from its URL."),
    )
    EVENT_CONFLICT = (
        "EVENT_CONFLICT",
        HTTPStatus.CONFLICT,
        "Another event with this id and time was stored before.",
    )
    INTERNAL_ERROR = (
        "INTERNAL_ERROR",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        _("Something went wrong on the server."),
    )
    SERVICE_UNAVAILABLE = (
        "SERVICE_UNAVAILABLE",
        HTTPStatus.SERVICE_UNAVAILABLE,
        _("The server is busy. Please try again in a moment."),
    )


class FieldError(TypedDict):
    """One entry of `details`: the dotted path of a field, and what is wrong with it."""

    field: str
    message: StrOrPromise


@dataclass(eq=False)
class ApiError(Exception):
    """Raised anywhere below a view; rendered once, by `config.exception_handler`.

    `message` and `status` replace those of the catalogue; `retry_after` is in seconds and becomes the header.
    """

    code: ErrorCode
    message: StrOrPromise = ""
    details: Sequence[FieldError] = field(default_factory=tuple)
    status: HTTPStatus | None = None
    retry_after: int | None = None

    def __post_init__(self) -> None:
        super().__init__(self.code, self.message)

    @property
    def sentence(self) -> StrOrPromise:
        """The message, or else the catalogue's."""
        return self.message or self.code.message


def invalid_fields(details: Sequence[FieldError]) -> ApiError:
    """Make a VALIDATION_ERROR, with the first fault as its message: learners read only that."""
    first = format_lazy("{field}: {message}", **details[0]) if details else ""
    return ApiError(ErrorCode.VALIDATION_ERROR, first, details)


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return what a model's checks found wrong with its fields."""
    return [{"field": name, "message": _text_of(each)} for name, found in error.error_dict.items() for each in found]


def _first_text(error: ValidationError) -> str:
    return error.messages[0]


_text_of = lazy(_first_text, str)


def in_english(message: StrOrPromise) -> str:
    """Return the text for the audit and the logs, which are one for all, whatever language the actor reads."""
    with translation.override("en"):
        return str(message)


LIST_SEPARATOR = pgettext_lazy("between the items of a list", ", ")


def joined(messages: Iterable[StrOrPromise], separator: StrOrPromise = LIST_SEPARATOR) -> StrOrPromise:
    """Return the messages as one, which becomes text where it is shown."""
    return _join(separator, list(messages))


def _join_now(separator: StrOrPromise, messages: Sequence[StrOrPromise]) -> str:
    return str(separator).join(map(str, messages))


_join = lazy(_join_now, str)
