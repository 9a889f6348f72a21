"""The releases' pages for everybody: by keyboard, with a screen reader, on a phone, in light and dark."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from courses.models import Chapter, Course
from tests.browser.pages import assert_good_in_every_look, login
from tests.cast import make_actor
from updates.models import BundleRelease
from updates.tests.shelf import APP, chapter_scope, default_files, draft, publish, published, withdraw

LIST = "/admin/updates/bundlerelease/"


@pytest.fixture
def boss(transactional_db: None) -> User:
    return make_actor("boss", is_staff=True, is_superuser=True).user


@pytest.fixture
def work(course: Course) -> BundleRelease:
    """A draft of a chapter that has a release for all and one for some; and releases of every other state."""
    scope = chapter_scope(Chapter.objects.get(course=course, chapter_code="ch1_intro"))
    files = default_files(scope, "1.0.0")
    publish(draft(scope, "1.0.0", files=files))
    publish(draft(scope, "1.1.0", files={**files, "data/old.csv": "a\n"}, rollout_basis_points=2_500))
    withdraw(published(APP, "1.0.0"))
    published(APP, "2.0.0", publish_at=datetime(2099, 1, 1, tzinfo=UTC))
    changed = {**files, "prompts/task_list.md": "1. Another task\n", "data/raw/new.csv": "b\n"}
    return draft(scope, "2.0.0", files=changed)


def test_the_list(page: Page, boss: User, work: BundleRelease) -> None:
    login(page, boss)
    page.goto(LIST)

    assert_good_in_every_look(page)


def test_a_release_with_its_lines_and_the_page_before_publishing(page: Page, boss: User, work: BundleRelease) -> None:
    login(page, boss)
    page.goto(f"{LIST}{work.pk}/change/")
    page.locator("summary", has_text="task_list.md").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="1. Another task")).to_be_visible()
    assert_good_in_every_look(page, reload=False)

    page.locator("#main").get_by_role("button", name="Publish", exact=True).click()
    page.get_by_label("Share of devices").fill("0")
    expect(page.locator(".consequence")).to_contain_text("0 % of devices")
    assert_good_in_every_look(page, reload=False)


def test_a_release_is_scheduled(page: Page, boss: User, work: BundleRelease) -> None:
    login(page, boss)
    page.goto(f"{LIST}{work.pk}/change/")
    page.locator("#main").get_by_role("button", name="Schedule", exact=True).click()
    consequence = page.locator(".consequence")
    expect(consequence).to_contain_text("offered to 100 % of devices from … UTC on.")

    page.get_by_label("Share of devices").fill("10")
    page.locator("#main").get_by_role("button", name="Schedule", exact=True).click()
    expect(page.get_by_role("heading", name="Schedule", level=2)).to_be_visible()
    assert BundleRelease.objects.get(pk=work.pk).state == "draft", "there is no time yet"

    page.get_by_label("Offered from").fill("2099-01-02T03:04")
    expect(consequence).to_contain_text("offered to 10 % of devices from 2099-01-02 03:04 UTC on.")
    assert_good_in_every_look(page, reload=False)
    page.locator("#main").get_by_role("button", name="Schedule", exact=True).click()
    expect(page.get_by_text("Scheduled: offered to 10 % of devices from 2099-01-02 03:04 UTC on")).to_be_visible()
    expect(page.locator(".release-head")).to_contain_text("Scheduled")

    page.goto(LIST)
    row = page.get_by_role("row").filter(has=page.locator(f'a[href*="{work.pk}"]'))
    expect(row).to_contain_text("Scheduled for 2099-01-02 03:04 UTC")
    assert_good_in_every_look(page)


def test_the_time_of_a_scheduled_release_is_changed(page: Page, boss: User, work: BundleRelease) -> None:
    release = BundleRelease.objects.get(bundle_type="app_agents", version="2.0.0")
    login(page, boss)
    page.goto(f"{LIST}{release.pk}/change/")
    page.locator("#main").get_by_role("button", name="Change the time", exact=True).click()
    expect(page.get_by_label("Offered from")).to_have_value("2099-01-01T00:00")

    page.get_by_label("Offered from").fill("2099-02-03T04:05")
    consequence = page.locator(".consequence")
    expect(consequence).to_contain_text("1 release will be offered from 2099-02-03 04:05 UTC on.")
    expect(consequence).to_contain_text("device will be offered it from 2099-02-03 04:05 UTC on.")
    assert_good_in_every_look(page, reload=False)
    page.locator("#main").get_by_role("button", name="Change the time", exact=True).click()
    expect(page.get_by_text("Offered from 2099-02-03 04:05 UTC on: App agents 2.0.0.")).to_be_visible()
    assert_good_in_every_look(page)
    release.refresh_from_db()
    assert release.publish_at == datetime(2099, 2, 3, 4, 5, tzinfo=UTC)


def test_a_new_draft_asks_for_what_its_kind_needs(page: Page, boss: User) -> None:
    login(page, boss)
    page.goto(f"{LIST}add/")
    page.get_by_role("link", name="Register it by its URL instead").click()
    expect(page.get_by_label("Kind of bundle")).to_have_count(0)
    assert_good_in_every_look(page)
    page.get_by_role("link", name="Enter all of it yourself instead").click()
    scope = page.get_by_label("Scope")

    expect(scope).to_have_value("core")
    expect(page.locator(".field-chapter")).to_be_hidden()
    page.get_by_label("Kind of bundle").select_option("experts")
    expect(scope).to_have_value("")
    page.get_by_label("Kind of bundle").select_option("chapter")
    expect(scope).to_be_hidden()
    expect(page.locator(".field-chapter")).to_be_visible()

    assert_good_in_every_look(page)
