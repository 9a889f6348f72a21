"""The outermost layers of a request: its id, and the one shape of errors for what never reaches a view."""

import re
import secrets
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers

from config import logs
from config.errors import ApiError, ErrorCode
from config.exception_handler import error_for_status, json_error

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestIdMiddleware:
    """Names each request; an id that a client or proxy sent in `X-Request-Id` is kept when it is harmless."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        token = logs.request_id.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            logs.request_id.reset(token)
        response["X-Request-Id"] = request_id
        return response


class ErrorShapeMiddleware:
    """Gives the contract's shape to an error that another layer rendered (static files, Django itself).

    The admin is left alone: its pages are for people in a browser.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "%00" in request.META.get("QUERY_STRING", ""):
            # PostgreSQL refuses NUL in any text, and the admin's filters would end in a 500.
            return json_error(ApiError(ErrorCode.MALFORMED_REQUEST))
        response = self.get_response(request)
        if (
            response.status_code < 400
            or request.path.startswith("/admin/")
            or response.get("Content-Type", "").startswith("application/json")
        ):
            return response
        shaped: HttpResponse = json_error(error_for_status(response.status_code))
        if "Allow" in response:
            shaped["Allow"] = response["Allow"]
        return shaped


class AdminLanguageMiddleware:
    """Shows the admin in the browser's language, where it has it (RFC 9110, section 12.5.4).

    Django's own would translate what the API says as well, and its clients show that to learners as it comes.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/admin/"):
            return self.get_response(request)
        language = translation.get_language_from_request(request)
        with translation.override(language):
            response = self.get_response(request)
        patch_vary_headers(response, ("Accept-Language",))
        response.headers.setdefault("Content-Language", language)
        return response
