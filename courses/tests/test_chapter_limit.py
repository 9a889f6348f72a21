"""As many chapters as a course can have, and one more: on its page, in a copy and in the seed data."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from config import limits
from courses.models import Chapter, Course
from courses.tests.test_chapter_table import course_fields, page_of, sent

pytestmark = pytest.mark.django_db


def post_form(browser: Client, course: Course, form: dict[str, str]) -> Any:
    """Post the page as a browser does: an ideograph takes nine bytes."""
    body = urlencode({**course_fields(course), **form})
    return browser.post(page_of(course), body, content_type="application/x-www-form-urlencoded")


def fill(course: Course, count: int, *, title: str = "x") -> None:
    """Give the course as many chapters."""
    Chapter.objects.bulk_create(
        Chapter(course=course, chapter_code=f"more{n}", title=title, order=n)
        for n in range(course.chapters.count(), count)
    )


def with_new(form: dict[str, str], code: str) -> dict[str, str]:
    """The form with one row more."""
    number = int(form["chapters-TOTAL_FORMS"])
    row = {"order": "9", "chapter_code": code, "title": "New", "is_active": "on"}
    added = {f"chapters-{number}-{name}": value for name, value in row.items()}
    return {**form, **added, "chapters-TOTAL_FORMS": str(number + 1)}


def test_as_many_chapters_as_there_can_be_are_saved_whatever_their_titles(admin_page: Client, course: Course) -> None:
    fill(course, limits.CHAPTERS_PER_COURSE_MAX - 1, title="章" * 200)
    form = sent(admin_page.get(page_of(course)).content.decode())
    form["chapters-0-title"] = "Changed"
    assert post_form(admin_page, course, with_new(form, "last")).status_code == 302
    assert course.chapters.count() == limits.CHAPTERS_PER_COURSE_MAX
    assert course.chapters.get(chapter_code="ch1_intro").title == "Changed"

    page = admin_page.get(page_of(course)).content.decode()
    assert re.search(r'class="[^"]*add-row[^"]* hidden', page)
    assert re.search(r'<p class="quiet at-most" data-most="400">A course can have at most 400 chapters.</p>', page)
    assert post_form(admin_page, course, sent(page)).status_code == 302


def test_one_chapter_more_is_refused_with_the_number(admin_page: Client, course: Course) -> None:
    fill(course, limits.CHAPTERS_PER_COURSE_MAX)
    form = sent(admin_page.get(page_of(course)).content.decode())
    refused = post_form(admin_page, course, {**with_new(form, "one_more"), "chapters-0-title": "Changed"})
    assert refused.status_code == 200
    assert "A course can have at most 400 chapters; it would have 401." in refused.content.decode()
    assert not course.chapters.filter(chapter_code="one_more").exists()
    assert not course.chapters.filter(title="Changed").exists()
    exchanged = with_new({**form, "chapters-1-DELETE": "on"}, "one_more")
    assert post_form(admin_page, course, exchanged).status_code == 302
    assert course.chapters.count() == limits.CHAPTERS_PER_COURSE_MAX


def test_a_course_that_came_with_more_is_saved_and_made_smaller(admin_page: Client, course: Course) -> None:
    fill(course, limits.CHAPTERS_PER_COURSE_MAX + 100)
    form = sent(admin_page.get(page_of(course)).content.decode())
    changes = {"chapters-0-title": "Changed", "chapters-1-DELETE": "on"}
    assert post_form(admin_page, course, {**form, **changes}).status_code == 302
    assert course.chapters.count() == limits.CHAPTERS_PER_COURSE_MAX + 99
    assert course.chapters.get(chapter_code="ch1_intro").title == "Changed"


def test_more_fields_than_the_server_takes_are_answered_by_a_page(admin_page: Client, course: Course) -> None:
    form = {f"chapters-{number}-title": "x" for number in range(limits.FORM_FIELDS_MAX)}
    refused = post_form(admin_page, course, form)
    assert refused.status_code == 400
    assert refused["Content-Type"].startswith("text/html")
    assert "Nothing was done. Go back, and change fewer rows" in refused.content.decode()


def copy(browser: Client, course: Course) -> Any:
    path = f"/admin/courses/course/{course.pk}/copy/"
    form = {"course_code": "TST200", "title": "Again", "plan": browser.get(path).context["form"]["plan"].value()}
    return browser.post(path, {**form, "confirmed": "yes"})


def test_a_full_course_is_copied_and_one_with_more_is_not(admin_page: Client, course: Course) -> None:
    fill(course, limits.CHAPTERS_PER_COURSE_MAX + 1)
    refused = copy(admin_page, course)
    assert refused.status_code == 200
    assert "A course can have at most 400 chapters; it would have 401." in refused.content.decode()
    assert Course.objects.get() == course
    course.chapters.get(chapter_code="ch1_intro").delete()
    assert copy(admin_page, course).status_code == 302
    assert Course.objects.get(course_code="TST200").chapters.count() == limits.CHAPTERS_PER_COURSE_MAX


def test_the_seed_data_finds_no_room_in_a_full_course(course: Course) -> None:
    Course.objects.update(course_code="SOC101")
    fill(course, limits.CHAPTERS_PER_COURSE_MAX)
    course.chapters.filter(chapter_code="ch1_intro").update(chapter_code="other")
    with pytest.raises(CommandError, match="A course can have at most 400 chapters; it would have 401"):
        call_command("seed_data", verbosity=0)
    assert course.chapters.count() == limits.CHAPTERS_PER_COURSE_MAX
