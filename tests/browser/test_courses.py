"""Courses, learners and devices in a browser."""

import pytest
from playwright.sync_api import Page, expect

from accounts.models import DeviceSession
from courses.models import Chapter, Course, Enrollment
from tests.browser.pages import assert_good_in_every_look, login
from tests.cast import make_actor
from updates.tests.shelf import chapter_scope, published

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def boss(page: Page) -> None:
    login(page, make_actor("boss", is_staff=True, is_superuser=True).user)


def make_course() -> Course:
    course = Course.objects.create(course_code="SOC101", title="Data Science", semester="2026 Fall")
    for number in (1, 2, 3):
        Chapter.objects.create(course=course, chapter_code=f"ch{number}", title=f"Chapter {number}", order=number)
    return course


def test_a_course_is_copied_and_its_learners_get_content(page: Page, boss: None) -> None:
    course = make_course()
    release = published(chapter_scope(course.chapters.get(chapter_code="ch1")), "1.2.0")

    page.goto(f"/admin/courses/course/{course.pk}/change/")
    page.get_by_role("link", name="Copy to a new semester").click()
    expect(page.get_by_text("1 release is published in it at once, for every device")).to_be_visible()
    expect(page.get_by_role("link", name="1.2.0")).to_be_visible()
    page.get_by_label("Course code").fill("soc101")
    page.get_by_role("button", name="Copy the course").click()
    expect(page.get_by_text("There is a course with this code already.")).to_be_visible()
    page.get_by_label("Course code").fill("SOC201")
    page.get_by_label("Semester").fill("2027 Spring")
    page.get_by_role("button", name="Copy the course").click()

    expect(page.get_by_text("SOC101 was copied.")).to_be_visible()
    made = Course.objects.get(course_code="SOC201")
    learner = make_actor("learner")
    assert learner.post("/v1/courses/join", {"invite_code": made.invite_code}).status_code == 200
    body = {"course_id": str(made.pk), "chapter_id": "ch1", "installed": {}}
    [bundle] = learner.post("/v1/updates/check-chapter", body).json()["required"]
    assert (bundle["version"], bundle["sha256"]) == ("1.2.0", release.sha256)


def test_the_order_of_chapters_is_changed_by_the_keyboard(page: Page, boss: None) -> None:
    course = make_course()
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    page.locator("#id_chapters-0-order").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert list(course.chapters.values_list("chapter_code", flat=True)) == ["ch2", "ch3", "ch1"]


def test_a_learner_is_removed_and_let_in_again(page: Page, boss: None) -> None:
    course, learner = make_course(), make_actor("learner")
    Enrollment.objects.create(user=learner.user, course=course)
    page.goto("/admin/courses/enrollment/")
    page.get_by_role("link", name="Remove learner@example.com").click()
    expect(page.get_by_text("can't join again by any code")).to_be_visible()
    page.get_by_role("button", name="Remove from the course").click()
    assert learner.get(f"/v1/courses/{course.pk}").status_code == 403
    page.get_by_role("link", name="Let in again").click()
    page.get_by_role("button", name="Let in again").click()
    expect(page.get_by_text("Let in 1 of 1.")).to_be_visible()
    assert learner.get(f"/v1/courses/{course.pk}").status_code == 200


def test_a_device_is_logged_out(page: Page, boss: None) -> None:
    learner = make_actor("learner")
    page.goto(f"/admin/accounts/user/{learner.user.pk}/change/")
    page.get_by_role("link", name="Log out learner-device").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("The device is logged out.")).to_be_visible()
    assert learner.get("/v1/me").status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "accounts/user/",
        "accounts/user/{user}/change/",
        "accounts/user/{user}/password/",
        "accounts/user/{user}/delete/",
        "accounts/devicesession/",
        "accounts/devicesession/{session}/change/",
        "courses/course/",
        "courses/course/add/",
        "courses/course/{course}/change/",
        "courses/course/{course}/copy/",
        "courses/enrollment/",
        "courses/enrollment/add/",
        "courses/enrollment/{enrollment}/change/",
        "courses/enrollment/{enrollment}/remove_one/",
        "telemetry/chapterprogress/",
        "telemetry/chapterprogress/set/",
    ],
)
def test_pages_are_good_in_every_look(page: Page, boss: None, path: str) -> None:
    course, learner = make_course(), make_actor("learner")
    enrollment = Enrollment.objects.create(user=learner.user, course=course)
    session = DeviceSession.objects.get(user=learner.user)
    page.goto(
        "/admin/" + path.format(user=learner.user.pk, session=session.pk, course=course.pk, enrollment=enrollment.pk)
    )
    assert_good_in_every_look(page)
