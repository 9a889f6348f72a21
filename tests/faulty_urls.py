"""Views that break, or that no released call has yet, for the tests of the error handler."""

from typing import NoReturn

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework.request import Request

from config.api import ApiViewSet
from config.urls import handler400, handler403, handler404, handler500, urlpatterns

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class FaultyViewSet(ApiViewSet):
    authentication_classes = ()
    permission_classes = ()

    def bug(self, request: Request) -> NoReturn:
        raise KeyError("a bug")

    def outage(self, request: Request) -> NoReturn:
        raise OperationalError("connection refused")


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse("taken")


def plain_bug(request: HttpRequest) -> NoReturn:
    raise KeyError("a bug outside the REST framework")


def plain_outage(request: HttpRequest) -> NoReturn:
    raise OperationalError("connection refused")


urlpatterns = [
    path("bug", FaultyViewSet.as_view({"get": "bug"})),
    path("form", form),
    path("outage", FaultyViewSet.as_view({"get": "outage"})),
    path("plain-bug", plain_bug),
    path("plain-outage", plain_outage),
    *urlpatterns,
]
