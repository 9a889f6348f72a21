"""The export of a course's events from its page: for those with the permission, a bounded number at once, audited."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import VERTICAL
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from accounts.models import User
from config import limits
from config.errors import ApiError
from config.places import GiveBack, Places
from config.search import may_view
from courses.admin.history import told_as
from telemetry.exports import Export, Format, Selection, stream
from telemetry.insights.access import SeenCourse
from telemetry.insights.pages import Admin, refused, respond

_places: Final = Places(max(1, settings.WEB_THREADS // 4))
"""An export holds its thread for as long as its reader takes."""

BY_PSEUDONYM: Final = gettext_noop("export of events by pseudonym")
BY_EMAIL: Final = gettext_noop("export of events with email addresses")
told_as(BY_PSEUDONYM, gettext_lazy("Exported events by pseudonym: %(object)s"))
told_as(BY_EMAIL, gettext_lazy("Exported events with email addresses: %(object)s"))


class DayInput(UnfoldAdminTextInputWidget):
    """The browser's own calendar, which speaks the person's language."""

    input_type = "date"


class ExportForm(forms.Form):
    """What is exported of a course. Who may not see its learners by name can't ask for what tells who they are."""

    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        choices=[
            (str(Format.CSV), gettext_lazy("CSV: for spreadsheets")),
            (str(Format.NDJSON), gettext_lazy("NDJSON: a JSON object a line")),
            (str(Format.PARQUET), gettext_lazy("Parquet: for data analysis")),
            (
                str(Format.XAPI),
                gettext_lazy("xAPI statements: for a learning record store; without events that xAPI has no verb for"),
            ),
        ],
        initial=str(Format.CSV),
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
    )
    first = forms.DateField(
        label=gettext_lazy("From day (UTC)"),
        required=False,
        help_text=gettext_lazy("Empty: from the first event on."),
        widget=DayInput,
    )
    last = forms.DateField(
        label=gettext_lazy("To day (UTC)"),
        required=False,
        help_text=gettext_lazy("This day is included. Empty: to the last event."),
        widget=DayInput,
    )
    identify = forms.BooleanField(
        label=gettext_lazy("With email addresses"),
        required=False,
        help_text=gettext_lazy("When off, learners are pseudonyms, and IDs of events and sessions are hashed."),
        widget=UnfoldBooleanSwitchWidget,
    )
    with_payload = forms.BooleanField(
        label=gettext_lazy("With payload"),
        required=False,
        help_text=gettext_lazy("What the desktop app reported freely, in which learners may name themselves."),
        widget=UnfoldBooleanSwitchWidget,
    )
    compressed = forms.BooleanField(
        label=gettext_lazy("Compressed (gzip)"),
        required=False,
        help_text=gettext_lazy("For large exports. Parquet is compressed by itself."),
        widget=UnfoldBooleanSwitchWidget,
    )

    def __init__(self, data: Any = None, *, shows_people: bool) -> None:
        super().__init__(data)
        if not shows_people:
            del self.fields["identify"], self.fields["with_payload"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and first > last:
            self.add_error("last", _("The last day is before the first one."))
        return cleaned


class DownloadTookTooLongError(Exception):
    """An export was not through in `limits.EXPORT_DOWNLOAD_MAX_SECONDS`: what was sent is not the whole."""


class Download:
    """The bytes of an export, which gives its place back when it ends, whoever ends it.

    It breaks off when it takes too long. The server then closes the connection without the end that HTTP/1.1 demands,
    so that nobody takes the part for the whole.
    """

    def __init__(self, export: Export, give_back: GiveBack) -> None:
        self._export = export
        self._give_back = give_back

    def __iter__(self) -> Iterator[bytes]:
        began = monotonic()
        for part in self._export:
            if monotonic() - began > limits.EXPORT_DOWNLOAD_MAX_SECONDS:
                raise DownloadTookTooLongError
            yield part

    def close(self) -> None:
        try:
            self._export.close()
        finally:
            self._give_back()


def show_export(model_admin: Admin, request: HttpRequest, seen: SeenCourse) -> HttpResponseBase:
    """Ask what to export, and send it.

    Raises:
        PermissionDenied: the person may see this course, and not export it.
    """
    if not seen.may_export:
        raise PermissionDenied
    form = ExportForm(request.POST or None, shows_people=seen.shows_people)
    reads_history = may_view(request.user, "courses.course")
    page = partial(respond, model_admin, request, seen, "export", tab="export", form=form, reads_history=reads_history)
    if request.method == "POST" and form.is_valid():
        try:
            return _send(request, seen, form.cleaned_data)
        except ApiError as error:
            messages.error(request, _("Other exports are under way. Please try again in a moment."))
            return refused(page(), error)
    return page()


def _send(request: HttpRequest, seen: SeenCourse, fields: dict[str, Any]) -> StreamingHttpResponse:
    """Send the events, and note who got which of them.

    Raises:
        ApiError: SERVICE_UNAVAILABLE when all places are taken.
    """
    assert isinstance(request.user, User)
    chosen, first, last = Format(fields["format"]), fields["first"], fields["last"]
    identify, with_payload = fields.get("identify", False), fields.get("with_payload", False)
    compressed = fields["compressed"] and chosen.is_text
    selection = Selection(
        course_ids=frozenset({seen.course.pk}),
        since=_midnight(first) if first else None,
        until=_midnight(last + timedelta(days=1)) if last and last < date.max else None,
    )
    give_back = _places.take(request.user.pk)
    try:
        _note(request.user, seen, chosen, first, last, identify=identify, with_payload=with_payload)
        export = stream(
            chosen, selection, identify=identify, with_payload=with_payload, gzip=compressed, for_excel=True
        )
    except BaseException:
        give_back()
        raise
    days = "_".join(str(day) for day in (first, last) if day)
    name = "-".join(filter(None, [seen.course.course_code, "events", days]))
    return StreamingHttpResponse(
        Download(export, give_back),
        content_type="application/gzip" if compressed else chosen.content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}{chosen.suffix}{".gz" if compressed else ""}"',
            "Cache-Control": "no-store",
        },
    )


def _note(
    user: User,
    seen: SeenCourse,
    chosen: Format,
    first: date | None,
    last: date | None,
    *,
    identify: bool,
    with_payload: bool,
) -> None:
    """Write into the course's history what is exported: before it is sent, for nobody knows how much arrives."""
    details = [chosen.upper(), f"{first or '…'} / {last or '…'}", *(["payload"] if with_payload else [])]
    LogEntry.objects.log_actions(
        user_id=user.pk,
        queryset=[seen.course],
        action_flag=CHANGE,
        change_message=[{"added": {"name": BY_EMAIL if identify else BY_PSEUDONYM, "object": ", ".join(details)}}],
        single_object=True,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
