"""Who may see the insights into which courses, and whom of their learners by name.

Whoever has the permission to see insights sees the courses that they are bound to by `CourseInstructor`; who may
change courses sees all. To view courses is not enough: authors may, to choose one for what they upload. Somebody
else's course and one that doesn't exist are told apart by nothing: both are looked for by the same single query, and
both are not found.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.db.models import OuterRef, Q, QuerySet, Subquery

from accounts.models import User
from accounts.people import may_see_people
from config.search import Person
from courses.models import Course, CourseInstructor

VIEW: Final = "telemetry.view_courseinsights"
EXPORT: Final = "telemetry.export_courseinsights"

_Course = TypeVar("_Course", bound=Course)


@dataclass(frozen=True, slots=True)
class SeenCourse:
    """A course whose insights somebody may see."""

    course: Course
    shows_people: bool
    """Learners by email and name, and what they sent; otherwise by their pseudonym."""
    may_export: bool


def may_see_insights(person: Person) -> bool:
    """Say whether this person may see insights into courses at all; into which is another question."""
    return person.has_perm(VIEW)


def sees_all_courses(person: Person) -> bool:
    return may_see_insights(person) and person.has_perm("courses.change_course")


def limit_to_seen(person: Person, courses: QuerySet[_Course]) -> QuerySet[_Course]:
    """Return those of these courses whose insights the person may see."""
    return courses.filter(courses_seen_by(person))


def courses_seen_by(person: Person) -> Q:
    """Return the condition for the courses whose insights the person may see."""
    if not may_see_insights(person):
        return Q(pk__in=[])
    if sees_all_courses(person):
        return Q()
    assert isinstance(person, User)
    return Q(pk__in=CourseInstructor.objects.filter(user=person).values("course"))


def find_course(person: User, course_id: uuid.UUID) -> SeenCourse | None:
    """Return a course that the person may see; None alike for somebody else's and for one that is none. One query."""
    bindings = CourseInstructor.objects.filter(course=OuterRef("pk"), user=person)
    courses = Course.objects.annotate(may_see_emails=Subquery(bindings.values("may_see_emails")[:1]))
    course: Any = limit_to_seen(person, courses).filter(pk=course_id).first()
    if course is None:
        return None
    return SeenCourse(
        course=course,
        shows_people=bool(course.may_see_emails) or may_see_people(person),
        may_export=person.has_perm(EXPORT),
    )
