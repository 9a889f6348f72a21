"""What the pages of releases, tokens and events share."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from accounts.models import User
from config.errors import ApiError
from courses.selectors import canonical_uuid
from updates.models import BundleRelease
from updates.principals import Principal, person

AdminView = Callable[..., HttpResponse]


def acting(request: HttpRequest) -> Principal:
    assert isinstance(request.user, User)
    return person(request.user)


def percent(basis_points: int) -> str:
    return f"{basis_points / 100:g} %"


def minute(moment: datetime | None) -> str | None:
    """Show a time where there is little room; None shows as empty."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else None


def bundle_label(release: BundleRelease) -> str:
    """Name what a release is of, for people: they know a course by its code, not by its UUID. Needs its course."""
    chapter = release.chapter
    if chapter is None:
        return f"{release.bundle_type}/{release.scope_id}"
    return f"{release.bundle_type} {chapter.course.course_code}/{chapter.chapter_code}"


def label(release: BundleRelease) -> str:
    return f"{bundle_label(release)} {release.version}"


def labels(releases: Iterable[BundleRelease]) -> str:
    return ", ".join(label(release) for release in releases)


# --- What a service refused -------------------------------------------------------------------------------------


def refusal_text(error: ApiError) -> str:
    reasons = [f"{detail['field']}: {detail['message']}" for detail in error.details]
    return " ".join(reasons) or error.message or error.code.message


def add_refusal(form: forms.BaseForm, error: ApiError) -> None:
    """Show what a service refused at the fields that it is about, and else above the form."""
    known = [detail for detail in error.details if detail["field"] in form.fields]
    for detail in known:
        form.add_error(detail["field"], detail["message"])
    if not known:
        form.add_error(None, refusal_text(error))


def reporting_refusals(view: AdminView) -> AdminView:
    """Show what a service refused as a message, on the page where it was asked for."""

    @wraps(view)
    def reporting(self: "admin.ModelAdmin[Any]", request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(self, request, *args, **kwargs)
        except ApiError as error:
            self.message_user(request, refusal_text(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    return reporting


# --- Forms and pages --------------------------------------------------------------------------------------------


class PercentField(forms.DecimalField):
    """A share of the devices: percent for people, basis points for the code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": 100, "decimal_places": 2, **kwargs})

    def prepare_value(self, value: Any) -> Any:
        return f"{value / 100:g}" if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return None if cleaned is None else round(cleaned * 100)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(Decimal(initial) / 100 if isinstance(initial, int) else initial, data)


class ObjectActionsMixin:
    """Offers actions of the list on an object's own page, as buttons."""

    def object_actions(self, obj: Any) -> Mapping[str, str]:
        """Return what can be done to this object: the action's name and its button's text."""
        raise NotImplementedError

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Model | None = None, **kwargs: Any
    ) -> HttpResponse:
        assert isinstance(self, admin.ModelAdmin)
        permitted = self.get_actions(request)
        offered = self.object_actions(obj) if obj else {}
        context["object_actions"] = {name: text for name, text in offered.items() if name in permitted}
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[misc]
        return response

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Like Django's, which answers 500 to an id that is none."""
        assert isinstance(self, admin.ModelAdmin)
        if not all(map(canonical_uuid, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            self.message_user(request, "What was chosen is not in this list. Nothing was done.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        response: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)  # type: ignore[misc]
        return response
