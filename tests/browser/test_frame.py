"""What unfold draws around every page: good to read in every look, and usable by the keyboard alone."""

import pytest
from playwright.sync_api import Page, expect

from courses.models import Course
from tests.browser.pages import (
    PHONE,
    WIDE,
    assert_accessible,
    assert_good_in_every_look,
    assert_no_overflow,
    login,
    look_at,
)
from tests.cast import Actor, make_actor
from updates.tests.shelf import APP, chapter_scope, draft

LISTS = [
    "/admin/updates/bundlerelease/",
    "/admin/updates/apitoken/",
    "/admin/updates/releaseevent/",
    "/admin/courses/course/",
    "/admin/courses/enrollment/",
    "/admin/telemetry/chapterprogress/",
    "/admin/accounts/user/",
    "/admin/accounts/devicesession/",
    "/admin/auth/group/",
]
FORMS = [
    "/admin/updates/apitoken/add/",
    "/admin/courses/course/add/",
    "/admin/courses/enrollment/add/",
    "/admin/telemetry/chapterprogress/set/",
    "/admin/accounts/user/add/",
    "/admin/auth/group/add/",
    "/admin/password_change/",
]


def test_the_login_page(page: Page) -> None:
    page.goto("/admin/")
    assert_good_in_every_look(page)


@pytest.mark.parametrize("address", LISTS)
def test_a_list(page: Page, staff: Actor, learner: Actor, address: str) -> None:
    login(page, staff.user)
    page.goto(address)
    assert_good_in_every_look(page)


@pytest.mark.parametrize("address", FORMS)
def test_a_form(page: Page, staff: Actor, address: str) -> None:
    login(page, staff.user)
    page.goto(address)
    assert_good_in_every_look(page)


def test_the_page_of_a_learner(page: Page, staff: Actor, learner: Actor) -> None:
    login(page, staff.user)
    page.goto(f"/admin/accounts/user/{learner.user.pk}/change/")
    assert_good_in_every_look(page)
    page.goto(f"/admin/accounts/user/{learner.user.pk}/history/")
    assert_good_in_every_look(page)
    page.goto(f"/admin/accounts/user/{learner.user.pk}/delete/")
    assert_good_in_every_look(page)


def test_the_page_of_a_course(page: Page, staff: Actor, course: Course) -> None:
    login(page, staff.user)
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    assert_good_in_every_look(page)


def test_the_colours_are_changed_by_the_keyboard(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/auth/group/")
    menu = page.locator("#nav-sidebar").get_by_role("button", name=staff.user.email)
    menu.focus()
    page.keyboard.press("Enter")
    dark = page.locator("#nav-sidebar").get_by_role("button", name="Dark")
    expect(dark).to_be_visible()
    dark.focus()
    page.keyboard.press("Space")
    expect(page.locator("html")).to_have_class("dark")


def test_the_filters_are_opened_and_closed_by_the_keyboard(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/courses/course/")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#changelist-filter")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#changelist-filter")).to_be_hidden()


def test_the_keyboard_reaches_the_content_without_the_menu(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/courses/course/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#main') !== null")


def test_cancelling_does_nothing(page: Page, staff: Actor, course: Course) -> None:
    release = draft(APP, "1.0.0")
    login(page, staff.user)
    page.goto(f"/admin/updates/bundlerelease/{release.pk}/change/")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("will be offered it now")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url(f"**/{release.pk}/change/")
    release.refresh_from_db()
    assert release.state == "draft"


def test_the_error_pages(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/nothing/")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    assert_good_in_every_look(page)
    assistant = make_actor("assistant", is_staff=True).user
    login(page, assistant)
    page.goto("/admin/courses/course/")
    expect(page.get_by_role("heading", name="You may not open this page")).to_be_visible()
    assert_good_in_every_look(page)
    page.get_by_role("link", name="To the first page").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.mark.parametrize("locale", ["zh-CN"])
def test_the_pages_in_chinese(page: Page, locale: str, staff: Actor, course: Course) -> None:
    release = draft(chapter_scope(course.chapters.get(chapter_code="ch1_intro")), "1.0.0")
    addresses = [
        "/admin/",
        "/admin/search/?q=intro",
        f"/admin/updates/bundlerelease/{release.pk}/change/",
        f"/admin/updates/bundlerelease/scope/chapter/{release.scope_id}/",
        f"/admin/courses/course/{course.pk}/change/",
        f"/admin/courses/course/{course.pk}/copy/",
        f"/admin/accounts/user/{staff.user.pk}/change/",
        *LISTS,
    ]
    login(page, staff.user)
    for address in addresses:
        page.goto(address)
        expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
        assert_accessible(page)
        look_at(page, PHONE)
        assert_no_overflow(page)
        look_at(page, WIDE)
        seen = page.locator("#nav-sidebar").inner_text()
        assert "概览" in seen
        assert "Releases" not in seen


def test_the_keyboard_goes_into_the_filters_when_they_open(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/courses/course/")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.closest('#changelist-filter') !== null")
