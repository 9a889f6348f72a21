"""What the pages of releases, tokens and events share."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from django_stubs_ext import StrOrPromise

from accounts.models import User
from config.errors import ApiError, ErrorCode, FieldError, joined
from courses.models import Course
from updates.models import FIXED_SCOPES, BundleRelease, BundleType
from updates.principals import Principal, person

AdminView = Callable[..., HttpResponse]

FIELD_LABELS: Final[Mapping[str, StrOrPromise]] = {
    "bundle_type": gettext_lazy("Kind of bundle"),
    "chapter": gettext_lazy("Chapter"),
    "scope_id": gettext_lazy("Scope"),
    "version": gettext_lazy("Version"),
    "manifest": gettext_lazy("Manifest"),
    "external_url": gettext_lazy("URL elsewhere"),
    "sha256": "SHA-256",
    "size_bytes": gettext_lazy("Size in bytes"),
    "rollout_basis_points": gettext_lazy("Rollout"),
    "rollout_percent": gettext_lazy("Rollout"),
    "is_mandatory": gettext_lazy("Mandatory"),
    "strict_versions": gettext_lazy("Strict"),
    "publish_at": gettext_lazy("Offered from"),
    "cohort_key": gettext_lazy("Cohort"),
    "state": gettext_lazy("State"),
    "required_experts": gettext_lazy("Required experts"),
    "min_desktop_version": gettext_lazy("Min desktop version"),
    "min_sidecar_version": gettext_lazy("Min sidecar version"),
    "published_at": gettext_lazy("Published at"),
    "first_published_at": gettext_lazy("First published at"),
    "withdrawn_at": gettext_lazy("Withdrawn at"),
    "verified_at": gettext_lazy("Stored file checked at"),
}
"""What people call the fields of a release, where the audit or a refusal names them."""


def acting(request: HttpRequest) -> Principal:
    assert isinstance(request.user, User)
    return person(request.user)


def percent(basis_points: int) -> str:
    return f"{basis_points / 100:g} %"


def minute(moment: datetime | None) -> str | None:
    """Show a time where there is little room; None shows as empty."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else None


def age(moment: datetime | None) -> str:
    """Show how long ago something was, with the exact time for who wants it; None shows as empty."""
    if moment is None:
        return ""
    if timezone.now() - moment < timedelta(minutes=1):
        words = _("just now")
    else:
        words = _("%(time)s ago") % {"time": timesince(moment, depth=1)}
    return format_html('<time datetime="{}" title="{} UTC">{}</time>', moment.isoformat(), minute(moment), words)


def scheduled_for(moment: datetime) -> str:
    """Say what a release is whose time is yet to come."""
    return pgettext("state of a release", "Scheduled for %(time)s UTC") % {"time": minute(moment)}


def state_of(release: BundleRelease) -> str:
    """Say what a release is, for people: nothing calls it published before its time has come."""
    if release.is_scheduled and release.publish_at:
        return scheduled_for(release.publish_at)
    return release.get_state_display()


def bundle_label(release: BundleRelease) -> str:
    """Name what a release is of, for people: they know a course by its code, not by its UUID. Needs its course."""
    chapter = release.chapter
    scope_id = f"{chapter.course.course_code}/{chapter.chapter_code}" if chapter else release.scope_id
    return scope_label(release.bundle_type, scope_id)


def scope_label(bundle_type: str, scope_id: str) -> str:
    """Name a scope; of a family that has one only, its name is enough. No family: that of an unreadable archive."""
    if not bundle_type:
        return _("Unreadable archive")
    family = str(dict(BundleType.choices).get(bundle_type, bundle_type))
    return family if bundle_type in FIXED_SCOPES else f"{family} {scope_id}"


_COURSE_ID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=/)")


class CourseCodes:
    """Puts the codes of courses, by which people know them, where texts have the UUIDs.

    One query; none if no text has one.
    """

    def __init__(self, *texts: str) -> None:
        ids = {found for text in texts for found in _COURSE_ID.findall(text)}
        rows = Course.objects.filter(pk__in=ids).values_list("pk", "course_code") if ids else []
        self._codes = {str(pk): code for pk, code in rows}

    def put_into(self, text: str) -> str:
        return _COURSE_ID.sub(lambda found: self._codes.get(found[0], found[0]), text)


def with_course_codes(text: str) -> str:
    return CourseCodes(text).put_into(text)


def label(release: BundleRelease) -> str:
    return f"{bundle_label(release)} {release.version}"


def labels(releases: Iterable[BundleRelease]) -> str:
    return listed(map(label, releases))


def listed(items: Iterable[StrOrPromise]) -> str:
    """Write items one after the other, with the punctuation of the reader's language."""
    return str(joined(items))


def labelled(name: StrOrPromise, text: StrOrPromise) -> str:
    """Write what is said of something after its name, with the punctuation of the reader's language."""
    return pgettext("a name and what is said of it", "%(name)s: %(text)s") % {"name": name, "text": text}


class Named:
    """An object under another name than its own text: pages name a course by its code, messages by its UUID."""

    def __init__(self, named: Any, name: str) -> None:
        self._named = named
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._named, attribute)

    def __str__(self) -> str:
        return self._name


# --- What a service refused -------------------------------------------------------------------------------------


def refusal_text(error: ApiError) -> str:
    """Say in the reader's language what a service refused, and of which fields or files."""
    return " ".join(fault_text(error, fault) for fault in error.details) or with_course_codes(str(error.sentence))


def fault_text(error: ApiError, fault: FieldError) -> str:
    """Say one fault, after the file of the archive or the label of the field that it is about."""
    name, message = fault["field"], with_course_codes(str(fault["message"]))
    if error.code is ErrorCode.BUNDLE_INVALID:
        return message if name == "archive" else labelled(name, message)
    return labelled(FIELD_LABELS.get(name, name), message)


def add_refusal(form: forms.BaseForm, error: ApiError) -> None:
    """Show what a service refused at the fields that it is about, and else above the form."""
    known = [detail for detail in error.details if detail["field"] in form.fields]
    for detail in known:
        form.add_error(detail["field"], with_course_codes(str(detail["message"])))
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

    dangerous_actions: ClassVar[Collection[str]] = ()
    """Those whose buttons warn by their colour."""
    primary_actions: ClassVar[Collection[str]] = ()
    """Those that somebody most likely came for, whose buttons stand out."""

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
        context |= {"dangerous_actions": self.dangerous_actions, "primary_actions": self.primary_actions}
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[misc]
        return response
