"""The admin's first page and its search, in a browser."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from config.errors import ErrorCode
from courses.models import Chapter, Course
from tests.browser.pages import assert_accessible, assert_good_in_every_look, every_look, login
from tests.cast import Actor, make_actor
from updates.services.uploads import upload_draft
from updates.tests.archives import packed
from updates.tests.shelf import APP, SOMEBODY, chapter_scope, publish, published, refused, withdraw

BUTTON = "Search"
FIELD = "Search courses, chapters, releases and people"


@pytest.fixture
def boss(transactional_db: None) -> User:
    return make_actor("boss", is_staff=True, is_superuser=True).user


@pytest.fixture
def busy(chapter: Chapter, learner: Actor) -> None:
    """Something of everything that the first page tells."""
    again = published(APP, "1.0.0")
    withdraw(again)
    publish(again)
    published(chapter_scope(chapter), "1.2.0", rollout_basis_points=1_000)
    published(APP, "1.1.0", publish_at=timezone.now() + timedelta(days=2))
    body = {"desktop_version": "", "sidecar_version": "", "installed": {"app_agents": "1.0.0"}}
    assert learner.post("/v1/updates/check-app", body).status_code == 200
    with refused(ErrorCode.BUNDLE_INVALID):
        archive = packed({"readme.md": b"no manifest"})
        upload_draft(file=archive, bundle_type=APP[0], scope_id=APP[1], version="6.6.6", principal=SOMEBODY)


def test_the_empty_first_page_is_good_in_every_look(page: Page, boss: User) -> None:
    login(page, boss)
    page.goto("/admin/")
    expect(page.get_by_text("Nothing was published yet.")).to_be_visible()
    assert_good_in_every_look(page)


def test_the_busy_first_page_is_good_in_every_look(page: Page, boss: User, busy: None) -> None:
    login(page, boss)
    page.goto("/admin/")
    expect(page.get_by_role("heading", name="1 thing needs a look.")).to_be_visible()
    expect(page.get_by_text("The upload failed: App agents 6.6.6")).to_be_visible()
    page.locator("summary", has_text="Published 1 time before").press("Enter")
    expect(page.locator(".overview-earlier li")).to_be_visible()
    assert_good_in_every_look(page, reload=False)
    assert_good_in_every_look(page)


def test_a_chart_has_its_numbers_as_a_table(page: Page, boss: User, busy: None) -> None:
    login(page, boss)
    page.goto("/admin/")
    figure = page.get_by_role("figure", name="Active devices per day (UTC)")
    expect(figure.get_by_role("img")).to_be_visible()
    figure.get_by_text("The numbers as a table").press("Enter")
    expect(figure.get_by_role("row").nth(1).get_by_role("cell")).to_have_text("1")
    assert_accessible(page)


def test_somebody_without_permissions_is_told_so(page: Page) -> None:
    login(page, make_actor("nobody", is_staff=True).user)
    page.goto("/admin/")
    expect(page.get_by_text("You are logged in, but may not see anything here yet.")).to_be_visible()
    assert_good_in_every_look(page)


@pytest.mark.parametrize("keys", ["Control+k", "Meta+k"])
def test_the_search_is_used_by_the_keyboard_alone(page: Page, boss: User, course: Course, keys: str) -> None:
    login(page, boss)
    page.goto("/admin/")
    page.keyboard.press(keys)
    expect(page.get_by_label(FIELD)).to_be_focused()
    page.keyboard.type("tst1")
    hit = page.get_by_role("dialog").get_by_role("link", name="TST100 Testing")
    expect(hit).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(hit).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label(FIELD)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"/admin/courses/course/{course.pk}/change/")


def test_the_dialog_of_the_search_closes_and_gives_the_focus_back(page: Page, boss: User) -> None:
    login(page, boss)
    page.goto("/admin/")
    button = page.get_by_role("button", name=BUTTON).and_(page.locator(":visible"))
    button.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()


def test_the_dialog_of_the_search_is_good_in_every_look(page: Page, boss: User, busy: None) -> None:
    login(page, boss)
    page.goto("/admin/")
    for look in every_look(page):
        page.get_by_role("button", name=BUTTON).and_(page.locator(":visible")).click()
        page.get_by_label(FIELD).fill("te")
        expect(page.get_by_role("dialog").get_by_role("link", name="TST100 Testing")).to_be_visible()
        assert_accessible(page, look.name)


def test_enter_leads_to_a_page_with_all_that_was_found(page: Page, boss: User, course: Course) -> None:
    login(page, boss)
    page.goto("/admin/")
    page.keyboard.press("Control+k")
    page.keyboard.type("testing")
    page.keyboard.press("Enter")
    expect(page).to_have_url("/admin/search/?q=testing")
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    assert_good_in_every_look(page)
