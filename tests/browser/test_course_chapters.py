"""The table of chapters and that of instructors in a browser."""

import pytest
from django.contrib.auth.models import Group, Permission
from playwright.sync_api import Page, expect

from config import limits
from courses.models import Chapter, Course, CourseInstructor
from tests.browser.pages import PHONE, assert_good_in_every_look, login, look_at
from tests.cast import make_actor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def course(page: Page) -> Course:
    """A course whose chapters are numbered by tens, on its page."""
    login(page, make_actor("boss", is_staff=True, is_superuser=True).user)
    course = Course.objects.create(course_code="SOC101", title="Data Science", semester="2026 Fall")
    for number in (1, 2, 3):
        Chapter.objects.create(course=course, chapter_code=f"ch{number}", title=f"Chapter {number}", order=number * 10)
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    return course


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()


def chapters(course: Course) -> list[tuple[str, int]]:
    return list(course.chapters.values_list("chapter_code", "order"))


def test_a_chapter_is_moved_by_its_arrows_with_the_keyboard(page: Page, course: Course) -> None:
    up = page.get_by_role("button", name="Move ch3 up")
    up.focus()
    page.keyboard.press("Enter")
    expect(up).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    save(page)
    assert chapters(course) == [("ch3", 10), ("ch1", 20), ("ch2", 30)]


def test_a_chapter_is_dragged(page: Page, course: Course) -> None:
    handles = page.locator("table.chapters .handle")
    handles.nth(1).evaluate("handle => handle.scrollIntoView({block: 'center'})")
    start, end = handles.nth(0).bounding_box(), handles.nth(2).bounding_box()
    assert start
    assert end
    page.mouse.move(start["x"] + 8, start["y"] + 8)
    page.mouse.down()
    page.mouse.move(start["x"] + 8, start["y"] + 30, steps=5)
    moved = page.locator("table.chapters tbody.original").nth(2).locator("#id_chapters-0-order")
    for _ in range(20):  # a row gives way when the mouse moves over it, and not while it gives way already
        page.mouse.move(end["x"] + 8, end["y"] + end["height"], steps=5)
        page.mouse.move(end["x"] + 8, end["y"] + end["height"] / 2, steps=5)
        page.wait_for_timeout(50)
        if moved.count():
            break
    page.mouse.up()
    expect(page.locator("#id_chapters-0-order")).to_have_value("30")
    save(page)
    assert chapters(course) == [("ch2", 10), ("ch3", 20), ("ch1", 30)]


def test_numbers_that_are_not_clear_are_counted_anew(page: Page, course: Course) -> None:
    page.locator("#id_chapters-1-order").fill("10")
    page.get_by_role("button", name="Move ch3 up").click()
    save(page)
    assert chapters(course) == [("ch1", 10), ("ch3", 20), ("ch2", 30)]


def test_chapters_are_added_and_taken_away(page: Page, course: Course) -> None:
    for code in ("ch4", "ch5", "ch6"):
        page.get_by_text("Add a chapter").click()
        page.keyboard.type(code)
        page.keyboard.press("Tab")
        page.keyboard.type(f"Chapter {code[2:]}")
    expect(page.locator("#id_chapters-5-order")).to_have_value("60")
    page.get_by_role("button", name="Take this row away").nth(1).click()
    expect(page.locator("#id_chapters-4-title")).to_have_value("Chapter 6")
    page.get_by_role("checkbox", name="Delete ch2").check(force=True)
    expect(page.get_by_text("Deleted on saving").locator("visible=true")).to_have_count(1)
    save(page)
    assert chapters(course) == [("ch1", 10), ("ch3", 30), ("ch4", 40), ("ch6", 60)]


def test_the_link_that_adds_a_chapter_goes_while_there_are_as_many_as_can_be(page: Page, course: Course) -> None:
    Chapter.objects.bulk_create(
        Chapter(course=course, chapter_code=f"more{n}", title="x", order=n)
        for n in range(limits.CHAPTERS_PER_COURSE_MAX - 4)
    )
    page.reload()
    link = page.locator("#chapters-data .add-row")
    told = page.get_by_text("A course can have at most 400 chapters.")
    expect(told).to_be_hidden()
    link.focus()
    page.keyboard.press("Enter")
    expect(told).to_be_visible()
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Take this row away").click()
    expect(link).to_be_visible()
    expect(told).to_be_hidden()


def test_the_table_of_instructors_fits_on_a_phone(page: Page, course: Course) -> None:
    CourseInstructor.objects.create(course=course, user=make_actor("former").user)
    look_at(page, PHONE)
    page.reload()
    page.get_by_text("Add an instructor").click()
    expect(page.locator("#instructors-data .select2-selection").last).to_be_visible()
    too_wide = page.locator("#instructors-data").evaluate(
        "table => table.scrollWidth - table.closest('.formset-wrapper').clientWidth"
    )
    assert too_wide <= 0
    assert_good_in_every_look(page)


def test_an_instructor_is_looked_for_and_added(page: Page, course: Course) -> None:
    teacher = make_actor("teacher", is_staff=True).user
    learner = make_actor("learner").user
    group, _ = Group.objects.get_or_create(name="Instructors")
    group.permissions.add(Permission.objects.get(codename="view_courseinsights"))
    teacher.groups.add(group)
    for email, refused in ((learner.email, True), (teacher.email, False)):
        page.goto(f"/admin/courses/course/{course.pk}/change/")
        page.get_by_text("Add an instructor").click()
        page.locator("#instructors-data .select2-selection").last.click()
        page.locator(".select2-search__field").fill(email)
        page.get_by_role("option", name=email).click()
        if refused:
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.get_by_text(f"{email} isn't staff.")).to_be_visible()
            assert_good_in_every_look(page, reload=False)
    save(page)
    assert course.instructors.get().user == teacher
    page.goto(f"/admin/courses/course/{course.pk}/change/")
    assert_good_in_every_look(page)
