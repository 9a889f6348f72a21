"""What courses and enrolments show on the pages of courses and users."""

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from accounts.people import conceal, may_see_people
from config import limits
from config.admin_pages import Cell, Panel, admin_url, shown_on
from courses.admin.common import STATE_LABELS
from courses.admin.enrollments import enrollment_button, enrollment_state
from courses.models import Course, Enrollment
from courses.selectors import count_learners

PANEL_ROWS = 10
"""Rows of what belongs to an object on its page; the lists have the rest."""


@shown_on(Course)
def learners_of_course(request: HttpRequest, course: Course) -> Panel | None:
    """How many learners a course has, and who joined last. Two queries."""
    if not request.user.has_perm("courses.view_enrollment"):
        return None
    count = count_learners(course=course, most=limits.ADMIN_RELATED_COUNTED_MAX_ROWS)
    if count > limits.ADMIN_RELATED_COUNTED_MAX_ROWS:
        told = _("More than %(count)s learners.") % {"count": f"{limits.ADMIN_RELATED_COUNTED_MAX_ROWS:,}"}
    else:
        told = ngettext("%(count)s learner.", "%(count)s learners.", count) % {"count": f"{count:,}"}
    newest = list(course.enrollments.select_related("user").order_by("-pk")[:PANEL_ROWS])
    for enrollment in newest:
        conceal(request.user, enrollment)
    links = [(_("All enrolments"), admin_url(Enrollment, "changelist", course__id__exact=course.pk))]
    if request.user.has_perm("courses.add_enrollment") and may_see_people(request.user):
        links.append((_("Add an enrolment"), admin_url(Enrollment, "add", course=course.pk)))
    return Panel(
        title=_("Learners"),
        sentences=[told],
        headings=[_("Joined last"), _("On (UTC)"), _("State")],
        rows=[
            [
                Cell(enrollment.user.email, href=admin_url(Enrollment, "change", enrollment.pk)),
                Cell(f"{enrollment.joined_at:%Y-%m-%d}"),
                _state_cell(enrollment),
            ]
            for enrollment in newest
        ],
        links=links,
    )


@shown_on(User)
def enrollments_of_user(request: HttpRequest, user: User) -> Panel | None:
    """The courses that the user joined, the newest first. One query."""
    if not request.user.has_perm("courses.view_enrollment"):
        return None
    may_change = request.user.has_perm("courses.change_enrollment")
    newest = user.enrollments.select_related("course").order_by("-pk")[:PANEL_ROWS]
    links = [(_("All enrolments"), admin_url(Enrollment, "changelist", user__id__exact=user.pk))]
    if request.user.has_perm("courses.add_enrollment"):
        links.append((_("Add an enrolment"), admin_url(Enrollment, "add", user=user.pk)))
    return Panel(
        title=_("Enrolments"),
        headings=[_("Course"), _("Joined (UTC)"), _("State"), *([""] if may_change else [])],
        rows=[_enrollment_row(enrollment, back=request.path if may_change else "") for enrollment in newest],
        empty=_("None."),
        links=links,
    )


def _enrollment_row(enrollment: Enrollment, *, back: str) -> list[Cell]:
    """Return the cells; with the button, which leads back, where there is a `back`."""
    row = [
        Cell(enrollment.course.course_code, href=admin_url(Enrollment, "change", enrollment.pk)),
        Cell(f"{enrollment.joined_at:%Y-%m-%d}"),
        _state_cell(enrollment),
    ]
    if back:
        text, page = enrollment_button(enrollment)
        href = admin_url(Enrollment, page, enrollment.pk, back=back)
        row.append(Cell(text, href=href, button_of=enrollment.course.course_code))
    return row


def _state_cell(enrollment: Enrollment) -> Cell:
    key, text = enrollment_state(enrollment)
    return Cell(text, label=STATE_LABELS[key])


@shown_on(User)
def courses_of_instructor(request: HttpRequest, user: User) -> Panel | None:
    """The courses that a member of staff is bound to. One query; none for learners, who have no such panel."""
    if not user.is_staff or not request.user.has_perm("courses.view_course"):
        return None
    bound = user.instructor_of.select_related("course").order_by("course__course_code")[:PANEL_ROWS]
    return Panel(
        title=_("Instructor of"),
        headings=[_("Course"), _("Semester"), _("Sees emails")],
        rows=[
            [
                Cell(binding.course.course_code, href=admin_url(Course, "change", binding.course_id)),
                Cell(binding.course.semester or None),
                Cell(_("Yes") if binding.may_see_emails else _("No")),
            ]
            for binding in bound
        ],
        empty=_("No course. Instructors are added on the page of a course."),
    )
