"""Every error becomes `{"error": {"code", "message", "details"?, "request_id"}}`, whatever layer it comes from."""

import logging
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.template import loader
from django.views import defaults
from redis.exceptions import RedisError
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from config import limits, logs
from config.errors import ApiError, ErrorCode, FieldError, invalid_fields

logger = logging.getLogger(__name__)

_OUTAGES: Final = (OperationalError, InterfaceError, RedisError)

_TOO_MUCH: Final = (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent)

_BY_STATUS: Final = {
    HTTPStatus.BAD_REQUEST: ErrorCode.MALFORMED_REQUEST,
    HTTPStatus.UNAUTHORIZED: ErrorCode.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: ErrorCode.FORBIDDEN,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.PAYLOAD_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ErrorCode.RANGE_NOT_SATISFIABLE,
    HTTPStatus.UNPROCESSABLE_ENTITY: ErrorCode.VALIDATION_ERROR,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorCode.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorCode.SERVICE_UNAVAILABLE,
}


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler: answers any exception that a view lets through."""
    error = as_api_error(exc)
    if error.code is ErrorCode.INTERNAL_ERROR:
        logger.error("Unhandled exception", exc_info=exc)
    elif error.code is ErrorCode.SERVICE_UNAVAILABLE and isinstance(exc, _OUTAGES):
        logger.error("A service that requests need is away: %s", type(exc).__name__, exc_info=exc)
    set_rollback()
    headers = _headers(error)
    if isinstance(exc, drf.APIException) and (scheme := getattr(exc, "auth_header", "")):
        headers["WWW-Authenticate"] = scheme
    elif _status(error) == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body(error), status=_status(error), headers=headers)


def as_api_error(exc: BaseException) -> ApiError:
    """Translate what Django, DRF, the database or the cache raised into the catalogue."""
    match exc:
        case ApiError():
            return exc
        case drf.ValidationError():
            return invalid_fields(list(field_errors(exc.detail)))
        case drf.NotAuthenticated():
            return ApiError(ErrorCode.UNAUTHORIZED)
        case drf.AuthenticationFailed():
            return ApiError(ErrorCode.INVALID_TOKEN)
        case drf.ParseError():
            return ApiError(ErrorCode.MALFORMED_REQUEST, str(exc.detail))
        case drf.APIException():
            return error_for_status(exc.status_code)
        case RequestDataTooBig():
            return ApiError(ErrorCode.PAYLOAD_TOO_LARGE)
        case UnreadablePostError():
            # The body broke off on its way. A 4xx would make clients throw the item away, and the next try cures it.
            return ApiError(ErrorCode.SERVICE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_BUSY_SECONDS)
        case SuspiciousOperation() | RecursionError():
            return ApiError(ErrorCode.MALFORMED_REQUEST)
        case Http404():
            return ApiError(ErrorCode.NOT_FOUND)
        case PermissionDenied():
            return ApiError(ErrorCode.FORBIDDEN)
        case OperationalError() | InterfaceError() | RedisError():
            return ApiError(ErrorCode.SERVICE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS)
        case _:
            return ApiError(ErrorCode.INTERNAL_ERROR)


def error_for_status(status: int) -> ApiError:
    """Make the error for a bare status code; an unlisted one keeps its status under the nearest code."""
    fallback = ErrorCode.INTERNAL_ERROR if status >= 500 else ErrorCode.MALFORMED_REQUEST
    return ApiError(_BY_STATUS.get(HTTPStatus(status), fallback), status=HTTPStatus(status))


def field_errors(detail: Any, path: str = "") -> Iterator[FieldError]:
    """Flatten DRF's nested error detail into (dotted path, message) pairs."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from field_errors(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            yield from field_errors(inner, f"{path}.{index}" if nested and path else path)
    else:
        yield {"field": path or "body", "message": str(detail)}


def body(error: ApiError) -> dict[str, Any]:
    """Render the error as the contract's JSON object."""
    content: dict[str, Any] = {"code": str(error.code), "message": str(error.sentence)}
    if error.details:
        content["details"] = [{"field": each["field"], "message": str(each["message"])} for each in error.details]
    content["request_id"] = logs.request_id.get()
    return {"error": content}


def json_error(error: ApiError) -> HttpResponse:
    """Render the error where no DRF view is at hand."""
    return JsonResponse(body(error), status=_status(error), headers=_headers(error))


def _status(error: ApiError) -> HTTPStatus:
    return error.status or error.code.status


def _headers(error: ApiError) -> dict[str, str]:
    return {} if error.retry_after is None else {"Retry-After": str(max(1, error.retry_after))}


def _in_admin(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400` of the URL configuration."""
    error = as_api_error(exception)
    if not _in_admin(request):
        return json_error(error)
    # Without the request: what it sent can't be read, so nothing on the page may depend on it.
    page = loader.render_to_string("400.html", {"is_too_much": isinstance(exception, _TOO_MUCH)})
    return HttpResponse(page, status=_status(error))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler403` of the URL configuration."""
    return defaults.permission_denied(request, exception) if _in_admin(request) else json_error(as_api_error(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404` of the URL configuration."""
    return defaults.page_not_found(request, exception) if _in_admin(request) else json_error(as_api_error(exception))


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500` of the URL configuration; Django calls it while the exception is being handled."""
    exc = sys.exc_info()[1]
    if isinstance(exc, ApiError | UnreadablePostError):
        # From reading a form of the admin: there is no place for a large upload now, or its body broke off.
        return json_error(as_api_error(exc))
    if exc is not None:
        logger.error("Unhandled exception at %s", request.path, exc_info=exc)
    if _in_admin(request):
        return defaults.server_error(request)
    return json_error(as_api_error(exc) if exc is not None else ApiError(ErrorCode.INTERNAL_ERROR))
