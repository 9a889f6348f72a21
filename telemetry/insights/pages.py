"""The pages of the insights into a course. All begin with `find`: it decides who sees them."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.models import User
from accounts.people import may_see_people
from config import limits
from config.admin_pages import admin_url
from config.errors import ApiError
from config.pseudonyms import pseudonym
from config.terminal import printable
from telemetry.insights import access, charts, courses, learners
from telemetry.insights.access import SeenCourse
from telemetry.insights.counting import how_counted
from telemetry.insights.courses import ChapterReached
from telemetry.insights.learners import Group, Milestone, Order
from telemetry.models import AnalyticsEvent, CourseInsights, LearnerStanding

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

_TEMPLATES: Final = "admin/telemetry/insights"
_RANGES: Final = (30, 90, 180)
"""Days that a page can show."""
_LEARNERS_PER_PAGE: Final = 50
_SHORT_PSEUDONYM: Final = 10
"""Letters of a pseudonym in lists: 50 bits, and enough to find it by."""

Admin = ModelAdmin[CourseInsights]
_P = ParamSpec("_P")
View = Callable[Concatenate[Admin, HttpRequest, SeenCourse, _P], HttpResponseBase]


def page_url(name: str, course_id: uuid.UUID, *args: Any, **query: Any) -> str:
    """Return the address of one of these pages, such as `change` (the course), `learners` or `export`."""
    return admin_url(CourseInsights, name, course_id, *args, **query)


def list_url(**query: Any) -> str:
    """Return the address of the list of courses."""
    return admin_url(CourseInsights, "changelist", **query)


def find(request: HttpRequest, course_id: uuid.UUID) -> SeenCourse:
    """Return the course that is asked for, if the person may see it.

    Raises:
        PermissionDenied: they may see no insights at all; whether there is such a course is not even looked for.
        Http404: there is none, or not for them.
    """
    assert isinstance(request.user, User)
    if not access.may_see_insights(request.user):
        raise PermissionDenied
    seen = access.find_course(request.user, course_id)
    if seen is None:
        raise Http404
    return seen


def page_urls(model_admin: Admin, downloads: "View[[]]") -> list[Any]:
    """Return the addresses of all pages of a course."""

    def at(address: str, view: "View[...]", name: str) -> Any:
        def shown(request: HttpRequest, course_id: uuid.UUID, **kwargs: Any) -> HttpResponseBase:
            return view(model_admin, request, find(request, course_id), **kwargs)

        return path(
            f"<uuid:course_id>/{address}",
            model_admin.admin_site.admin_view(shown),
            name=f"telemetry_courseinsights_{name}",
        )

    return [
        at("change/", show_course, "change"),
        at("learners/", show_learners, "learners"),
        at("learners/<int:key>/", show_learner, "learner"),
        at("learners/<int:key>/<str:day>/", show_day, "day"),
        at("export/", downloads, "export"),
    ]


def respond(
    model_admin: Admin, request: HttpRequest, seen: SeenCourse, template: str, *, tab: str, **context: Any
) -> TemplateResponse:
    """Show a page of a course under its tabs."""
    course = seen.course
    tabs = [
        ("course", _("How it goes"), page_url("change", course.pk)),
        ("learners", _("Learners"), page_url("learners", course.pk)),
    ]
    if seen.may_export:
        tabs.append(("export", _("Export"), page_url("export", course.pk)))
    shown = {
        **model_admin.admin_site.each_context(request),
        "title": f"{course.course_code} {course.title}",  # the page's heading, since there are no `opts`
        "course": course,
        "tabs": tabs,
        "tab": tab,
        "shows_people": seen.shows_people,
        "how_counted": how_counted(request.user),
        "stopped_after_days": limits.INSIGHTS_STOPPED_AFTER_DAYS,
        "active_days": limits.INSIGHTS_ACTIVE_DAYS,
        **context,
    }
    return TemplateResponse(request, f"{_TEMPLATES}/{template}.html", shown)


def refused(page: TemplateResponse, error: ApiError) -> TemplateResponse:
    """Make a page the answer to a request that there is no place for at the moment."""
    page.status_code = int(error.status or error.code.status)
    page["Retry-After"] = str(error.retry_after)
    return page


# --- A course -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """A number at the top of the page, and the list of the learners that it counts."""

    name: str
    number: int
    url: str


@dataclass(frozen=True, slots=True)
class ChapterRow:
    """A chapter in the page's table."""

    chapter: ChapterReached
    not_started: int
    median: str
    stopped_in_url: str
    stopped_after_url: str


def show_course(model_admin: Admin, request: HttpRequest, seen: SeenCourse) -> HttpResponseBase:
    """Show how the course is going. Six queries of its own, and one for the course itself."""
    course, days = seen.course, _range(request)
    standing = courses.get_standing(course=course)
    chapters = courses.list_chapters(course=course)
    shown = chapters[: limits.INSIGHTS_CHAPTERS_SHOWN]
    by_day, by_week = courses.read_activity(course=course, days=days)
    types = courses.read_event_types(course=course, days=by_day.days)
    learners_now = standing.learners if standing else 0
    return respond(
        model_admin,
        request,
        seen,
        "course",
        tab="course",
        standing=standing,
        is_stale=bool(standing and courses.is_stale(standing.counted_at)),
        figures=_figures(standing, course.pk) if standing else [],
        ranges=_ranges(days),
        chapters_left_out=len(chapters) - len(shown),
        rows=[_chapter_row(chapter, learners_now, course.pk) for chapter in shown],
        days_chart=charts.days_chart(by_day),
        weeks_chart=charts.weeks_chart(by_week),
        funnel_chart=charts.funnel_chart(shown, learners_now),
        stops_chart=charts.stops_chart(shown),
        types_chart=charts.types_chart(types, by_day),
    )


def _range(request: HttpRequest) -> int:
    asked = request.GET.get("days", "")
    return next((days for days in _RANGES if str(days) == asked), _RANGES[0])


def _ranges(chosen: int) -> list[tuple[int, bool]]:
    return [(days, days == chosen) for days in _RANGES]


def _figures(standing: Any, course_id: uuid.UUID) -> list[Figure]:
    figures: list[tuple[str, int, Group]] = [
        (_("Learners"), standing.learners, Group.ALL),
        (
            _("Active in the last %(days)s days") % {"days": limits.INSIGHTS_ACTIVE_DAYS},
            standing.active_learners,
            Group.ACTIVE,
        ),
        (_("Begun"), standing.begun, Group.BEGUN),
        (_("Finished"), standing.finished, Group.FINISHED),
        (_("Stopped"), standing.stopped, Group.STOPPED),
    ]
    return [Figure(name, number, page_url("learners", course_id, show=str(group))) for name, number, group in figures]


def _chapter_row(chapter: ChapterReached, learners_now: int, course_id: uuid.UUID) -> ChapterRow:
    def listed(group: Group) -> str:
        return page_url("learners", course_id, show=str(group), chapter=str(chapter.id))

    return ChapterRow(
        chapter=chapter,
        not_started=charts.not_started(chapter, learners_now),
        median=charts.duration_text(chapter.median_seconds),
        stopped_in_url=listed(Group.STOPPED_IN),
        stopped_after_url=listed(Group.STOPPED_AFTER),
    )


# --- Learners -----------------------------------------------------------------------------------------------------

GROUP_NAMES: Final[Mapping[Group, "StrOrPromise"]] = {
    Group.ALL: gettext_lazy("All"),
    Group.ACTIVE: gettext_lazy("Active lately"),
    Group.BEGUN: gettext_lazy("Begun"),
    Group.NOT_BEGUN: gettext_lazy("Not begun"),
    Group.FINISHED: gettext_lazy("Finished"),
    Group.STOPPED: gettext_lazy("Stopped"),
    Group.STOPPED_IN: gettext_lazy("Stopped in a chapter"),
    Group.STOPPED_AFTER: gettext_lazy("Stopped after a chapter"),
}
ORDER_NAMES: Final[Mapping[Order, "StrOrPromise"]] = {
    Order.LAST_ACTIVE: gettext_lazy("Last active first"),
    Order.LONGEST_AWAY: gettext_lazy("Longest away first"),
    Order.FURTHEST: gettext_lazy("Most chapters completed first"),
    Order.LEAST_FAR: gettext_lazy("Fewest chapters completed first"),
}


class LearnersForm(forms.Form):
    """Which learners are listed, and how."""

    show = forms.ChoiceField(
        label=gettext_lazy("Show"), choices=list(GROUP_NAMES.items()), required=False, widget=UnfoldAdminSelectWidget
    )
    chapter = forms.ChoiceField(
        label=gettext_lazy("Last chapter begun"), required=False, widget=UnfoldAdminSelectWidget
    )
    order = forms.ChoiceField(
        label=gettext_lazy("Order"), choices=list(ORDER_NAMES.items()), required=False, widget=UnfoldAdminSelectWidget
    )
    q = forms.CharField(max_length=254, required=False, widget=UnfoldAdminTextInputWidget)

    def __init__(self, data: Any, *, chapters: list[ChapterReached], shows_people: bool) -> None:
        super().__init__(data)
        choices = [("", _("Any")), *((str(chapter.id), chapter.name) for chapter in chapters)]
        self.fields["chapter"].choices = choices  # type: ignore[attr-defined]
        self.fields["q"].label = _("Email or pseudonym begins with") if shows_people else _("Pseudonym begins with")

    def chosen(self) -> dict[str, Any]:
        """Return what `learners.list_learners` is asked for. What an address says wrongly isn't asked for."""
        if not self.is_valid():
            self.data = {}  # nor shown as if it were
        fields = getattr(self, "cleaned_data", {})
        chapter = fields.get("chapter")
        return {
            "group": Group(fields.get("show") or Group.ALL),
            "chapter_id": uuid.UUID(chapter) if chapter else None,
            "order": Order(fields.get("order") or Order.LAST_ACTIVE),
            "text": fields.get("q", ""),
        }


@dataclass(frozen=True, slots=True)
class Name:
    """How a learner is called: by email, or by a pseudonym, of which lists show the beginning."""

    short: str
    full: str
    display_name: str
    pseudonym: str

    @classmethod
    def of(cls, learner: LearnerStanding, *, shows_people: bool) -> "Name":
        hidden = pseudonym(learner.user_id)
        if not shows_people:
            return cls(f"{hidden[:_SHORT_PSEUDONYM]}…", hidden, "", hidden)
        return cls(learner.user.email, learner.user.email, learner.user.display_name, hidden)


@dataclass(frozen=True, slots=True)
class LearnerRow:
    """A learner in the list."""

    name: Name
    url: str
    standing: LearnerStanding


def show_learners(model_admin: Admin, request: HttpRequest, seen: SeenCourse) -> HttpResponseBase:
    """List the learners of a course. Three queries of its own; one more to look for a pseudonym."""
    course = seen.course
    chapters = courses.list_chapters(course=course)
    form = LearnersForm(request.GET, chapters=chapters, shows_people=seen.shows_people)
    chosen = form.chosen()
    try:
        found = learners.list_learners(course=course, shows_people=seen.shows_people, chapters=len(chapters), **chosen)
    except ApiError as error:
        messages.error(request, _("Another search for a pseudonym is under way. Please try again in a moment."))
        return refused(respond(model_admin, request, seen, "learners", tab="learners", form=form, is_busy=True), error)
    page = model_admin.get_paginator(request, found, _LEARNERS_PER_PAGE).get_page(request.GET.get(PAGE_VAR, 1))
    asked = {name: value for name, value in form.cleaned_data.items() if value} if form.is_valid() else {}
    return respond(
        model_admin,
        request,
        seen,
        "learners",
        tab="learners",
        form=form,
        is_narrowed=bool(asked.keys() & {"chapter", "q"}) or asked.get("show", Group.ALL) != Group.ALL,
        is_short=0 < len(chosen["text"]) < limits.INSIGHTS_PSEUDONYM_MIN_LETTERS,
        pseudonym_letters=limits.INSIGHTS_PSEUDONYM_MIN_LETTERS,
        rows=[
            LearnerRow(
                Name.of(learner, shows_people=seen.shows_people),
                page_url("learner", course.pk, learner.pk),
                learner,
            )
            for learner in page
        ],
        chapters=len(chapters),
        page=page,
        page_range=page.paginator.get_elided_page_range(page.number),
        page_var=PAGE_VAR,
        query=f"{urlencode(asked)}&" if asked else "",
        counts_bound=limits.ADMIN_LIST_COUNTED_MAX_ROWS,
    )


# --- One learner --------------------------------------------------------------------------------------------------

MILESTONES: Final[Mapping[Milestone.Kind, "StrOrPromise"]] = {
    Milestone.Kind.JOINED: gettext_lazy("Joined the course"),
    Milestone.Kind.BEGUN: gettext_lazy("Began a chapter"),
    Milestone.Kind.COMPLETED: gettext_lazy("Completed a chapter"),
}


@dataclass(frozen=True, slots=True)
class MilestoneRow:
    text: "StrOrPromise"
    milestone: Milestone


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of a day; `payload` only for those who may see whose it is."""

    event: AnalyticsEvent
    event_type: str
    chapter: str
    payload: Any


def _find_learner(seen: SeenCourse, key: int) -> LearnerStanding:
    learner = learners.find_learner(course=seen.course, shows_people=seen.shows_people, key=key)
    if learner is None:
        raise Http404
    return learner


def _of_learner(request: HttpRequest, seen: SeenCourse, learner: LearnerStanding) -> dict[str, Any]:
    """Return what both pages of a learner show."""
    return {
        "learner": learner,
        "name": Name.of(learner, shows_people=seen.shows_people),
        "user_url": reverse("admin:accounts_user_change", args=[learner.user_id])
        if may_see_people(request.user)
        else "",
    }


def show_learner(model_admin: Admin, request: HttpRequest, seen: SeenCourse, key: int) -> HttpResponseBase:
    """Show a learner's way through the course. Four queries of its own."""
    learner = _find_learner(seen, key)
    chosen = _range(request)
    shown = courses.last_days(chosen)
    days = learners.list_days(learner=learner, first=shown[0])
    milestones = learners.list_milestones(learner=learner, joined_at=learner.joined_at)  # type: ignore[attr-defined]
    return respond(
        model_admin,
        request,
        seen,
        "learner",
        tab="learners",
        **_of_learner(request, seen, learner),
        chapters=len(courses.list_chapters(course=seen.course)),
        ranges=_ranges(chosen),
        chart=charts.learner_chart(shown, days),
        days=[(day, page_url("day", seen.course.pk, key, day.day.isoformat())) for day in days],
        milestones=[MilestoneRow(MILESTONES[milestone.kind], milestone) for milestone in milestones],
    )


def show_day(model_admin: Admin, request: HttpRequest, seen: SeenCourse, key: int, day: str) -> HttpResponseBase:
    """Show the events of a learner's day in this course, a page at a time. Three queries of its own."""
    learner = _find_learner(seen, key)
    shown_day, page = _day(day), _event_page(request)
    start = (page - 1) * limits.INSIGHTS_EVENTS_SHOWN
    try:
        events = learners.list_events(learner=learner, day=shown_day, start=start, with_payload=seen.shows_people)
    except learners.TooManyEventsError:
        events = None
    shown = (events or [])[: limits.INSIGHTS_EVENTS_SHOWN]
    has_more = len(events or []) > len(shown)
    chapters = {
        key: chapter.name
        for chapter in courses.list_chapters(course=seen.course)
        for key in (chapter.code, str(chapter.id))  # clients name it by either
    }
    return respond(
        model_admin,
        request,
        seen,
        "day",
        tab="learners",
        **_of_learner(request, seen, learner),
        day=shown_day,
        learner_url=page_url("learner", seen.course.pk, key),
        too_many=events is None,
        events=[_event_row(event, chapters, shows_payload=seen.shows_people) for event in shown],
        first_number=start + 1,
        last_number=start + len(shown),
        earlier_page=page - 1,
        later_page=page + 1 if has_more and page < limits.INSIGHTS_EVENT_PAGES_MAX else 0,
        left_out=has_more and page >= limits.INSIGHTS_EVENT_PAGES_MAX,
        page_var=PAGE_VAR,
    )


def _day(text: str) -> date:
    """Read a day as our own addresses write it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Http404 from None
    if day.isoformat() != text or day == date.max:
        raise Http404
    return day


def _event_page(request: HttpRequest) -> int:
    asked = request.GET.get(PAGE_VAR, "1")
    page = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 4 else 1
    return min(max(page, 1), limits.INSIGHTS_EVENT_PAGES_MAX)


def _event_row(event: AnalyticsEvent, chapters: Mapping[str, str], *, shows_payload: bool) -> EventRow:
    return EventRow(
        event=event,
        event_type=printable(event.event_type),
        chapter=chapters.get(event.chapter_id) or printable(event.chapter_id),
        payload=event.payload if shows_payload and event.payload else None,
    )
