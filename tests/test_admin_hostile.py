"""What strangers wrote, and what nobody can mean: pages show the one as text, and answer the other without a fault."""

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.selectors import find_users
from courses.models import Chapter, Course
from tests.cast import Actor, make_actor

MARKUP = "\"'><img src=x onerror=alert(1)>"


def test_what_staff_wrote_of_a_course_is_text_on_the_page_that_copies_it(admin_page: Client) -> None:
    """The forms show the help of a field as HTML, and whoever copies may publish."""
    course = Course.objects.create(course_code=f"X{MARKUP}", title=MARKUP, semester=MARKUP, instructor=MARKUP)
    Chapter.objects.create(course=course, chapter_code="one", title=MARKUP)

    page = admin_page.get(f"/admin/courses/course/{course.pk}/copy/")

    assert page.status_code == 200
    text = page.content.decode()
    assert text.count("&lt;img src=x") >= 4
    assert "<img src=x" not in text


@pytest.mark.parametrize(
    "path",
    [
        "updates/bundlerelease/add/?chapter=none",
        "updates/bundlerelease/add/?publish_at=none",
        "updates/apitoken/add/?course=none&expires_at=2026-13-45",
        "courses/enrollment/add/?user=none&course=1",
    ],
)
def test_an_address_that_proposes_what_no_field_can_have(admin_page: Client, path: str) -> None:
    assert admin_page.get(f"/admin/{path}").status_code == 200


def test_an_address_that_proposes_what_a_field_can_have(admin_page: Client, course: Course) -> None:
    page = admin_page.get(f"/admin/updates/apitoken/add/?course={course.pk}&expires_at=2031-02-03 04:05:06")

    text = page.content.decode()
    assert f'value="{course.pk}" selected' in text
    assert 'value="2031-02-03"' in text
    assert 'value="04:05:06"' in text


@pytest.mark.parametrize(
    "model", ["courses/course", "courses/enrollment", "accounts/user", "accounts/devicesession", "auth/group"]
)
@pytest.mark.parametrize("key", ["none", "\0"])
def test_a_chosen_row_whose_key_is_none(admin_page: Client, model: str, key: str) -> None:
    action = {
        "courses/course": "renew_invite_codes",
        "courses/enrollment": "remove",
        "accounts/devicesession": "revoke",
    }.get(model, "delete_selected")

    page = admin_page.post(f"/admin/{model}/", {"action": action, "_selected_action": key}, follow=True)

    assert page.status_code == 200
    assert "Nothing was done." in page.content.decode()


SEARCHED = [
    (f"{model._meta.app_label}/{model._meta.model_name}/add/", field)
    for model, model_admin in admin.site._registry.items()
    for field in model_admin.autocomplete_fields
] + [("telemetry/chapterprogress/set/", field) for field in ("chapter", "learner")]
"""The forms in which a row is found by typing, and their fields."""

NO_KEYS = ["none", "\0", "1", "-1", "9" * 5_000, "{}", "\ud83d", "’; --", f"{uuid.uuid4()}x"]


def test_the_forms_that_are_posted_to_are_all_that_search() -> None:
    assert {path for path, _ in SEARCHED} >= {
        "courses/enrollment/add/",
        "updates/bundlerelease/add/",
        "updates/apitoken/add/",
        "telemetry/chapterprogress/set/",
    }


@pytest.mark.parametrize(("path", "field"), SEARCHED)
def test_a_form_is_sent_with_a_key_that_can_be_none(admin_page: Client, path: str, field: str) -> None:
    """Nobody can choose such a key. Django's own field looks for the row, to show it again, and dies of it."""
    for key in [*NO_KEYS, str(uuid.uuid4())]:
        page = admin_page.post(f"/admin/{path}", {field: key.encode("utf-8", "surrogatepass")})

        assert page.status_code == 200, (key[:50], page.status_code)
        assert _errors(page)[field], key[:50]


def test_a_form_is_sent_with_a_key_of_something_else(admin_page: Client, course: Course, learner: Actor) -> None:
    """It is a key, of no row that may be chosen there: shown again is nothing."""
    page = admin_page.post("/admin/courses/enrollment/add/", {"user": str(course.pk), "course": str(course.pk)})

    assert set(_errors(page)) == {"user"}
    assert page.content.decode().count("selected>") == 1


def _errors(page: Any) -> Any:
    """Return what is wrong with the fields of the form on a page of a model, or of our own."""
    return (page.context.get("adminform") or page.context["form"]).errors


WORDS = " ".join(["e"] * 1_500)


@pytest.mark.parametrize(
    "model", ["updates/bundlerelease", "updates/releaseevent", "courses/course", "updates/apitoken"]
)
def test_a_search_of_a_thousand_words_is_one_of_a_few(admin_page: Client, model: str) -> None:
    """Each word is a condition: the database would plan the query for many seconds."""
    with CaptureQueriesContext(connection) as queries:
        assert admin_page.get(f"/admin/{model}/", {"q": WORDS}).status_code == 200

    assert max(len(query["sql"]) for query in queries) < 10_000


@pytest.mark.parametrize("text", ["a" * 3_000, "汉" * 1_000, f"{'a' * 3_000}@"])
def test_a_word_that_is_longer_than_the_database_takes(admin_page: Client, learner: Actor, text: str) -> None:
    assert find_users(text=text) == []
    assert admin_page.get("/admin/accounts/user/", {"q": text}).status_code == 200
    chosen = {"app_label": "courses", "model_name": "enrollment", "field_name": "user", "term": text}
    assert admin_page.get("/admin/autocomplete/", chosen).status_code == 200


def test_who_may_see_no_releases_learns_of_none_by_the_answer(course: Course) -> None:
    nobody = make_actor("nobody", is_staff=True)
    nobody.user.user_permissions.set(Permission.objects.filter(codename="view_course"))
    browser = Client()
    browser.force_login(nobody.user)

    assert browser.get(f"/admin/updates/bundlerelease/{uuid.uuid4()}/difference/").status_code == 403
