"""The admin's front door, with the same bounds on guessing as the API's login."""

import unicodedata
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest, HttpResponse

from accounts.models import normalize_email
from accounts.slots import password_hash_slot
from config import limits, ratelimit
from config.errors import ApiError


class LoginForm(AdminAuthenticationForm):
    """Django's message says that both fields may be case-sensitive, which emails are not."""

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": "This is not the email address and password of a staff account.",
    }


class AdminSite(admin.AdminSite):
    """Django's admin site; a refused login shows the form again with 429 or 503 and the reason."""

    site_header = site_title = settings.APP_NAME
    index_title = "Administration"
    site_url = "/docs"
    login_form = LoginForm

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method != "POST":
            return super().login(request, extra_context)
        try:
            _count_login(request)
            with password_hash_slot():
                return super().login(request, extra_context)
        except ApiError as error:
            return self._refused(request, error, extra_context)

    def _refused(self, request: HttpRequest, error: ApiError, extra_context: dict[str, Any] | None) -> HttpResponse:
        messages.error(request, error.message or error.code.message)
        request.method = "GET"  # the form is shown afresh: validating it would check the password
        response = super().login(request, extra_context)
        response.status_code = int(error.status or error.code.status)
        response["Retry-After"] = str(error.retry_after)
        return response


def _count_login(request: HttpRequest) -> None:
    address = ratelimit.client_address(request)
    # As Django's login form reads it: another spelling of one name must not be another allowance.
    email = normalize_email(unicodedata.normalize("NFKC", request.POST.get("username", "")))[:254]
    ratelimit.count_request("admin-login-address", address, limits.ADMIN_LOGIN_PER_ADDRESS)
    ratelimit.count_request("admin-login-account", f"{email}\n{address}", limits.ADMIN_LOGIN_PER_ACCOUNT_AND_ADDRESS)
