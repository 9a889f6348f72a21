"""The table of chapters on the page of a course: what it proposes, shows, refuses, and how much it costs."""

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from courses.models import Chapter, Course
from tests.cast import Actor, make_actor

pytestmark = pytest.mark.django_db


def page_of(course: Course) -> str:
    return reverse("admin:courses_course_change", args=[course.pk])


def sent(page: str) -> dict[str, str]:
    """Return what a browser would send of the table: the fields that are switched on, without the row for new ones."""
    form: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", page):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        name = attributes.get("name", "")
        off = attributes.get("type") == "checkbox" and " checked" not in tag
        if name.startswith(("chapters-", "instructors-")) and "__prefix__" not in name and not off:
            form[name] = attributes.get("value", "on")
    return form


def course_fields(course: Course) -> dict[str, str]:
    return {
        "course_code": course.course_code,
        "title": course.title,
        "instructor": course.instructor,
        "semester": course.semester,
        "progression": course.progression,
        "is_active": "on",
        "joinable_by_code": "on",
    }


def proposed(page: str) -> str:
    """Return the number that the row for new chapters has."""
    found = re.search(r'value="(\d+)" name="chapters-__prefix__-order"', page)
    assert found
    return found[1]


def test_what_the_page_shows_is_what_it_saves(admin_page: Client, course: Course) -> None:
    Chapter.objects.filter(chapter_code="ch2_more").update(is_active=False, title="<b>\"More\" & 'more'")
    before = list(course.chapters.values())
    page = admin_page.get(page_of(course)).content.decode()
    assert "<b>" not in page
    form = {name: html.unescape(value) for name, value in sent(page).items()}
    assert admin_page.post(page_of(course), {**course_fields(course), **form}).status_code == 302
    assert list(course.chapters.values()) == before
    assert LogEntry.objects.get().get_change_message() == "No fields changed."


@pytest.mark.parametrize(
    ("orders", "next_one"),
    [([], "1"), ([0], "1"), ([0, 1], "2"), ([1, 2, 7], "8"), ([10, 20], "30"), ([0, 10], "20"), ([10, 15], "16")],
)
def test_a_new_chapter_comes_last(admin_page: Client, orders: list[int], next_one: str) -> None:
    course = Course.objects.create(course_code="ORD100", title="Orders")
    for order in orders:
        Chapter.objects.create(course=course, chapter_code=f"ch{order}", title="x", order=order)
    assert proposed(admin_page.get(page_of(course)).content.decode()) == next_one


def test_the_first_chapter_of_a_new_course_has_number_one(admin_page: Client) -> None:
    assert proposed(admin_page.get(reverse("admin:courses_course_add")).content.decode()) == "1"


def test_a_new_row_that_was_left_empty_is_none(admin_page: Client, course: Course) -> None:
    form = sent(admin_page.get(page_of(course)).content.decode())
    form |= {"chapters-TOTAL_FORMS": "3", "chapters-2-order": "3", "chapters-2-is_active": "on"}
    assert admin_page.post(page_of(course), {**course_fields(course), **form}).status_code == 302
    assert course.chapters.count() == 2


def test_what_is_refused_is_shown_again_with_the_reason_at_its_field(admin_page: Client, course: Course) -> None:
    form = sent(admin_page.get(page_of(course)).content.decode())
    form |= {"chapters-1-chapter_code": "a/b", "chapters-1-title": "Typed", "chapters-0-DELETE": "on"}
    page = admin_page.post(page_of(course), {**course_fields(course), **form}).content.decode()
    assert 'value="a/b" name="chapters-1-chapter_code"' in page
    assert 'aria-describedby="id_chapters-1-chapter_code_error"' in page
    assert '<p class="error" id="id_chapters-1-chapter_code_error">Use letters, digits' in page
    assert sent(page)["chapters-1-title"] == "Typed"
    assert sent(page)["chapters-0-DELETE"] == "on", "still chosen to be deleted"


def test_the_code_of_a_chapter_with_progress_may_change_but_it_is_not_deleted(
    admin_page: Client, learner: Actor, course: Course
) -> None:
    course.chapters.all()[0].progress.create(user=learner.user, status=10)
    page = admin_page.get(page_of(course)).content.decode()
    boxes = [tag for tag in re.findall(r"<input [^>]*>", page) if "-DELETE" in tag]
    assert [" disabled" in box for box in boxes] == [True, False]
    assert "switch it off instead" in page


def test_who_may_only_look_sees_the_chapters_and_changes_nothing(course: Course) -> None:
    viewer = make_actor("viewer", is_staff=True)
    viewer.user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_course", "change_course", "view_chapter"])
    )
    browser = Client()
    browser.force_login(viewer.user)
    page = browser.get(page_of(course)).content.decode()
    assert "ch1_intro" in page
    assert "chapters-0-title" not in page
    assert "Add a chapter" not in page
    form = {
        **course_fields(course),
        **sent(page),
        "chapters-0-title": "Changed",
        "chapters-1-DELETE": "on",
    }
    browser.post(page_of(course), form)
    assert list(course.chapters.values_list("title", flat=True)) == ["Introduction", "More"]


def test_two_hundred_chapters_take_no_template_each(
    admin_page: Client, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of such a page was that of its templates; they are counted, since a test of time is of the machine."""
    from django.template.base import Template

    rendered: list[Any] = []
    render = Template._render  # type: ignore[attr-defined]

    def counted(self: Any, context: Any) -> Any:
        rendered.append(self.name)
        return render(self, context)

    def count() -> int:
        admin_page.get(page_of(course))
        rendered.clear()
        admin_page.get(page_of(course))
        return len(rendered)

    monkeypatch.setattr(Template, "_render", counted)
    few = count()
    Chapter.objects.bulk_create(
        Chapter(course=course, chapter_code=f"more{n}", title="x", order=n) for n in range(3, 201)
    )
    assert count() == few
