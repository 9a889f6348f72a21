"""How courses are going, on the admin's first page: the liveliest ones that the person may see."""

from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from config import limits
from config.overview import Attention, Card, Report
from config.search import Person
from courses.models import Course
from telemetry.insights import access
from telemetry.insights.counting import how_counted
from telemetry.insights.courses import is_stale
from telemetry.insights.pages import list_url, page_url
from telemetry.models import CourseStanding

_TEMPLATE: Final = "admin/telemetry/insights/overview.html"


@dataclass(frozen=True, slots=True)
class CourseRow:
    """A course, and its figures when it was counted."""

    course: Course
    url: str
    standing: CourseStanding | None


def overview(*, person: Person) -> Report:
    """Tell how the person's courses are going. Two queries."""
    if not access.may_see_insights(person):
        return Report()
    seen = access.limit_to_seen(person, Course.objects.filter(is_active=True))
    standings = (
        CourseStanding.objects.filter(course__in=seen)
        .select_related("course")
        .order_by("-active_learners", "-learners", "course__course_code")
    )
    counted = list(standings[: limits.OVERVIEW_ROWS + 1])
    rows = [CourseRow(standing.course, page_url("change", standing.course_id), standing) for standing in counted]
    if len(rows) <= limits.OVERVIEW_ROWS:
        uncounted = seen.exclude(pk__in=[row.course.pk for row in rows]).order_by("course_code")
        rows += [
            CourseRow(course, page_url("change", course.pk), None)
            for course in uncounted[: limits.OVERVIEW_ROWS + 1 - len(rows)]
        ]
    context = {
        "rows": rows[: limits.OVERVIEW_ROWS],
        "is_more": len(rows) > limits.OVERVIEW_ROWS,
        "sees_all": access.sees_all_courses(person),
        "how_counted": how_counted(person),
        "active_days": limits.INSIGHTS_ACTIVE_DAYS,
        "list_url": list_url(),
    }
    return Report(attention=_attention(counted), cards=[Card(_TEMPLATE, context, wide=True)])


def _attention(counted: list[CourseStanding]) -> list[Attention]:
    """Whoever counts, counts all courses: one that is old tells of all."""
    if not any(is_stale(standing.counted_at) for standing in counted):
        return []
    return [Attention(_("The figures of courses are older than a day: nobody counts them any more."), "#insights")]
