"""The insights into courses in a browser: an instructor finds out on Monday where learners got stuck."""

import csv

import pytest
from playwright.sync_api import Page, expect

from courses.models import Course
from telemetry.models import CourseStanding
from telemetry.tests.insight_data import LIST, Taught, at, day, hidden_name, make_instructor, make_taught, refresh, send
from tests.browser.pages import (
    PHONE,
    WIDE,
    assert_accessible,
    assert_good_in_every_look,
    assert_no_overflow,
    login,
    look_at,
)
from tests.cast import PASSWORD, Actor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def taught(page: Page) -> Taught:
    return make_taught("TST101", "Testing")


def test_an_instructor_finds_out_where_learners_stop(page: Page, taught: Taught) -> None:
    make_taught("OTH100", "Another")
    make_instructor("anna", taught.course)
    page.goto("/admin/")
    page.get_by_label("Email").fill("anna@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="How courses are going")).to_be_visible()
    expect(page.get_by_text("OTH100")).to_have_count(0)
    page.get_by_role("link", name="TST101 Testing").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("TST101 Testing")
    expect(page.get_by_role("img", name="Chart: How far learners got in each chapter")).to_be_visible()

    page.get_by_role("link", name="1 stopped in TST101-ch2").click()
    expect(page.get_by_role("heading", name="1 learner")).to_be_visible()
    expect(page.get_by_label("Show", exact=True)).to_have_value("stopped-in")
    page.get_by_role("link", name=hidden_name(taught.stopped_in)[:10]).click()
    expect(page.get_by_role("heading", name=hidden_name(taught.stopped_in))).to_be_visible()
    expect(page.get_by_text("Began a chapter: TST101-ch2")).to_be_visible()
    page.get_by_role("navigation", name="Days that are shown").get_by_role("link", name="90 days").click()
    page.get_by_role("link", name=str(day(30))).click()
    expect(page.get_by_role("cell", name="opened")).to_be_visible()
    expect(page.get_by_text("Payload")).to_have_count(0)
    assert taught.stopped_in.user.email not in page.content()

    page.get_by_role("link", name="Export").click()
    page.get_by_label("From day (UTC)").fill(str(day(2)))
    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()
    assert started.value.suggested_filename == f"TST101-events-{day(2)}.csv"
    with started.value.path().open(encoding="utf-8-sig", newline="") as file:
        assert [row["learner"] for row in csv.DictReader(file)] == [hidden_name(taught.through)] * 2


def test_learners_are_narrowed_by_the_keyboard(page: Page, taught: Taught) -> None:
    login(page, make_instructor("bert", taught.course, may_see_emails=True))
    page.goto(taught.learners_url)
    page.get_by_label("Email or pseudonym begins with").focus()
    page.keyboard.type("ABSENT-")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 learner")).to_be_visible()
    expect(page.get_by_role("link", name=taught.absent.user.email)).to_be_visible()
    page.get_by_label("Email or pseudonym begins with").fill("nobody")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Show all learners").click()
    expect(page.get_by_role("heading", name="4 learners")).to_be_visible()


def test_a_payload_is_unfolded(page: Page, taught: Taught) -> None:
    login(page, make_instructor("bert", taught.course, may_see_emails=True))
    page.goto(taught.day_url(taught.through, day(1)))
    expect(page.get_by_text('"said": "TST101!"')).to_be_hidden()
    page.get_by_text("Show", exact=True).click()
    expect(page.get_by_text('"said": "TST101!"')).to_be_visible()
    assert_accessible(page)


def addresses_of(taught: Taught) -> list[str]:
    return [
        "/admin/",
        LIST,
        taught.url,
        f"{taught.url}?days=180",
        taught.learners_url,
        f"{taught.learners_url}?show=stopped&q=aaaaaaaa",
        f"{taught.learner_url(taught.through)}?days=180",
        taught.day_url(taught.through, day(1)),
        taught.day_url(taught.absent, day(1)),
        taught.export_url,
    ]


@pytest.mark.parametrize("may_see_emails", [False, True])
def test_pages_are_good_in_every_look(page: Page, taught: Taught, may_see_emails: bool) -> None:
    for number, event_type in enumerate(["a" * 128, "<b>", "typ e", "日本語", "x_y", "z", "more"]):
        send(
            taught.through, taught.course, at(number, 0), event_type, payload={"text": "word " * 50, "long": "l" * 500}
        )
    refresh()
    login(page, make_instructor("anna", taught.course, may_see_emails=may_see_emails))
    for address in addresses_of(taught):
        page.goto(address)
        assert_good_in_every_look(page)


def test_empty_pages_are_good_in_every_look(page: Page, staff: Actor) -> None:
    course = Course.objects.create(course_code="NEW100", title="A title of many words that goes on and on " * 4)
    new = make_instructor("new")
    for user, address in (
        (new, "/admin/"),
        (new, LIST),
        (staff.user, LIST),
        (staff.user, f"{LIST}{course.pk}/change/"),
        (staff.user, f"{LIST}{course.pk}/learners/"),
    ):
        login(page, user)
        page.goto(address)
        assert_good_in_every_look(page)


def test_old_figures_are_good_in_every_look(page: Page, taught: Taught, staff: Actor) -> None:
    CourseStanding.objects.update(counted_at=at(2))
    login(page, staff.user)
    for address in ("/admin/", LIST, taught.url):
        page.goto(address)
        assert_good_in_every_look(page)


@pytest.mark.parametrize("locale", ["zh-CN"])
def test_the_pages_in_chinese(page: Page, locale: str, taught: Taught) -> None:
    login(page, make_instructor("anna", taught.course, may_see_emails=True))
    for address in addresses_of(taught):
        for look in (WIDE, PHONE):
            look_at(page, look)
            page.goto(address)
            expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
            assert_accessible(page, look.name)
            assert_no_overflow(page, look.name)
