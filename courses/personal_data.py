"""What the courses hold of a person: places in courses, as a learner and as an instructor."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from config import limits, ratelimit
from config.personal_data import CountersHolding, Holding, MentionsHolding, Row, RowsHolding, Subject
from courses.models import Course, CourseInstructor, Enrollment

_UNTIL_ERASED = "Until the account is erased, or the course is deleted."
_OF_COURSE = {"course_id": "course_id", "course_code": "course__course_code", "course_title": "course__title"}


class Enrolments(RowsHolding):
    name = "enrolments"
    title = "Enrolments"
    tables = ("courses_enrollment",)
    purpose = "To know which courses the person may study."
    origin = "The person, when joining a course; staff who enrolled or removed them."
    recipients = "Staff of the operator; instructors of the course."
    kept_for = _UNTIL_ERASED
    is_portable = True
    columns = {**_OF_COURSE, "joined_at": "joined_at", "removed_at": "removed_at"}

    def rows(self, user_id: uuid.UUID) -> QuerySet[Enrollment]:
        return Enrollment.objects.filter(user_id=user_id).order_by("joined_at", "pk")


class InstructedCourses(RowsHolding):
    name = "instructed_courses"
    title = "Courses that the person instructs"
    tables = ("courses_courseinstructor",)
    purpose = "To show instructors how their courses are going."
    origin = "Staff who made the person an instructor."
    kept_for = _UNTIL_ERASED
    columns = {**_OF_COURSE, "may_see_emails": "may_see_emails"}

    def rows(self, user_id: uuid.UUID) -> QuerySet[CourseInstructor]:
        return CourseInstructor.objects.filter(user_id=user_id).order_by("pk")


class CourseTexts(MentionsHolding):
    name = "course_texts"
    title = "Texts of courses that have the person's email"
    tables = ("courses_course",)
    purpose = "To tell learners whom to ask."
    origin = "Staff who wrote them."
    recipients = "Learners of the course."
    kept_for = "As long as the course."
    model = Course
    fields = ("title", "instructor", "description")

    def show(self, row: Any, subject: Subject) -> Row:
        return {"course_id": row.pk, "course_code": row.course_code, "instructor": subject.hide_others(row.instructor)}


class JoinCounters(CountersHolding):
    name = "join_counters"
    title = "Counter of attempts to join a course"
    kept_for = f"{limits.JOIN_PER_USER[1]} seconds."

    def counters(self, subject: Subject) -> Sequence[tuple[str, str]]:
        if subject.user_id is None:
            return []
        keys = ratelimit.counter_keys("join-user", str(subject.user_id), limits.JOIN_PER_USER)
        return [("join-user", key) for key in keys]


def holdings() -> Sequence[Holding]:
    """What this room holds."""
    return [Enrolments(), InstructedCourses(), CourseTexts(), JoinCounters()]
