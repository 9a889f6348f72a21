"""The audit in the admin, to read only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter

from config.admin import ModelAdmin
from config.search import Query
from courses.models import Course
from updates.admin.common import (
    FIELD_LABELS,
    CourseCodes,
    Named,
    label,
    labelled,
    listed,
    minute,
    percent,
    scheduled_for,
    scope_label,
)
from updates.models import BundleRelease, ReleaseEvent

_REFUSAL_IN_LIST_CHARACTERS: Final = 100
_COURSES_MAX: Final = 20
"""So many courses whose code begins with a word are searched for."""
_UNTOLD: Final = frozenset({"cohort_key"})
"""What changes with every publication and means nothing to people."""
_TOLD_BY_SCHEDULE: Final = frozenset({"publish_at", "published_at", "first_published_at"})
"""What an entry of a scheduled release doesn't tell beside its state: the time, and that it counts as published."""

State = BundleRelease.State


@dataclass(frozen=True, slots=True)
class Change:
    """What an entry says of one field, in words. Without `before`: it had no value."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return labelled(self.name, f"{self.before} → {self.after or _('none')}" if self.before else self.after)


def describe_changes(event: ReleaseEvent) -> list[Change]:
    """Put an entry's changes into words; what had no value and has none says nothing."""
    time = _time_of_schedule(event)
    untold = _UNTOLD if time is None else _UNTOLD | _TOLD_BY_SCHEDULE
    changes = (
        Change(
            str(FIELD_LABELS.get(name, name.replace("_", " ").capitalize())),
            *(scheduled_for(time) if time and value == State.PUBLISHED else _words(name, value) for value in values),
        )
        for name, values in event.changes.items()
        if name not in untold
    )
    return [change for change in changes if change.before or change.after]


def what_was_done(event: ReleaseEvent) -> str:
    """Name the action of an entry: publishing for a time to come is scheduling, whatever the time is now."""
    if event.action == ReleaseEvent.Action.PUBLISHED and _time_of_schedule(event):
        return pgettext("what was done", "Scheduled")
    return event.get_action_display()


def _time_of_schedule(event: ReleaseEvent) -> datetime | None:
    """Return the time for which a release became scheduled by an act, or was until then; None: for none."""
    if "state" not in event.changes:
        return None
    stated = event.changes.get("publish_at", (None, None))[1]
    time = parse_datetime(stated) if stated else None
    return time if time and time > event.created_at else None


def _words(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return listed(map(str, value))
    if name == "rollout_basis_points":
        return percent(value)
    if name == "state":
        return str(dict(State.choices).get(value, value))
    moment = parse_datetime(value) if name.endswith("_at") else None
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else str(value)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit in words, for a history."""

    event: ReleaseEvent
    changes: Sequence[Change]
    refusal: str
    notices: Sequence[str]

    @property
    def who(self) -> str:
        return who(self.event)

    @property
    def what(self) -> str:
        return what_was_done(self.event)


def who(event: ReleaseEvent) -> str:
    """Name whoever acted; what isn't a person says what it is."""
    if event.actor_kind == ReleaseEvent.ActorKind.USER:
        return event.actor_name
    return _("%(name)s (%(kind)s)") % {"name": event.actor_name, "kind": event.get_actor_kind_display()}


def describe(events: Sequence[ReleaseEvent]) -> list[Entry]:
    """Put entries into words. One query; none if no text names a course by its UUID."""
    codes = _course_codes(events)
    return [
        Entry(
            event,
            describe_changes(event),
            codes.put_into(event.refusal),
            [codes.put_into(str(notice)) for notice in event.notices],
        )
        for event in events
    ]


def _course_codes(events: Sequence[ReleaseEvent], *others: str) -> CourseCodes:
    """Look up the courses that entries name in what was refused and told, and those in other texts."""
    return CourseCodes(*(text for event in events for text in (event.refusal, *map(str, event.notices))), *others)


class OutcomeFilter(DropdownFilter):
    title = gettext_lazy("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("done", _("Done")), ("refused", _("Refused"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReleaseEvent]) -> QuerySet[ReleaseEvent]:
        match self.value():
            case "done":
                return queryset.filter(refusal="")
            case "refused":
                return queryset.exclude(refusal="")
            case _:
                return queryset


@admin.register(ReleaseEvent)
class ReleaseEventAdmin(ModelAdmin[ReleaseEvent]):
    list_display = ("when", "what", "subject", "who", "outcome")
    list_display_links = ("when", "what")
    list_filter = (
        ("action", ChoicesDropdownFilter),
        OutcomeFilter,
        ("actor_kind", ChoicesDropdownFilter),
        ("bundle_type", ChoicesDropdownFilter),
    )
    list_filter_submit = True
    search_help_text = gettext_lazy("A scope, version, course code or name")
    search_fields = ("scope_id", "version", "actor_name")
    ordering = ("-pk",)
    sortable_by = ()
    fields = ("when", "who", "what", "subject_link", "outcome_in_full", "changed", "told", "act")

    class Media:
        css: ClassVar = {"all": ("updates/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReleaseEvent]:
        return super().get_queryset(request).select_related("release__chapter__course").defer("release__manifest")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ReleaseEvent], search_term: str
    ) -> tuple[QuerySet[ReleaseEvent], bool]:
        """Look in the entries alone: joined with releases and courses, a search of all took three times as long."""
        for word in Query.of(search_term).words:
            courses = Course.objects.filter(course_code__istartswith=word).values_list("pk", flat=True)
            scopes = [Q(scope_id__startswith=f"{course_id}/") for course_id in courses[:_COURSES_MAX]]
            fields = [Q(scope_id__icontains=word), Q(version__istartswith=word), Q(actor_name__icontains=word)]
            queryset = queryset.filter(reduce(or_, [*fields, *scopes]))
        return queryset, False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Look the courses up for the whole page."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        gone = (event.scope_id for event in changelist.result_list if event.release is None)
        codes = _course_codes(changelist.result_list, *gone)
        for event in changelist.result_list:
            vars(event)["course_codes"] = codes
        return changelist

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        event: ReleaseEvent = context["original"]
        name = labelled(self.subject(event), self.what(event))
        context |= {"title": name, "subtitle": None, "original": Named(event, name)}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=gettext_lazy("When (UTC)"), ordering="pk")
    def when(self, event: ReleaseEvent) -> str | None:
        return minute(event.created_at)

    @admin.display(description=gettext_lazy("Action"), ordering="action")
    def what(self, event: ReleaseEvent) -> str:
        if event.refusal:
            return _("%(action)s: refused") % {"action": what_was_done(event)}
        return what_was_done(event)

    @admin.display(description=gettext_lazy("Release"))
    def subject(self, event: ReleaseEvent) -> str:
        """Name what it was about, also when there is no such release any more."""
        return label(event.release) if event.release else _name(event, _codes_for(event))

    @admin.display(description=gettext_lazy("Who"), ordering="actor_name")
    def who(self, event: ReleaseEvent) -> str:
        return who(event)

    @admin.display(description=gettext_lazy("Outcome"))
    def outcome(self, event: ReleaseEvent) -> str:
        return _outcome(Truncator(_codes_for(event).put_into(event.refusal)).chars(_REFUSAL_IN_LIST_CHARACTERS))

    @admin.display(description=gettext_lazy("Outcome"))
    def outcome_in_full(self, event: ReleaseEvent) -> str:
        return _outcome(_codes_for(event).put_into(event.refusal))

    @admin.display(description=gettext_lazy("Release"))
    def subject_link(self, event: ReleaseEvent) -> str:
        if event.release is None:
            return self.subject(event)
        url = reverse("admin:updates_bundlerelease_change", args=[event.release.pk])
        return format_html('<a href="{}">{}</a>', url, self.subject(event))

    @admin.display(description=gettext_lazy("Changes"))
    def changed(self, event: ReleaseEvent) -> str:
        return _lines(map(str, describe_changes(event)))

    @admin.display(description=gettext_lazy("Notices"))
    def told(self, event: ReleaseEvent) -> str:
        return _lines(_codes_for(event).put_into(str(notice)) for notice in event.notices)

    @admin.display(description=gettext_lazy("Done together"))
    def act(self, event: ReleaseEvent) -> str:
        """Name the other entries of the act."""
        others = vars(event).get("together")
        if others is None:  # unfold asks for a field's value several times
            others = list(self.model.objects.filter(act_id=event.act_id).exclude(pk=event.pk).order_by("pk"))
            vars(event)["together"] = others
        codes = CourseCodes(*(other.scope_id for other in others))
        return _lines(_name(other, codes) for other in others)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _codes_for(event: ReleaseEvent) -> CourseCodes:
    """Return the courses that were looked up for its page, or those of this entry alone."""
    if "course_codes" not in vars(event):
        vars(event)["course_codes"] = _course_codes([event], *([] if event.release else [event.scope_id]))
    found: CourseCodes = vars(event)["course_codes"]
    return found


def _name(event: ReleaseEvent, codes: CourseCodes) -> str:
    return f"{codes.put_into(scope_label(event.bundle_type, event.scope_id))} {event.version}".strip()


def _outcome(refusal: str) -> str:
    return _("Refused: %(reason)s") % {"reason": refusal} if refusal else _("Done")


def _lines(texts: Iterator[str]) -> str:
    return format_html_join("", "<div>{}</div>", ((text,) for text in texts)) or _("none")
