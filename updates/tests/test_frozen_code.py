"""A chapter's code stays once it has a release: in the database, and in the admin's page of its course."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, transaction
from django.forms import ModelForm
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from courses.models import Chapter, Course
from tests.cast import make_actor
from updates.tests.shelf import chapter_scope, draft

pytestmark = pytest.mark.django_db


def form_of(course: Course, **changes: str) -> dict[str, str]:
    """What the page of the course sends, with changes such as `chapters-0-title`."""
    chapters = list(course.chapters.all())
    form = {
        "course_code": course.course_code,
        "title": course.title,
        "progression": course.progression,
        "is_active": "on",
        "chapters-TOTAL_FORMS": str(len(chapters)),
        "chapters-INITIAL_FORMS": str(len(chapters)),
        "instructors-TOTAL_FORMS": "0",
        "instructors-INITIAL_FORMS": "0",
    }
    for index, chapter in enumerate(chapters):
        form |= {
            f"chapters-{index}-id": str(chapter.pk),
            f"chapters-{index}-course": str(course.pk),
            f"chapters-{index}-order": str(chapter.order),
            f"chapters-{index}-chapter_code": chapter.chapter_code,
            f"chapters-{index}-title": chapter.title,
            f"chapters-{index}-is_active": "on",
        }
    return {**form, **changes}


def save(page: Client, course: Course, **changes: str) -> Any:
    return page.post(f"/admin/courses/course/{course.pk}/change/", form_of(course, **changes))


# --- The database -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"chapter_code": "other"}, {"chapter_code": "CH1_INTRO"}, {"course": "another"}])
def test_the_database_keeps_the_code_of_a_chapter_with_a_release(chapter: Chapter, change: dict[str, Any]) -> None:
    draft(chapter_scope(chapter))
    if "course" in change:
        change = {"course": Course.objects.create(course_code="NEW200", title="Another")}

    with pytest.raises(DatabaseError, match="can not change"), transaction.atomic():
        Chapter.objects.filter(pk=chapter.pk).update(**change)

    assert Chapter.objects.get(pk=chapter.pk).chapter_code == "ch1_intro"


def test_the_database_lets_all_else_change(chapter: Chapter) -> None:
    draft(chapter_scope(chapter))
    chapter.title, chapter.order, chapter.is_active = "Other", 7, False
    chapter.save()
    Course.objects.filter(pk=chapter.course_id).update(course_code="OTHER1")
    Chapter.objects.filter(chapter_code="ch2_more").update(chapter_code="ch2_other")


# --- The admin ----------------------------------------------------------------------------------------------------


def test_a_released_chapter_shows_its_code_and_the_others_can_change(admin_page: Client, chapter: Chapter) -> None:
    draft(chapter_scope(chapter))

    page = admin_page.get(f"/admin/courses/course/{chapter.course_id}/change/")

    first, second = page.context["inline_admin_formsets"][0].formset.initial_forms
    assert (first.fields["chapter_code"].disabled, second.fields["chapter_code"].disabled) == (True, False)
    assert 'value="ch1_intro"' in page.content.decode()


def test_all_but_a_released_code_is_saved(admin_page: Client, chapter: Chapter) -> None:
    draft(chapter_scope(chapter))
    forged = {"chapters-0-chapter_code": "forged", "chapters-0-title": "Other", "chapters-0-order": "5"}

    response = save(admin_page, chapter.course, **forged, **{"chapters-1-chapter_code": "ch2_other"})

    assert response.status_code == 302
    chapter.refresh_from_db()
    assert (chapter.chapter_code, chapter.title, chapter.order) == ("ch1_intro", "Other", 5)
    assert chapter.course.chapters.filter(chapter_code="ch2_other").exists()


def test_a_browser_sends_no_disabled_field(admin_page: Client, chapter: Chapter) -> None:
    draft(chapter_scope(chapter))
    form = form_of(chapter.course, **{"chapters-0-title": "Other"})
    del form["chapters-0-chapter_code"]

    response = admin_page.post(f"/admin/courses/course/{chapter.course_id}/change/", form)

    assert response.status_code == 302
    chapter.refresh_from_db()
    assert (chapter.chapter_code, chapter.title) == ("ch1_intro", "Other")


def test_a_release_that_is_made_while_the_page_is_saved(
    admin_page: Client, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("courses.admin.chapters.ChapterForm.__init__", _as_if_it_had_no_release)
    draft(chapter_scope(chapter))

    changes = {"title": "Other", "chapters-0-chapter_code": "other"}
    response = admin_page.post(
        f"/admin/courses/course/{chapter.course_id}/change/", form_of(chapter.course, **changes), follow=True
    )

    assert [str(message) for message in response.context["messages"]] == [
        "Nothing was saved: the code of a chapter that has releases can't change."
    ]
    chapter.refresh_from_db()
    assert (chapter.chapter_code, chapter.course.title) == ("ch1_intro", "Testing")


def _as_if_it_had_no_release(form: Any, *args: Any, **kwargs: Any) -> None:
    ModelForm.__init__(form, *args, **kwargs)


def test_who_may_only_look_sees_the_codes(chapter: Chapter) -> None:
    draft(chapter_scope(chapter))
    author = make_actor("author", is_staff=True)
    author.user.groups.add(Group.objects.get(name="Authors"))
    browser = Client()
    browser.force_login(author.user)

    page = browser.get(f"/admin/courses/course/{chapter.course_id}/change/").content.decode()

    assert "ch1_intro" in page
    assert 'name="chapters-0-chapter_code"' not in page


def test_a_course_with_many_chapters_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    draft(chapter_scope(chapter))
    for number in range(5):
        Chapter.objects.create(course=chapter.course, chapter_code=f"more{number}", title="More")
    path = f"/admin/courses/course/{chapter.course_id}/change/"
    admin_page.get(path)

    # Session, user, course, two of what keeps it from being deleted, two of its learners, chapters, instructors.
    with django_assert_num_queries(9):
        admin_page.get(path)
