"""The admin's front door, with the same bounds on guessing as the API's login."""

import unicodedata
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite

from accounts.models import User, normalize_email
from accounts.slots import password_hash_slot
from config import limits, ratelimit
from config.errors import ApiError
from config.overview import overview
from config.search import Query, search


class LoginForm(AuthenticationForm):
    """Django's message says that both fields may be case-sensitive, which emails are not."""

    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": _("This is not the email address and password of a staff account."),
    }


class AdminSite(UnfoldAdminSite):
    """The admin site, as unfold draws it; a refused login shows the form again with 429 or 503 and the reason."""

    site_header = site_title = settings.APP_NAME
    index_title = _("Overview")
    site_url = "/docs"
    login_form = LoginForm

    def get_urls(self) -> list[Any]:
        """Leave out Django's `r/…`, which leads to pages outside of the admin.

        No row has any, and it answers 500 to an id that is none.
        """
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Answer "is everything all right?", as far as the person may know."""
        assert isinstance(request.user, User)
        return super().index(request, {"report": overview(person=request.user), **(extra_context or {})})

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Find courses, chapters, releases and people.

        unfold's own keeps finds in the cache, where a permission that was taken away would not count.
        """
        assert isinstance(request.user, User)
        typing = "while-typing" in request.GET
        query = Query.of(request.GET.get("q", ""))
        limit = limits.ADMIN_SEARCH_HITS_WHILE_TYPING if typing else limits.ADMIN_SEARCH_HITS
        found = search(person=request.user, query=query, limit=limit)
        context = {
            "title": _("Search"),
            "query": query,
            "found": found,
            "count": sum(len(hits.hits) for hits in found),
            "more": any(hits.more for hits in found),
            **(extra_context or {}),
        }
        if typing:
            return TemplateResponse(request, "admin/search_results.html", context)
        return TemplateResponse(request, "admin/search.html", {**self.each_context(request), **context})

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
