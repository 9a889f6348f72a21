"""The admin's front door in a browser."""

from playwright.sync_api import Page, expect

from tests.browser.pages import assert_good_in_every_look
from tests.cast import PASSWORD, make_actor


def test_staff_log_in_by_the_form_with_the_keyboard_alone(page: Page) -> None:
    make_actor("boss", is_staff=True, is_superuser=True)
    page.goto("/admin/")
    page.get_by_label("Email").focus()
    page.keyboard.type("boss@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url("/admin/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_login_page_is_good_in_every_look(page: Page) -> None:
    page.goto("/admin/login/")
    assert_good_in_every_look(page)
