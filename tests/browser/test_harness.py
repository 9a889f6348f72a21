"""The browser tests' own rules bite."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import PHONE, Problems, assert_accessible, assert_no_overflow, login, look_at
from tests.cast import make_actor


def test_axe_tells_what_hinders_people(page: Page) -> None:
    page.set_content("<html lang=en><title>A page</title><main><h1>Hello</h1><img src='data:,'></main></html>")
    with pytest.raises(AssertionError, match=r"image-alt \(critical\)"):
        assert_accessible(page)


def test_what_is_wider_than_a_phone_is_named(page: Page) -> None:
    look_at(page, PHONE)
    page.set_content("<meta name=viewport content='width=device-width'><div id=broad style='width:391px'>x</div>")
    with pytest.raises(AssertionError, match="broad"):
        assert_no_overflow(page)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("setTimeout(() => { throw new Error('thrown') })", "error: thrown"),
        ("console.error('told')", "console: told"),
        ("fetch('/healthy').catch(() => 0)", "404: "),
    ],
)
def test_errors_of_scripts_and_missing_parts_are_problems(
    browser: Browser, site: str, script: str, problem: str
) -> None:
    context = browser.new_context()
    other = context.new_page()
    other.goto(f"{site}/healthz")
    problems = Problems(other)
    other.evaluate(f"() => {{ {script} }}")
    other.wait_for_timeout(300)
    context.close()
    assert any(found.startswith(problem) for found in problems.found), problems.found


def test_somebody_is_logged_in_without_the_form(page: Page) -> None:
    login(page, make_actor("boss", is_staff=True, is_superuser=True).user)
    page.goto("/admin/")
    expect(page).to_have_url("/admin/")
