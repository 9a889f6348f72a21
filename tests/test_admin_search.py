"""The admin's search over courses, chapters, releases and people."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from config import limits
from courses.models import Chapter, Course
from tests.cast import Actor, make_actor
from updates.models import BundleRelease
from updates.tests.shelf import APP, chapter_scope, draft, published

pytestmark = pytest.mark.django_db

SEARCH = reverse("admin:search")


class _Hits(HTMLParser):
    """Collects the finds: address, and text without surplus spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._url = ""
        self._is_icon = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_icon = "aria-hidden" in dict(attrs)
        if tag == "a":
            self._url = dict(attrs).get("href") or "" if "data-search-hit" in dict(attrs) else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._url = ""

    def handle_data(self, data: str) -> None:
        if self._url and not self._is_icon:
            self.found[self._url] = " ".join(f"{self.found.get(self._url, '')} {data}".split())


def hits(client: Client, text: str, **parameters: str) -> dict[str, str]:
    """Return what is found, by address."""
    response = client.get(SEARCH, {"q": text, **parameters})
    assert response.status_code == 200
    parser = _Hits()
    parser.feed(response.content.decode())
    return parser.found


def urls(client: Client, text: str) -> set[str]:
    return {url for url in hits(client, text) if "?" not in url}


def page_of(row: Course | Chapter | BundleRelease | User) -> str:
    if isinstance(row, Chapter):
        row = row.course
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


@pytest.mark.parametrize("text", ["TST1", "tst100", "  testing ", "dr. test", "2026 fall", "tst test"])
def test_a_course_is_found_by_code_title_instructor_and_semester(admin_page: Client, course: Course, text: str) -> None:
    Course.objects.create(course_code="OTHER", title="Else")
    assert page_of(course) in urls(admin_page, text)
    assert len([url for url in urls(admin_page, text) if "/course/" in url]) == 1


@pytest.mark.parametrize("text", ["ch1", "CH1_INTRO", "1_intr", "introduc", "tst100 intro"])
def test_a_chapter_is_found_by_code_title_and_course(admin_page: Client, chapter: Chapter, text: str) -> None:
    assert "TST100 ch1_intro" in hits(admin_page, text)[page_of(chapter)]


def test_a_course_code_alone_does_not_list_its_chapters(admin_page: Client, chapter: Chapter) -> None:
    assert "ch1_intro" not in " ".join(hits(admin_page, "tst100").values())


@pytest.mark.parametrize("text", ["1.4", "v1.4.2", "tst100 1.4", "ch1 1.4.2", "tst100 ch1_intro"])
def test_a_chapters_release_is_found_by_version_course_and_chapter(
    admin_page: Client, chapter: Chapter, text: str
) -> None:
    release = draft(chapter_scope(chapter), "1.4.2")
    draft(APP, "2.0.0")
    found = [url for url in urls(admin_page, text) if "bundlerelease" in url]
    assert found == [page_of(release)]
    assert hits(admin_page, text)[found[0]] == "TST100/ch1_intro 1.4.2 Chapter, Draft"


@pytest.mark.parametrize("text", ["data_ins", "experts data", "data_inspector 3.1"])
def test_an_experts_release_is_found_by_its_id(admin_page: Client, text: str) -> None:
    release = published(("experts", "data_inspector"), "3.1.0")
    published(APP, "3.1.0")
    assert urls(admin_page, text) == {page_of(release)}


@pytest.mark.parametrize("text", ["lear", "learner@example.com", "lovelace", "ada lovel"])
def test_people_are_found_by_email_and_name(admin_page: Client, learner: Actor, text: str) -> None:
    User.objects.filter(pk=learner.user.pk).update(display_name="Ada Lovelace")
    assert hits(admin_page, text) == {page_of(learner.user): "Ada Lovelace learner@example.com"}


@pytest.mark.parametrize("text", ["", "t", " t ", "%", "_"])
def test_a_single_letter_finds_nothing_and_is_told(admin_page: Client, course: Course, text: str) -> None:
    assert hits(admin_page, text) == {}


@pytest.mark.parametrize("text", ["%%", "__", "zzz", "' OR 1=1", "a & | ! b", "\\", "x" * 5_000, "ch1 " * 500])
def test_odd_texts_are_only_texts(admin_page: Client, chapter: Chapter, learner: Actor, text: str) -> None:
    found = hits(admin_page, text)
    assert found == {} or text.startswith("ch1")


def test_one_chinese_character_is_a_word(admin_page: Client) -> None:
    course = Course.objects.create(course_code="ZH1", title="统计学")
    assert page_of(course) in urls(admin_page, "统")


def test_what_was_typed_stays_text_on_the_page(admin_page: Client) -> None:
    page = admin_page.get(SEARCH, {"q": "<script>alert(1)</script>"}).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    ("permission", "kinds"),
    [
        ("courses.view_course", {"course"}),
        ("updates.view_bundlerelease", {"bundlerelease"}),
        ("accounts.view_user", {"user"}),
        ("telemetry.view_chapterprogress", set()),
    ],
)
def test_everybody_finds_only_what_they_may_see(
    learner: Actor, chapter: Chapter, permission: str, kinds: set[str]
) -> None:
    published(("experts", "testing"))
    User.objects.filter(pk=learner.user.pk).update(display_name="Testing")
    clerk = make_actor("clerk", is_staff=True).user
    app, _, codename = permission.partition(".")
    clerk.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(clerk)
    assert {url.split("/")[3] for url in urls(client, "testing")} == kinds


def test_learners_have_no_search(learner: Actor) -> None:
    client = Client()
    client.force_login(learner.user)
    response = client.get(SEARCH, {"q": "testing"})
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("admin:login"))


def _make_many(number: int) -> None:
    for index in range(number):
        course = Course.objects.create(course_code=f"MANY{index:02}", title="Many many")
        chapter = Chapter.objects.create(course=course, chapter_code="many", title="Many", order=1)
        User.objects.create_user(f"many{index:02}@example.com")
        draft(chapter_scope(chapter), "1.0.0")


def test_while_one_types_a_few_of_each_kind_are_shown(admin_page: Client) -> None:
    _make_many(limits.ADMIN_SEARCH_HITS_WHILE_TYPING + 1)
    response = admin_page.get(SEARCH, {"q": "many", "while-typing": "1"})
    page = response.content.decode()
    assert "<html" not in page
    found = hits(admin_page, "many", **{"while-typing": "1"})
    # Four kinds; courses and people have a list with all that fit. Chapters lead to their courses.
    assert page.count("data-search-hit") == 4 * limits.ADMIN_SEARCH_HITS_WHILE_TYPING + 2
    assert f"{reverse('admin:courses_course_changelist')}?q=many" in found
    assert "There are more." in page


@pytest.mark.parametrize("number", [1, 8])
def test_it_costs_the_same_whatever_is_found(
    admin_page: Client, number: int, django_assert_num_queries: Callable[..., Any]
) -> None:
    _make_many(number)
    # Session and user; courses, chapters, chapters for the releases, releases, ids of people, people.
    with django_assert_num_queries(8):
        admin_page.get(SEARCH, {"q": "many"})
