"""What browser tests do with a page: open it as somebody, look at it in every way, and hold it to the rules."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import ConsoleMessage, Page, Response

from accounts.models import User

RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
"""The levels A and AA of WCAG 2, as axe calls them."""


class Look(NamedTuple):
    """How somebody looks at a page: the window's width in CSS pixels, and whether they like it dark."""

    name: str
    width: int
    height: int
    dark: bool


WIDE, PHONE = Look("wide", 1280, 800, False), Look("phone", 390, 844, False)
WIDE_DARK, PHONE_DARK = (look._replace(name=f"{look.name}, dark", dark=True) for look in (WIDE, PHONE))
LOOKS: Final = (WIDE, WIDE_DARK, PHONE, PHONE_DARK)


def login(page: Page, user: User) -> None:
    """Log somebody in without the form: give the browser the cookie of a session that is made here."""
    client = Client()
    client.force_login(user)
    page.context.add_cookies(
        [
            {"name": name, "value": cookie.value, "domain": "127.0.0.1", "path": "/"}
            for name, cookie in client.cookies.items()
        ]
    )


def look_at(page: Page, look: Look) -> None:
    """Show the page in this look."""
    page.emulate_media(color_scheme="dark" if look.dark else "light")
    page.set_viewport_size({"width": look.width, "height": look.height})


def every_look(page: Page, *, reload: bool = True) -> Iterator[Look]:
    """Show the page in one look after the other; `reload` fetches it anew, as a person on another device would.

    Don't reload what answers a form: it would be sent again.
    """
    for look in LOOKS:
        look_at(page, look)
        if reload:
            page.reload()
        yield look


def assert_good_in_every_look(page: Page, *, reload: bool = True) -> None:
    """Hold the page to what every page has to keep, wide and on a phone, light and dark."""
    for look in every_look(page, reload=reload):
        assert_accessible(page, look.name)
        assert_no_overflow(page, look.name)
        assert page.locator("h1").count() == 1, f"{look.name}: {page.url} needs exactly one h1."


def assert_accessible(page: Page, look: str = "") -> None:
    """Let axe look for what hinders people; say where it is and what is wrong."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": list(RULES)}).response["violations"]
    text = [
        f"{violation['id']} ({violation['impact']}): {violation['help']}\n    {node['html'][:300]}\n    "
        + node["failureSummary"].replace("\n", "\n    ")
        for violation in found
        for node in violation["nodes"]
    ]
    assert not text, "\n  ".join([f"{look or 'axe'}: {page.url}", *text])


def assert_no_overflow(page: Page, look: str = "") -> None:
    """The page is no wider than the window; wide tables scroll in a box of their own."""
    assert page.viewport_size
    width = page.viewport_size["width"]
    reached = page.evaluate(
        """width => {
            const root = document.scrollingElement;
            if (root.scrollWidth <= width) return null;
            const wide = [...document.body.querySelectorAll("*")].filter(
                element => element.getBoundingClientRect().right > width + 1
            );
            return [root.scrollWidth, ...wide.slice(0, 5).map(element => element.outerHTML.slice(0, 200))];
        }""",
        width,
    )
    assert reached is None, f"{look}: {page.url} is {reached[0]} px wide in a window of {width} px: {reached[1:]}"


class Problems:
    """What went wrong in a page by itself: errors of its scripts, and parts of it that did not come.

    A page that is refused on purpose (403, 422) is an answer that the test looks at; a 5xx never is.
    """

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        # What did not load is told by `_answered`, which knows whether it was the page itself.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.found.append(f"console: {message.text}")

    def _answered(self, response: Response) -> None:
        part = not response.request.is_navigation_request()
        if response.status >= (400 if part else 500):
            self.found.append(f"{response.status}: {response.url}")
