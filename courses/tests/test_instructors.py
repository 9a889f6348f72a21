"""The instructors on the page of a course: who can be one, who may say so, and what the history tells."""

import html
import re
from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.people import neutral_name
from courses.models import Course, CourseInstructor
from tests.cast import make_actor

pytestmark = pytest.mark.django_db


def page_of(course: Course) -> str:
    return reverse("admin:courses_course_change", args=[course.pk])


def instructor(name: str = "teacher") -> User:
    user = make_actor(name, is_staff=True).user
    user.groups.add(Group.objects.get(name="Instructors"))
    return user


def form_of(course: Course, changes: dict[str, str] | None = None, *, extra: Sequence[User] = ()) -> dict[str, str]:
    """What the page sends: the instructors that are there, and further ones."""
    bound = list(course.instructors.order_by("user__email"))
    form = {
        "course_code": course.course_code,
        "title": course.title,
        "instructor": course.instructor,
        "semester": course.semester,
        "progression": course.progression,
        "is_active": "on",
        "joinable_by_code": "on",
        "chapters-TOTAL_FORMS": "0",
        "chapters-INITIAL_FORMS": "0",
        "instructors-TOTAL_FORMS": str(len(bound) + len(extra)),
        "instructors-INITIAL_FORMS": str(len(bound)),
    }
    for number, binding in enumerate(bound):
        form |= {f"instructors-{number}-id": str(binding.pk), f"instructors-{number}-course": str(course.pk)}
        if binding.may_see_emails:
            form[f"instructors-{number}-may_see_emails"] = "on"
    for number, user in enumerate(extra, len(bound)):
        form |= {f"instructors-{number}-course": str(course.pk), f"instructors-{number}-user": str(user.pk)}
    return {**form, **(changes or {})}


def text_of(page: str) -> str:
    """The page as it is read, without links."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


def staff_with(*codenames: str) -> Client:
    actor = make_actor("manager", is_staff=True)
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(actor.user)
    return browser


def test_an_instructor_is_added_and_the_history_says_so(admin_page: Client, course: Course) -> None:
    teacher = instructor()
    form = form_of(course, {"instructors-0-may_see_emails": "on"}, extra=[teacher])
    assert admin_page.post(page_of(course), form).status_code == 302
    binding = course.instructors.get()
    assert (binding.user, binding.may_see_emails) == (teacher, True)
    assert LogEntry.objects.latest("pk").get_change_message() == "Added instructor “teacher@example.com: TST100”."

    form = form_of(course)
    del form["instructors-0-may_see_emails"]
    assert admin_page.post(page_of(course), form).status_code == 302
    binding.refresh_from_db()
    assert not binding.may_see_emails
    assert LogEntry.objects.latest("pk").get_change_message() == (
        "Changed Sees email addresses for instructor “teacher@example.com: TST100”."
    )

    assert admin_page.post(page_of(course), form_of(course, {"instructors-0-DELETE": "on"})).status_code == 302
    assert not course.instructors.exists()
    assert LogEntry.objects.latest("pk").get_change_message().startswith("Deleted instructor")


HINDERED = [
    ({"is_active": False}, [], "teacher@example.com is inactive, and can't log in."),
    ({"password": "!"}, [], "teacher@example.com has no password, and can't log in."),
    ({"is_staff": False}, [], "teacher@example.com isn't staff. Make them staff and add them"),
    ({}, ["out"], "teacher@example.com isn't in the group “Instructors”. Add them"),
    ({}, ["no right"], "teacher@example.com may not view insights: the group “Instructors” lacks the permission."),
    ({"is_staff": False}, ["superuser"], "teacher@example.com isn't staff."),
]


def hindered(fields: dict[str, Any], changes: list[str]) -> User:
    """An instructor whom this keeps from seeing anything."""
    teacher = instructor()
    User.objects.filter(pk=teacher.pk).update(**fields, is_superuser="superuser" in changes)
    if "out" in changes:
        teacher.groups.clear()
    if "no right" in changes:
        Group.objects.get(name="Instructors").permissions.clear()
    return teacher


@pytest.mark.parametrize(("fields", "changes", "reason"), HINDERED)
def test_who_would_see_nothing_is_refused_with_the_reason(
    admin_page: Client, course: Course, fields: dict[str, Any], changes: list[str], reason: str
) -> None:
    teacher = hindered(fields, changes)
    page = admin_page.post(page_of(course), form_of(course, extra=[teacher])).content.decode()
    assert reason in text_of(page)
    assert f'href="/admin/accounts/user/{teacher.pk}/change/">teacher@example.com</a>' in page
    assert ('href="/admin/auth/group/?q=Instructors">Instructors</a>' in page) == ("no right" in changes)
    assert not CourseInstructor.objects.exists()


@pytest.mark.parametrize(("fields", "changes", "reason"), HINDERED)
def test_an_instructor_who_sees_nothing_any_more_is_told_of(
    admin_page: Client, course: Course, fields: dict[str, Any], changes: list[str], reason: str
) -> None:
    teacher = hindered(fields, changes)
    CourseInstructor.objects.create(course=course, user=teacher)
    assert reason in text_of(admin_page.get(page_of(course)).content.decode())
    browser = staff_with("view_course", "change_course")
    page = browser.get(page_of(course)).content.decode()
    assert reason.replace(teacher.email, neutral_name(teacher.pk)) in text_of(page)
    assert "/admin/accounts/user/" not in page, "for whom they may not look at"
    assert "/admin/auth/group/" not in page


@pytest.mark.parametrize("way", ["superuser", "own permission", "another group"])
def test_who_sees_insights_by_other_ways_is_an_instructor_too(admin_page: Client, course: Course, way: str) -> None:
    teacher = instructor()
    teacher.groups.clear()
    if way == "superuser":
        User.objects.filter(pk=teacher.pk).update(is_superuser=True)
    sight = Permission.objects.get(codename="view_courseinsights")
    if way == "own permission":
        teacher.user_permissions.add(sight)
    if way == "another group":
        group = Group.objects.create(name="Teachers")
        group.permissions.add(sight)
        teacher.groups.add(group)
    assert admin_page.post(page_of(course), form_of(course, extra=[teacher])).status_code == 302
    assert "obstacle" not in admin_page.get(page_of(course)).content.decode()
    browser = Client()
    browser.force_login(teacher)
    assert "TST100" in browser.get("/admin/telemetry/courseinsights/").content.decode()


def test_nobody_is_added_twice(admin_page: Client, course: Course) -> None:
    teacher = instructor()
    for extra in ([teacher], [teacher]):
        page = admin_page.post(page_of(course), form_of(course, extra=extra))
    assert page.status_code == 200
    assert CourseInstructor.objects.count() == 1


def test_an_instructor_who_left_the_staff_hinders_no_change_of_the_course(admin_page: Client, course: Course) -> None:
    CourseInstructor.objects.create(course=course, user=make_actor("former").user)
    assert admin_page.post(page_of(course), form_of(course, {"title": "Other"})).status_code == 302
    assert course.instructors.count() == 1


def test_nobody_is_exchanged_for_another(admin_page: Client, course: Course) -> None:
    CourseInstructor.objects.create(course=course, user=instructor(), may_see_emails=True)
    other = instructor("other")
    admin_page.post(page_of(course), form_of(course, {"instructors-0-user": str(other.pk)}))
    assert course.instructors.get().user.email == "teacher@example.com"


def test_who_may_not_change_courses_sees_and_changes_no_instructors(course: Course) -> None:
    CourseInstructor.objects.create(course=course, user=instructor())
    browser = staff_with("view_course", "view_user", "add_courseinstructor", "delete_courseinstructor")
    assert "teacher@example.com" not in browser.get(page_of(course)).content.decode()
    form = form_of(course, {"instructors-0-DELETE": "on"}, extra=[instructor("other")])
    assert browser.post(page_of(course), form).status_code == 403
    assert course.instructors.get().user.email == "teacher@example.com"


def test_emails_are_granted_by_those_only_who_see_them(course: Course) -> None:
    CourseInstructor.objects.create(course=course, user=instructor())
    browser = staff_with("view_course", "change_course")
    page = browser.get(page_of(course)).content.decode()
    assert "instructors-0-may_see_emails" in page
    assert "Add an instructor" not in page, "they may not look for anybody"
    refused = browser.post(page_of(course), form_of(course, {"instructors-0-may_see_emails": "on"}))
    assert refused.status_code == 200
    assert "you can&#x27;t let others see emails" in refused.content.decode()
    assert not course.instructors.get().may_see_emails

    course.instructors.update(may_see_emails=True)
    assert browser.post(page_of(course), form_of(course, {"title": "Other"})).status_code == 302
    assert course.instructors.get().may_see_emails, "what others granted stays"
    form = form_of(course)
    del form["instructors-0-may_see_emails"]
    assert browser.post(page_of(course), form).status_code == 302
    assert not course.instructors.get().may_see_emails, "and may be taken away"
    assert browser.post(page_of(course), form_of(course, extra=[instructor("other")])).status_code == 302
    assert course.instructors.count() == 1, "who may not look at users adds none"


def test_more_instructors_cost_no_more_queries(
    admin_page: Client, course: Course, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    counts: list[Any] = []
    for number in range(8):
        CourseInstructor.objects.create(course=course, user=instructor(f"teacher{number}"))
    admin_page.get(page_of(course))
    with django_assert_num_queries(9):
        counts.append(admin_page.get(page_of(course)).content.decode().count("teacher"))
    assert counts[0] >= 8


def test_a_persons_page_shows_whose_instructor_they_are(admin_page: Client, course: Course) -> None:
    teacher = instructor()
    CourseInstructor.objects.create(course=course, user=teacher, may_see_emails=True)
    page = admin_page.get(reverse("admin:accounts_user_change", args=[teacher.pk]))
    [panel] = [panel for panel in page.context["panels"] if panel.title == "Instructor of"]
    assert [[cell.text for cell in row] for row in panel.rows] == [["TST100", "2026 Fall", "Yes"]]
