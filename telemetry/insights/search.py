"""Courses in the admin's search, for those who see nothing of a course but the insights.

Who may look at courses themselves finds them there, with the way to their insights.
"""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from config.errors import joined
from config.search import Hit, Hits, Person, Query, cut
from courses.models import Course
from courses.search import find_courses
from telemetry.insights import access
from telemetry.insights.pages import list_url, page_url


def search(*, person: Person, query: Query, limit: int) -> Iterator[Hits]:
    """Find the person's courses. One query."""
    if not access.may_see_insights(person) or access.sees_all_courses(person):
        return
    courses = access.limit_to_seen(person, find_courses(query))[: limit + 1]
    hits = [_hit(course) for course in courses]
    yield cut(_("Course insights"), "monitoring", hits, limit, list_url(q=query.text))


def _hit(course: Course) -> Hit:
    parts = [course.instructor, course.semester, "" if course.is_active else _("switched off")]
    return Hit(
        title=f"{course.course_code} {course.title}",
        detail=str(joined(filter(None, parts))),
        url=page_url("change", course.pk),
    )
