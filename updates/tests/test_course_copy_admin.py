"""The page on which a course is copied to a new semester."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from courses.models import Chapter, Course, CourseInstructor
from tests.cast import Actor, make_actor
from updates.models import BundleRelease
from updates.tests.shelf import chapter_scope, draft, published, withdraw

pytestmark = pytest.mark.django_db


def path_of(course: Course) -> str:
    return f"/admin/courses/course/{course.pk}/copy/"


def form_of(page: Any, **changes: str) -> dict[str, str]:
    """What the page sends, filled in."""
    filled = {
        "course_code": "TST200",
        "title": "Again",
        "semester": "2027 Spring",
        "instructor": "",
        "confirmed": "yes",
    }
    return {**filled, "plan": page.context["form"]["plan"].value(), **changes}


def test_the_page_shows_what_will_be_copied(admin_page: Client, course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    draft(chapter_scope(course.chapters.get(chapter_code="ch2_more")))
    Chapter.objects.filter(chapter_code="ch2_more").update(is_active=False)
    assert path_of(course) in admin_page.get(f"/admin/courses/course/{course.pk}/change/").content.decode()

    page = admin_page.get(path_of(course))

    assert page.context["consequences"] == [
        "A new active course is made with 2 chapters, and 1 release is published in it at once, for every device.",
        "Not copied: learners, the instructors' right to see how they fare, progress, drafts, scheduled releases, and "
        "rollouts that don't reach all devices yet.",
    ]
    [panel] = page.context["panels"]
    assert [[cell.text for cell in row] for row in panel.rows] == [
        ["ch1_intro", "Introduction", "Active", "1.0.0"],
        ["ch2_more", "More", "Inactive", "Nothing: no release is for all devices"],
    ]
    assert Course.objects.count() == 1


def test_a_course_without_releases_or_chapters(admin_page: Client, course: Course) -> None:
    told = admin_page.get(path_of(course)).context["consequences"][0]
    assert told == "A new active course is made with 2 chapters. No release is published in it."

    empty = Course.objects.create(course_code="EMPTY", title="Empty")
    told = admin_page.get(path_of(empty)).context["consequences"][0]
    assert told == "A new active course is made, without chapters: this course has none."


def test_instructors_are_not_copied_as_the_page_says(admin_page: Client, course: Course, staff: Actor) -> None:
    CourseInstructor.objects.create(course=course, user=staff.user)
    admin_page.post(path_of(course), form_of(admin_page.get(path_of(course))))

    assert not CourseInstructor.objects.filter(course__course_code="TST200").exists()


def test_the_course_is_copied(admin_page: Client, outsider: Actor, course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    done = admin_page.post(path_of(course), form_of(admin_page.get(path_of(course))), follow=True)

    made = Course.objects.get(course_code="TST200")
    assert done.redirect_chain[-1][0] == f"/admin/courses/course/{made.pk}/change/"
    assert made.invite_code in str(next(iter(done.context["messages"])))
    assert (made.title, made.semester) == ("Again", "2027 Spring")
    assert BundleRelease.objects.get(chapter__course=made).state == "published"
    assert outsider.post("/v1/courses/join", {"invite_code": made.invite_code}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"course_code": "tst100"}, "There is a course with this code already."),
        ({"course_code": "a b"}, "Use letters, digits"),
        ({"course_code": ""}, "This field is required."),
        ({"title": ""}, "This field is required."),
        ({"plan": "another"}, "The course changed since you looked at it."),
    ],
)
def test_what_is_wrong_is_told(admin_page: Client, course: Course, changes: dict[str, str], words: str) -> None:
    page = admin_page.post(path_of(course), form_of(admin_page.get(path_of(course)), **changes))
    assert page.status_code == 200
    assert words in page.content.decode()
    assert "Nothing was done." in page.content.decode()
    assert Course.objects.count() == 1


def test_a_course_that_changed_is_shown_anew(admin_page: Client, course: Course, chapter: Chapter) -> None:
    form = form_of(admin_page.get(path_of(course)))
    published(chapter_scope(chapter), "1.0.0")

    page = admin_page.post(path_of(course), form)

    assert Course.objects.count() == 1
    assert "1.0.0" in page.content.decode()
    assert admin_page.post(path_of(course), form_of(page)).status_code == 302, "it is as seen the second time"


def test_an_expert_that_is_gone_is_told_before_and_after(admin_page: Client, course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter), experts=("alpha",))
    withdraw(BundleRelease.objects.get(scope_id="alpha"))
    page = admin_page.get(path_of(course))
    assert "alpha" in page.context["consequences"][-1]
    refused = admin_page.post(path_of(course), form_of(page))
    assert "alpha" in refused.content.decode()
    assert Course.objects.count() == 1


@pytest.mark.parametrize("codenames", [["add_course"], ["publish_bundlerelease"], []])
def test_who_may_not_copy(course: Course, codenames: list[str]) -> None:
    person = make_actor("person", is_staff=True)
    rights = Permission.objects.filter(codename__in=[*codenames, "view_course", "change_course"])
    person.user.user_permissions.set(rights)
    browser = Client()
    browser.force_login(person.user)
    assert path_of(course) not in browser.get(f"/admin/courses/course/{course.pk}/change/").content.decode()
    assert browser.get(path_of(course)).status_code == 403
    assert browser.post(path_of(course), {"course_code": "TST200", "title": "x"}).status_code == 403
    assert Course.objects.count() == 1


def test_an_unknown_course(admin_page: Client, course: Course) -> None:
    assert admin_page.get("/admin/courses/course/nonsense/copy/").status_code == 403


def test_the_page_has_a_bounded_number_of_queries(
    admin_page: Client, course: Course, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    published(chapter_scope(chapter), experts=("alpha",))
    for number in range(20):
        Chapter.objects.create(course=course, chapter_code=f"more{number}", title="More")
    admin_page.get(path_of(course))
    with django_assert_num_queries(6):  # session, user, course, chapters, their releases, experts
        admin_page.get(path_of(course))
