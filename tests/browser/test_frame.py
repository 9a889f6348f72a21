"""What unfold draws around every page: good to read in every look, and usable by the keyboard alone."""

import re
from collections.abc import Sequence

import pytest
from django.contrib.auth.models import Group, Permission
from django.template.loader import render_to_string
from django.utils import timezone
from playwright.sync_api import FloatRect, Locator, Page, Route, expect

from accounts.models import User
from config.charts import Chart, Series
from courses.models import Course, Enrollment
from tests.browser.pages import (
    PHONE,
    WIDE,
    assert_accessible,
    assert_good_in_every_look,
    assert_no_overflow,
    every_look,
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


def test_a_list_on_a_phone_is_sorted_and_tells_what_is_searched_for(page: Page, staff: Actor) -> None:
    for name in ("ada", "zoe"):
        make_actor(name)
    login(page, staff.user)
    look_at(page, PHONE)
    page.goto("/admin/accounts/user/")
    field = page.get_by_role("textbox", name="Search")
    expect(field).to_have_accessible_description("The beginning of the email, or of words of the name and email.")
    hint = page.locator("#searchbar-hint")
    expect(hint).to_be_visible()
    assert hint.evaluate("hint => hint.scrollWidth <= hint.clientWidth && hint.clientHeight > 20"), "it wraps"
    rows = page.locator(".data-row th")
    expect(rows.first).to_have_text("ada@example.com")
    page.get_by_role("columnheader", name="Email").get_by_role("link", name="Email", exact=True).click()
    expect(rows.first).to_have_text("zoe@example.com")


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
    expect(page.get_by_text("Nothing was done to this by the admin yet.")).to_be_visible()
    assert_good_in_every_look(page)
    page.goto(f"/admin/accounts/user/{learner.user.pk}/delete/")
    assert_good_in_every_look(page)


def test_the_page_of_a_course(page: Page, staff: Actor, course: Course) -> None:
    login(page, staff.user)
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    assert_good_in_every_look(page)


def test_the_history_of_a_course(page: Page, staff: Actor, course: Course) -> None:
    login(page, staff.user)
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    page.get_by_label("Title", exact=False).first.fill("Another title")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(f"/admin/courses/course/{course.pk}/history/")
    expect(page.get_by_role("row").filter(has_text="Changed Title.").filter(has_text=staff.user.email)).to_be_visible()
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


# --- Lists on a phone ---------------------------------------------------------------------------------------------

CARD_MAX_PIXELS = 180
"""A phone shows four entries of the longest list. With a line for each column and one for the box it were not two."""


def row_of(page: Page, text: str) -> Locator:
    return page.locator("#result_list .data-row").filter(has_text=text)


def place_of(shown: Locator) -> FloatRect:
    place = shown.bounding_box()
    assert place
    return place


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("/admin/courses/enrollment/", "learner@example.com"),
        ("/admin/accounts/devicesession/", "learner-device"),
        ("/admin/accounts/user/", "learner@example.com"),
        ("/admin/courses/course/", "TST100"),
        ("/admin/auth/group/", "Testers"),
    ],
)
def test_a_list_on_a_phone_is_short_cards(
    page: Page, staff: Actor, learner: Actor, course: Course, address: str, title: str
) -> None:
    """A card's first line has the box, the title and the button; what is known of it comes below."""
    Group.objects.get_or_create(name="Testers")
    login(page, staff.user)
    look_at(page, PHONE)
    page.goto(address)

    card = row_of(page, title)
    link, box = card.locator("th a"), card.locator("input.action-select")
    expect(link).to_contain_text(title)
    expect(page.get_by_text("Select record")).to_have_count(0)
    card_place, link_place, box_place = place_of(card), place_of(link), place_of(box)
    assert card_place["height"] <= CARD_MAX_PIXELS
    assert box_place["x"] + box_place["width"] <= link_place["x"]
    assert box_place["y"] < link_place["y"] + link_place["height"]
    assert link_place["y"] < box_place["y"] + box_place["height"]
    for cell in card.locator("td:not(.action-checkbox, .field-act)").filter(visible=True).all():
        place = place_of(cell)
        assert place["y"] >= link_place["y"] + link_place["height"] - 1, cell.inner_text()


def test_a_card_tells_only_what_there_is(page: Page, staff: Actor, learner: Actor, course: Course) -> None:
    """Neither an empty cell nor the dash of a table; and what appears is told with its name."""
    login(page, staff.user)
    look_at(page, PHONE)
    page.goto("/admin/courses/enrollment/")
    expect(row_of(page, "learner@example.com").locator(".field-removed")).to_be_hidden()
    Enrollment.objects.filter(user=learner.user).update(removed_at=timezone.now())
    page.reload()
    removed = row_of(page, "learner@example.com").locator(".field-removed")
    expect(removed).to_be_visible()
    assert removed.evaluate("cell => getComputedStyle(cell, '::before').content") == '"removed (UTC)"'

    page.goto("/admin/accounts/devicesession/")
    device = row_of(page, "learner-device")
    expect(device.locator(".field-seen")).to_be_visible()
    expect(device.locator(".field-versions")).to_be_hidden()
    look_at(page, WIDE)
    expect(device.locator(".field-versions")).to_have_text("-")


def test_a_long_address_leaves_the_rest_of_a_row_in_sight(page: Page, staff: Actor, course: Course) -> None:
    somebody = User.objects.create_user(f"{'a' * 64}@{'b' * 60}.example.com", None, display_name="x" * 100)
    Enrollment.objects.create(user=somebody, course=course)
    login(page, staff.user)
    for address in ("/admin/courses/enrollment/", "/admin/accounts/user/"):
        page.goto(address)
        for look in every_look(page):
            assert_no_overflow(page, look.name)
            shown = page.locator("#result_list").evaluate("list => [list.scrollWidth, list.parentElement.clientWidth]")
            assert shown[0] <= shown[1] + 1, (look.name, address)
            last = place_of(row_of(page, "aaaa").locator("td").last)
            assert last["x"] + last["width"] <= look.width


@pytest.mark.parametrize("address", ["/admin/courses/course/", "/admin/courses/course/{course}/change/", "/admin/"])
def test_the_search_is_on_every_page_of_a_phone(page: Page, staff: Actor, course: Course, address: str) -> None:
    """Also where the page has tools of its own in the header."""
    login(page, staff.user)
    look_at(page, PHONE)
    page.goto(address.format(course=course.pk))
    page.locator(".search-open-icon").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#search-dialog input[name=q]")).to_be_focused()


def test_a_list_without_entries_says_why(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    page.goto("/admin/updates/apitoken/")
    expect(page.get_by_role("heading", name="There is nothing here yet")).to_be_visible()
    assert_good_in_every_look(page)
    page.goto("/admin/accounts/user/?q=nobody-has-this")
    expect(page.get_by_role("heading", name="Nothing fits")).to_be_visible()
    assert_good_in_every_look(page)
    page.locator(".empty-list").get_by_role("link", name="Show all").click()
    expect(row_of(page, staff.user.email)).to_be_visible()


# --- Deletions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "key"), [("accounts/user", "email"), ("auth/group", "name")])
def test_what_was_chosen_in_a_list_is_deleted_or_not(
    page: Page, staff: Actor, learner: Actor, model: str, key: str
) -> None:
    """The way back is a link: it sends nothing, and needs no script. By the keyboard alone."""
    Group.objects.create(name="Readers")
    rows, name = (User.objects, learner.user.email) if key == "email" else (Group.objects, "Readers")
    login(page, staff.user)

    def choose_to_delete() -> None:
        row_of(page, name).locator("input.action-select").press("Space")
        page.locator("select[name=action]").select_option("delete_selected")
        page.get_by_role("button", name="Run").press("Enter")
        expect(page.get_by_role("heading", name=re.compile("^Delete 1 "))).to_be_visible()

    page.goto(f"/admin/{model}/?q={name[:5]}")
    choose_to_delete()
    assert_good_in_every_look(page, reload=False)
    look_at(page, WIDE)
    cancel = page.get_by_role("link", name="Cancel")
    assert cancel.get_attribute("href") == f"/admin/{model}/?q={name[:5]}"
    cancel.press("Enter")
    page.wait_for_url(f"**/admin/{model}/?q={name[:5]}")
    assert rows.filter(**{key: name}).exists()

    choose_to_delete()
    page.get_by_role("button", name="Delete", exact=True).press("Enter")
    expect(page.get_by_text("Successfully deleted 1")).to_be_visible()
    assert not rows.filter(**{key: name}).exists()


def test_an_object_is_deleted_on_its_page_or_not(page: Page, staff: Actor) -> None:
    course = Course.objects.create(course_code="OLD100", title="<b>Old</b>")
    login(page, staff.user)
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    page.get_by_role("link", name="Delete course").click()
    expect(page.get_by_role("heading", name=f"Delete the course “{course}”?")).to_be_visible()
    assert_good_in_every_look(page)
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url(f"**/{course.pk}/change/")
    page.get_by_role("link", name="Delete course").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_url("**/admin/courses/course/")
    assert not Course.objects.filter(pk=course.pk).exists()


def test_what_can_not_be_deleted_offers_the_way_back_only(page: Page, learner: Actor) -> None:
    """A course with learners keeps them from being deleted by whoever may not delete enrolments."""
    clerk = make_actor("clerk", is_staff=True).user
    rights = Permission.objects.filter(codename__in=["view_user", "change_user", "delete_user"])
    clerk.user_permissions.set(rights)
    login(page, clerk)
    page.goto(f"/admin/accounts/user/{learner.user.pk}/delete/")
    expect(page.get_by_text("This would delete more than you may delete.")).to_be_visible()
    expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(0)
    assert_good_in_every_look(page)
    page.get_by_role("link", name="Back", exact=True).click()
    page.wait_for_url(f"**/{learner.user.pk}/change/")


# --- Charts -------------------------------------------------------------------------------------------------------

WEEKS = [f"2026-{1 + week // 4:02d}-{1 + week % 4 * 7:02d}" for week in range(26)]
CHAPTERS = [f"ch{number}: what a chapter with a rather long title is about, and why" for number in range(1, 21)]
TICKS = """canvas => {
    const chart = Chart.getChart(canvas);
    const axis = chart.scales[chart.options.indexAxis];
    const context = canvas.getContext("2d");
    context.font = `${Chart.defaults.font.size}px ${Chart.defaults.font.family}`;
    const lines = axis.ticks.map(tick => [tick.label].flat());
    return {
        lines,
        widths: lines.map(line => Math.max(...line.map(text => context.measureText(text).width))),
        centres: axis.ticks.map((_, at) => axis.getPixelForTick(at)),
        area: chart.chartArea.width,
        width: chart.width,
        height: chart.chartArea.height,
    };
}"""


def show(page: Page, charts: Sequence[Chart]) -> None:
    """Open the first page with these charts on it instead of what it has."""
    body = "".join(
        f'<section class="panel">{render_to_string("admin/chart.html", {"chart": it})}</section>' for it in charts
    )

    def answer(route: Route) -> None:
        got = route.fetch()
        text = re.sub(
            r'(<div id="content-main"[^>]*>).*(</div>\s*</div>\s*</div>)', rf"\1{body}\2", got.text(), flags=re.S
        )
        route.fulfill(response=got, body=text)

    page.route("**/admin/", answer)
    page.goto("/admin/")


def test_charts_are_read_on_a_phone_and_in_the_dark(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    counts = [[(number * week) % 17 + 1 for week in range(26)] for number in range(1, 8)]
    weekly = Chart("By week", WEEKS, "Week", [Series("Active", counts[0]), Series("Enrolled", counts[1])])
    events = Chart("By type", WEEKS, "Week", [Series(f"type_{at}", each) for at, each in enumerate(counts)], "stacked")
    bars = Chart("Bars", CHAPTERS, "Chapter", [Series("Learners", counts[2][:20])], kind="bar")
    steps = [Series(f"Step {at}", counts[at][:20]) for at in range(3)]
    funnel = Chart("Funnel", CHAPTERS, "Chapter", steps, kind="hstacked")
    lying = Chart("Hours", CHAPTERS, "Chapter", [Series("Hours", [*counts[3][:19], None])], kind="hbar")
    single = Chart("One", ["2026-01-05"], "Week", [Series("Active", [7])])
    charts = [weekly, events, bars, funnel, lying, single]
    show(page, charts)

    for look in every_look(page):
        assert_accessible(page, look.name)
        assert_no_overflow(page, look.name)
        for chart in charts:
            figure = page.locator("figure").filter(has=page.get_by_text(chart.title, exact=True))
            seen = figure.locator("canvas").evaluate(TICKS)
            assert seen["height"] >= 150, (look.name, chart.title)
            if chart.is_lying:
                assert len(seen["lines"]) == 20, (look.name, chart.title)
                assert max(seen["widths"]) <= seen["width"] * 0.41
                assert all(line[0].startswith(f"ch{at}:") for at, line in enumerate(seen["lines"], start=1))
                assert min(b - a for a, b in zip(seen["centres"], seen["centres"][1:], strict=False)) >= 28
            else:
                edges = zip(seen["centres"], seen["widths"], seen["centres"][1:], seen["widths"][1:], strict=False)
                assert all(left + a / 2 < right - b / 2 for left, a, right, b in edges), (look.name, chart.title)
            legend = figure.locator(".chart-legend li")
            assert legend.count() == (len(chart.series) if len(chart.series) > 1 else 0)


def test_the_table_of_a_chart_is_opened_and_scrolled_by_the_keyboard(page: Page, staff: Actor) -> None:
    login(page, staff.user)
    look_at(page, PHONE)
    show(page, [Chart("By week", WEEKS, "Week", [Series("Active", list(range(26)))])])
    page.get_by_text("The numbers as a table").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader", name=WEEKS[0], exact=True)).to_be_attached()
    assert_accessible(page)
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    expect(page.get_by_role("rowheader", name=WEEKS[0], exact=True)).to_be_in_viewport()
