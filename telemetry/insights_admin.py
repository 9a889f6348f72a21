"""The insights into courses in the admin: their list, and the pages of `telemetry.insights` behind it."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from accounts.models import User
from config.admin import ModelAdmin
from config.admin_pages import Panel, display, shown_on
from courses.models import Course
from telemetry.insights import access
from telemetry.insights.counting import how_counted
from telemetry.insights.courses import is_stale
from telemetry.insights.downloads import show_export
from telemetry.insights.pages import page_url, page_urls
from telemetry.models import CourseInsights, CourseStanding

_FIGURES = ("learners", "active_learners", "begun", "finished", "stopped", "counted_at")


def _figure(name: str, description: Any) -> Any:
    @admin.display(description=description, ordering=f"counted_{name}")
    def figure(model_admin: Any, course: CourseInsights) -> Any:
        number: int | None = getattr(course, f"counted_{name}")
        return None if number is None else f"{number:,}"

    figure.__name__ = name
    return figure


@admin.register(CourseInsights)
class CourseInsightsAdmin(ModelAdmin[CourseInsights]):
    """The courses that a person may see, with their figures. Nothing is changed here."""

    list_display = ("of_course", "learners", "active_learners", "begun", "finished", "stopped", "counted")
    list_display_links = ("of_course",)
    list_filter = ("is_active",)
    search_fields = ("course_code", "title")
    search_help_text = gettext_lazy("Part of the code or title.")
    ordering = ("course_code",)
    actions = None
    list_before_template = "admin/telemetry/insights/list_note.html"

    learners = _figure("learners", gettext_lazy("learners"))
    active_learners = _figure("active_learners", gettext_lazy("active in 7 days"))
    begun = _figure("begun", gettext_lazy("begun"))
    finished = _figure("finished", gettext_lazy("finished"))
    stopped = _figure("stopped", gettext_lazy("stopped"))

    @display(description=gettext_lazy("course"), header=True)
    def of_course(self, course: CourseInsights) -> list[str]:
        return [course.course_code, course.title]

    of_course.admin_order_field = "course_code"  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("counted at (UTC)"), ordering="counted_counted_at")
    def counted(self, course: CourseInsights) -> str | None:
        counted_at = getattr(course, "counted_counted_at", None)
        return f"{counted_at:%Y-%m-%d %H:%M}" if counted_at else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[CourseInsights]:
        assert isinstance(request.user, User)
        standing = CourseStanding.objects.filter(course=OuterRef("pk"))
        figures = {f"counted_{name}": Subquery(standing.values(name)) for name in _FIGURES}
        rows: QuerySet[CourseInsights] = super().get_queryset(request).annotate(**figures)
        return access.limit_to_seen(request.user, rows)

    def get_urls(self) -> list[Any]:
        """Only these: nothing is added or deleted, and a course's history is on its own page."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        shown = self.admin_site.admin_view(self.changelist_view)
        return [path("", shown, name=name), *page_urls(self, show_export)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        changelist = getattr(response, "context_data", {}).get("cl")
        if changelist is not None:
            changelist.note = self._note(request, list(changelist.result_list))
        return response

    def _note(self, request: HttpRequest, rows: list[CourseInsights]) -> str:
        """Say what the list lacks, and what to do."""
        counted = [moment for row in rows if (moment := getattr(row, "counted_counted_at", None))]
        if not rows:
            if request.GET:
                return ""
            if access.sees_all_courses(request.user):
                return _("There is no course yet.")
            return _("You are bound to no course yet. Ask whoever gave you this account to bind you to yours.")
        if not counted:
            text = _("Nothing was counted yet.")
        elif is_stale(min(counted)):
            text = _("Some of these figures are older than a day.")
        else:
            return ""
        return pgettext("two sentences", "%(first)s %(second)s") % {
            "first": text,
            "second": how_counted(request.user),
        }

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Nobody finds out other fields of a course, such as its invite code, by filters typed into the address."""
        return lookup == "is_active__exact"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return access.may_see_insights(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@shown_on(Course)
def insights_of_course(request: HttpRequest, course: Course) -> Panel | None:
    """The way to the insights. No query: who may open the course's page sees those of all courses, or of none."""
    if not access.sees_all_courses(request.user):
        return None
    return Panel(
        title=_("Insights"),
        sentences=[_("How many learners are active, how far they got, and where they stop.")],
        links=[(_("Insights into this course"), page_url("change", course.pk))],
    )
