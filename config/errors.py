"""The catalogue of error codes, and the one exception that carries them.

Clients show `message` to learners and decide by status and `code` (the wire contract lists how). A new code is
added here and nowhere else; the OpenAPI document and the tests read this catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import TypedDict


class ErrorCode(StrEnum):
    """Every code that an answer may carry, with its usual status and message."""

    status: HTTPStatus
    message: str

    def __new__(cls, value: str, status: HTTPStatus, message: str) -> "ErrorCode":
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

    VALIDATION_ERROR = "VALIDATION_ERROR", HTTPStatus.UNPROCESSABLE_ENTITY, "The request has invalid fields."
    MALFORMED_REQUEST = "MALFORMED_REQUEST", HTTPStatus.BAD_REQUEST, "The request could not be read."
    NOT_FOUND = "NOT_FOUND", HTTPStatus.NOT_FOUND, "There is nothing at this address."
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED", HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here."
    UNSUPPORTED_MEDIA_TYPE = (
        "UNSUPPORTED_MEDIA_TYPE",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The request body must be application/json.",
    )
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large."
    FORBIDDEN = "FORBIDDEN", HTTPStatus.FORBIDDEN, "You may not do this."
    ARTIFACT_ACCESS_DENIED = "ARTIFACT_ACCESS_DENIED", HTTPStatus.FORBIDDEN, "You may not read this artifact."
    RANGE_NOT_SATISFIABLE = (
        "RANGE_NOT_SATISFIABLE",
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "The requested range lies outside the file.",
    )
    STORAGE_UNAVAILABLE = (
        "STORAGE_UNAVAILABLE",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The file storage is not available. Please try again in a moment.",
    )
    BUNDLE_RELEASE_CONFLICT = (
        "BUNDLE_RELEASE_CONFLICT",
        HTTPStatus.CONFLICT,
        "The release conflicts with an existing one.",
    )
    BUNDLE_INVALID = (
        "BUNDLE_INVALID",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The bundle's archive is not what the release needs.",
    )
    ARTIFACT_UNREACHABLE = (
        "ARTIFACT_UNREACHABLE",
        HTTPStatus.BAD_GATEWAY,
        "The bundle could not be fetched from its URL.",
    )
    EVENT_CONFLICT = (
        "EVENT_CONFLICT",
        HTTPStatus.CONFLICT,
        "Another event with this id and time was stored before.",
    )
    INTERNAL_ERROR = "INTERNAL_ERROR", HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on the server."
    SERVICE_UNAVAILABLE = (
        "SERVICE_UNAVAILABLE",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The server is busy. Please try again in a moment.",
    )


class FieldError(TypedDict):
    """One entry of `details`: the dotted path of a field, and what is wrong with it."""

    field: str
    message: str


@dataclass(eq=False)
class ApiError(Exception):
    """Raised anywhere below a view; rendered once, by `config.exception_handler`.

    `message` and `status` replace those of the catalogue; `retry_after` is in seconds and becomes the header.
    """

    code: ErrorCode
    message: str = ""
    details: Sequence[FieldError] = field(default_factory=tuple)
    status: HTTPStatus | None = None
    retry_after: int | None = None

    def __post_init__(self) -> None:
        super().__init__(self.code, self.message)


def invalid_fields(details: Sequence[FieldError]) -> ApiError:
    """Make a VALIDATION_ERROR, with the first fault as its message: learners read only that."""
    first = f"{details[0]['field']}: {details[0]['message']}" if details else ""
    return ApiError(ErrorCode.VALIDATION_ERROR, first, details)
