"""Courses and enrolments in the admin."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, error_code

pytestmark = pytest.mark.django_db


def act(browser: Client, model: str, action: str, pk: object) -> str:
    url = reverse(f"admin:courses_{model}_changelist")
    form = {"action": action, "_selected_action": [str(pk)], "confirmed": "yes"}
    return browser.post(url, form, follow=True).content.decode()


def test_removed_and_let_in_again(admin_page: Client, learner: Actor, course: Course) -> None:
    enrollment = Enrollment.objects.get(user=learner.user)
    assert "Removed 1 of 1." in act(admin_page, "enrollment", "remove", enrollment.pk)
    assert error_code(learner.post("/v1/courses/join", {"course_code": "TST100"})) == "COURSE_ACCESS_DENIED"
    assert "Removed 0 of 1." in act(admin_page, "enrollment", "remove", enrollment.pk)
    assert "Let in 1 of 1." in act(admin_page, "enrollment", "restore", enrollment.pk)
    assert learner.get(f"/v1/courses/{course.pk}").status_code == 200
    assert LogEntry.objects.count() == 3


def test_an_invite_code_is_renewed(admin_page: Client, outsider: Actor, course: Course) -> None:
    old = course.invite_code
    page = act(admin_page, "course", "renew_invite_codes", course.pk)
    course.refresh_from_db()
    assert course.invite_code != old
    assert course.invite_code in page
    assert error_code(outsider.post("/v1/courses/join", {"invite_code": old})) == "COURSE_NOT_FOUND"
    assert outsider.post("/v1/courses/join", {"invite_code": course.invite_code}).status_code == 200


def test_an_enrollment_is_removed_but_not_deleted(admin_page: Client, learner: Actor) -> None:
    enrollment = Enrollment.objects.get(user=learner.user)
    url = reverse("admin:courses_enrollment_delete", args=[enrollment.pk])
    assert admin_page.post(url, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in admin_page.get(reverse("admin:courses_enrollment_changelist")).content.decode()


def test_a_learner_with_enrollments_can_be_deleted(admin_page: Client, learner: Actor) -> None:
    url = reverse("admin:accounts_user_delete", args=[learner.user.pk])
    assert admin_page.post(url, {"post": "yes"}).status_code == 302
    assert not Enrollment.objects.exists()
    assert error_code(learner.get("/v1/me")) == "INVALID_USER"


def test_a_course_that_somebody_joined_is_not_deleted(admin_page: Client, learner: Actor, course: Course) -> None:
    url = reverse("admin:courses_course_delete", args=[course.pk])
    assert admin_page.post(url, {"post": "yes"}).status_code == 403


def test_the_add_form_shows_no_invite_code_that_would_not_be_the_one(admin_page: Client) -> None:
    page = admin_page.get(reverse("admin:courses_course_add")).content.decode()
    assert "invite_code" not in page


def course_form(**changes: str) -> dict[str, str]:
    return {
        "course_code": "NEW200",
        "title": "New",
        "progression": "open",
        "is_active": "on",
        "chapters-TOTAL_FORMS": "1",
        "chapters-INITIAL_FORMS": "0",
        "chapters-0-order": "1",
        "chapters-0-chapter_code": "ch1",
        "chapters-0-title": "One",
        "chapters-0-is_active": "on",
        **changes,
    }


def test_a_course_is_made_with_a_chapter(admin_page: Client) -> None:
    response = admin_page.post(reverse("admin:courses_course_add"), course_form())
    assert response.status_code == 302, response.content.decode()
    made = Course.objects.get(course_code="NEW200")
    assert len(made.invite_code) == 8
    assert made.chapters.get().chapter_code == "ch1"


@pytest.mark.parametrize(
    "changes",
    [
        {"course_code": "tst100"},
        {"course_code": "has blank"},
        {"chapters-0-chapter_code": "a/b"},
        {"chapters-0-chapter_code": "0b0f4a0e-3f53-4b0c-9f0e-2f1c3a4b5c6d"},
    ],
)
def test_codes_are_checked(admin_page: Client, course: Course, changes: dict[str, str]) -> None:
    response = admin_page.post(reverse("admin:courses_course_add"), course_form(**changes))
    assert response.status_code == 200
    assert not Course.objects.filter(title="New").exists()
    assert not Chapter.objects.filter(title="One").exists()


@pytest.mark.parametrize("model", ["course", "enrollment"])
def test_pages_open_and_search(admin_page: Client, learner: Actor, course: Course, model: str) -> None:
    page = admin_page.get(reverse(f"admin:courses_{model}_changelist"), {"q": "TST100"})
    assert page.status_code == 200
    assert "TST100" in page.content.decode()
    target = course.pk if model == "course" else Enrollment.objects.get().pk
    assert admin_page.get(reverse(f"admin:courses_{model}_change", args=[target])).status_code == 200
