"""The page of a scope, as staff see it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import assert_good_in_every_look, login
from tests.cast import Actor, make_actor
from updates.tests.shelf import APP, published

ADDRESS = "/admin/updates/bundlerelease/scope/app_agents/core/"


@pytest.fixture
def staff(transactional_db: None) -> Actor:
    return make_actor("boss", is_staff=True, is_superuser=True)


def test_a_rollout_is_watched(page: Page, staff: Actor) -> None:
    published(APP, "1.0.0")
    for number, version in enumerate(("", "1.0.0", "dev")):
        body = {"installed": {"app_agents": version}}
        assert make_actor(f"device{number}").post("/v1/updates/check-app", body).status_code == 200
    published(APP, "1.1.0", rollout_basis_points=1_000)
    login(page, staff.user)

    page.goto(ADDRESS)

    expect(page.get_by_role("heading", level=1)).to_have_text("App agents")
    current = page.get_by_role("region", name="For all devices now")
    expect(current.get_by_text("2 of 3 devices that were offered it are still behind.")).to_be_visible()
    page.get_by_text("The numbers as a table").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Not a release of ours")).to_be_visible()
    assert_good_in_every_look(page)

    page.get_by_role("link", name="History").click()

    expect(page.get_by_role("cell", name="Draft made").first).to_be_visible()
    assert_good_in_every_look(page)


def test_an_empty_scope_is_well_made_too(page: Page, staff: Actor) -> None:
    login(page, staff.user)

    page.goto(ADDRESS)

    expect(page.get_by_text("No device has checked this yet.")).to_be_visible()
    assert_good_in_every_look(page)
