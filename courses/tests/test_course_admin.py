"""The pages of courses, chapters and enrolments in the admin: what they show, ask and do."""

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, error_code, make_actor

pytestmark = pytest.mark.django_db
COURSES = "/admin/courses/course/"
ENROLMENTS = "/admin/courses/enrollment/"


def rows_of(page: Any) -> list[Any]:
    return list(page.context["cl"].result_list)


def page_of(course: Course) -> str:
    return f"{COURSES}{course.pk}/change/"


def form_of(course: Course, **changes: str) -> dict[str, str]:
    """What the course's page sends, with changes such as `chapters-0-order`."""
    chapters = list(course.chapters.all())
    form = {
        "course_code": course.course_code,
        "title": course.title,
        "progression": course.progression,
        "is_active": "on",
        "joinable_by_code": "on",
        "chapters-TOTAL_FORMS": str(len(chapters)),
        "chapters-INITIAL_FORMS": str(len(chapters)),
        "instructors-TOTAL_FORMS": "0",
        "instructors-INITIAL_FORMS": "0",
    }
    for index, chapter in enumerate(chapters):
        form |= {
            f"chapters-{index}-id": str(chapter.pk),
            f"chapters-{index}-course": str(course.pk),
            f"chapters-{index}-order": str(chapter.order),
            f"chapters-{index}-chapter_code": chapter.chapter_code,
            f"chapters-{index}-title": chapter.title,
            f"chapters-{index}-is_active": "on",
        }
    return {**form, **changes}


# --- Courses ------------------------------------------------------------------------------------------------------


def test_joining_by_course_code_is_switched_off_on_the_page(
    admin_page: Client, outsider: Actor, course: Course
) -> None:
    form = form_of(course)
    del form["joinable_by_code"]
    assert admin_page.post(page_of(course), form).status_code == 302
    assert error_code(outsider.post("/v1/courses/join", {"course_code": "TST100"})) == "COURSE_NOT_FOUND"
    assert "Invite code only" in admin_page.get(COURSES).content.decode()


def test_the_order_of_chapters_is_changed_by_numbers(admin_page: Client, course: Course) -> None:
    changes = {"chapters-0-order": "2", "chapters-1-order": "1"}
    assert admin_page.post(page_of(course), form_of(course, **changes)).status_code == 302
    assert list(course.chapters.values_list("chapter_code", flat=True)) == ["ch2_more", "ch1_intro"]


def test_a_code_that_another_chapter_has_is_refused(admin_page: Client, course: Course) -> None:
    response = admin_page.post(page_of(course), form_of(course, **{"chapters-0-chapter_code": "CH2_MORE"}))
    assert response.status_code == 200
    assert "has a chapter with this code already" in response.content.decode()
    assert course.chapters.filter(chapter_code="ch1_intro").exists()


def test_a_chapter_with_progress_is_not_deleted(admin_page: Client, learner: Actor, course: Course) -> None:
    first = course.chapters.all()[0]
    first.progress.create(user=learner.user, status=10)
    changes = {"chapters-0-DELETE": "on", "chapters-1-DELETE": "on"}
    assert admin_page.post(page_of(course), form_of(course, **changes)).status_code == 302
    assert list(course.chapters.all()) == [first]
    assert first.progress.exists()


def test_saving_costs_no_query_for_each_chapter(
    admin_page: Client, course: Course, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Chapter.objects.bulk_create(Chapter(course=course, chapter_code=f"more{n}", title="x") for n in range(198))
    form = form_of(course, title="Other")
    admin_page.get(page_of(course))
    # Session, user, course, chapters, two constraints of the course, save, log; begin and end of two savepoints.
    with django_assert_num_queries(12):
        assert admin_page.post(page_of(course), form).status_code == 302
    assert Course.objects.get(pk=course.pk).title == "Other"
    with django_assert_num_queries(9):
        admin_page.get(page_of(course))


def test_the_invite_code_is_renewed_from_the_page(admin_page: Client, outsider: Actor, course: Course) -> None:
    path = f"{COURSES}{course.pk}/renew_invite_code/"
    assert path in admin_page.get(page_of(course)).content.decode()
    old = course.invite_code
    asked = admin_page.get(path)
    assert asked.context["consequences"] == [f"TST100: the old code {old} stops at once. Learners who joined stay."]
    course.refresh_from_db()
    assert course.invite_code == old
    assert admin_page.post(path, {"confirmed": "yes"}).status_code == 302
    course.refresh_from_db()
    assert course.invite_code != old
    assert error_code(outsider.post("/v1/courses/join", {"invite_code": old})) == "COURSE_NOT_FOUND"


def test_renewing_from_the_list_asks_first(admin_page: Client, course: Course) -> None:
    old = course.invite_code
    asked = admin_page.post(COURSES, {"action": "renew_invite_codes", "_selected_action": [str(course.pk)]})
    assert old in asked.context["consequences"][0]
    course.refresh_from_db()
    assert course.invite_code == old


def test_a_courses_page_shows_its_learners(admin_page: Client, learner: Actor, fellow: Actor, course: Course) -> None:
    Enrollment.objects.filter(user=fellow.user).update(removed_at=timezone.now())
    [panel] = [panel for panel in admin_page.get(page_of(course)).context["panels"] if panel.title == "Learners"]
    assert panel.sentences == ["1 learner."]
    assert [[cell.text for cell in row][::2] for row in panel.rows] == [
        ["fellow@example.com", "Removed"],
        ["learner@example.com", "In the course"],
    ]
    of_course, add = (href for _text, href in panel.links)
    assert len(rows_of(admin_page.get(of_course))) == 2
    assert str(course.pk) in admin_page.get(add).content.decode()


@pytest.mark.parametrize(
    "query", [{"q": "tst"}, {"q": "Dr. Test"}, {"q": "2026 fall"}, {"semester__icontains": "2026"}]
)
def test_courses_are_found(admin_page: Client, course: Course, query: dict[str, str]) -> None:
    Course.objects.create(course_code="OTHER", title="x", semester="2025")
    assert rows_of(admin_page.get(COURSES, query)) == [course]


# --- Enrolments ---------------------------------------------------------------------------------------------------


def test_removing_asks_first_and_lasts(admin_page: Client, learner: Actor, course: Course) -> None:
    enrollment = Enrollment.objects.get()
    path = f"{ENROLMENTS}{enrollment.pk}/remove_one/"
    assert path in admin_page.get(ENROLMENTS).content.decode()
    asked = admin_page.get(path)
    assert asked.context["consequences"] == [
        "1 learner loses the course at once, and can't join again by any code. Progress is kept."
    ]
    assert learner.get(f"/v1/courses/{course.pk}").status_code == 200
    assert admin_page.post(path, {"confirmed": "yes"}).status_code == 302
    for body in ({"course_code": "TST100"}, {"invite_code": course.invite_code}):
        assert error_code(learner.post("/v1/courses/join", body)) == "COURSE_ACCESS_DENIED"
    back = f"{ENROLMENTS}{enrollment.pk}/restore_one/"
    assert back in admin_page.get(f"{ENROLMENTS}{enrollment.pk}/change/").content.decode()
    assert admin_page.post(back, {"confirmed": "yes"}).status_code == 302
    assert learner.get(f"/v1/courses/{course.pk}").status_code == 200


def test_removing_from_the_list_asks_first(admin_page: Client, learner: Actor, fellow: Actor) -> None:
    ids = [str(pk) for pk in Enrollment.objects.values_list("pk", flat=True)]
    asked = admin_page.post(ENROLMENTS, {"action": "remove", "_selected_action": ids})
    assert asked.context["consequences"][0].startswith("2 learners lose their course at once")
    assert not Enrollment.objects.exclude(removed_at=None).exists()


def test_removing_from_the_list_leads_back_to_it(admin_page: Client, learner: Actor, fellow: Actor) -> None:
    ids = [str(pk) for pk in Enrollment.objects.values_list("pk", flat=True)]
    filtered = f"{ENROLMENTS}?q=TST100"
    for action in ("remove", "restore"):
        form = {"action": action, "_selected_action": ids}
        assert admin_page.post(filtered, form).context["cancel_url"] == filtered
        assert admin_page.post(filtered, {**form, "confirmed": "yes"})["Location"] == filtered


@pytest.mark.parametrize("of_user", [False, True], ids=["list", "page of the user"])
def test_a_button_leads_back_to_where_it_is(admin_page: Client, learner: Actor, of_user: bool) -> None:
    page = f"/admin/accounts/user/{learner.user.pk}/change/" if of_user else f"{ENROLMENTS}?q=learner"
    for act in ("remove_one", "restore_one"):
        found = re.search(rf'href="([^"]*/{act}/\?[^"]*)"', admin_page.get(page).content.decode())
        assert found
        button = html.unescape(found[1])
        assert admin_page.get(button).context["cancel_url"] == page
        assert admin_page.post(button, {"confirmed": "yes"})["Location"] == page


def test_a_chapter_is_added_in_words(admin_page: Client, course: Course) -> None:
    page = admin_page.get(page_of(course)).content.decode()
    assert "<span>Add a chapter</span>" in page
    assert "<span>Add another" not in page


def test_who_may_only_look(learner: Actor) -> None:
    viewer = make_actor("viewer", is_staff=True)
    viewer.user.user_permissions.set(Permission.objects.filter(codename__in=["view_enrollment", "view_course"]))
    browser = Client()
    browser.force_login(viewer.user)
    enrollment = Enrollment.objects.get()
    assert "remove_one" not in browser.get(ENROLMENTS).content.decode()
    assert browser.post(f"{ENROLMENTS}{enrollment.pk}/remove_one/", {"confirmed": "yes"}).status_code == 403
    assert browser.post(f"{COURSES}{enrollment.course_id}/renew_invite_code/", {"confirmed": "yes"}).status_code == 403
    enrollment.refresh_from_db()
    assert enrollment.removed_at is None


def test_an_enrolment_is_added_and_does_not_move(
    admin_page: Client, outsider: Actor, learner: Actor, course: Course
) -> None:
    form = {"user": str(outsider.user.pk), "course": str(course.pk)}
    assert admin_page.post(f"{ENROLMENTS}add/", form).status_code == 302
    assert outsider.get(f"/v1/courses/{course.pk}").status_code == 200
    again = admin_page.post(f"{ENROLMENTS}add/", form)
    assert again.status_code == 200
    assert Enrollment.objects.filter(user=outsider.user).count() == 1
    enrollment = Enrollment.objects.get(user=outsider.user)
    admin_page.post(f"{ENROLMENTS}{enrollment.pk}/change/", {"user": str(learner.user.pk), "course": str(course.pk)})
    enrollment.refresh_from_db()
    assert enrollment.user == outsider.user


def test_enrolments_are_found(admin_page: Client, learner: Actor, fellow: Actor, course: Course) -> None:
    other = Course.objects.create(course_code="TST200", title="x")
    theirs = Enrollment.objects.create(user=learner.user, course=other)
    removed = Enrollment.objects.get(user=fellow.user)
    Enrollment.objects.filter(pk=removed.pk).update(removed_at=timezone.now())
    first = Enrollment.objects.get(user=learner.user, course=course)

    def found(**query: Any) -> list[Enrollment]:
        return rows_of(admin_page.get(ENROLMENTS, query))

    assert found() == [theirs, removed, first]
    assert found(q="LEARNER@") == [theirs, first]
    assert found(q="tst2") == [theirs]
    assert found(q="tst") == [theirs, removed, first]
    assert found(q="st1") == []
    assert found(state="removed") == [removed]
    assert found(state="in") == [theirs, first]
    assert found(course__id__exact=other.pk) == [theirs]
    assert found(user__id__exact=fellow.user.pk) == [removed]


@pytest.mark.parametrize(
    ("language", "none", "one", "two"),
    [
        ("en", "0 enrolments", "1 enrolment", "2 enrolments"),
        ("zh-hans", "选课：共 0 条", "选课：共 1 条", "选课：共 2 条"),
    ],
)
def test_a_list_tells_how_many_there_are_in_its_language(
    admin_page: Client, learner: Actor, fellow: Actor, language: str, none: str, one: str, two: str
) -> None:
    for query, told in (({"state": "removed"}, none), ({"q": "learner@"}, one), ({}, two)):
        page = admin_page.get(ENROLMENTS, query, headers={"Accept-Language": language})
        assert re.search(rf"\n\s*{told}\s*</div>", page.content.decode())


def test_a_chapter_that_somebody_adds_at_the_same_moment(
    admin_page: Client, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("courses.admin.chapters.ChapterFormSet.clean", lambda formset: None)
    changes = {"title": "Other", "chapters-0-chapter_code": "ch2_more"}
    page = admin_page.post(page_of(course), form_of(course, **changes), follow=True)
    assert [str(message) for message in page.context["messages"]] == [
        "Nothing was saved: somebody took one of these codes a moment ago."
    ]
    course.refresh_from_db()
    assert course.title == "Testing"


def test_saving_the_page_keeps_an_invite_code_that_was_renewed_meanwhile(
    admin_page: Client, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewed_meanwhile(formset: Any) -> None:
        Course.objects.update(invite_code="RENEWED2")

    monkeypatch.setattr("courses.admin.chapters.ChapterFormSet.clean", renewed_meanwhile)
    assert admin_page.post(page_of(course), form_of(course, title="Other")).status_code == 302
    course.refresh_from_db()
    assert (course.title, course.invite_code) == ("Other", "RENEWED2")


# --- History ------------------------------------------------------------------------------------------------------


def test_the_history_begins_with_the_newest_entry_also_on_its_pages(admin_page: Client, course: Course) -> None:
    for number in range(120):
        LogEntry.objects.log_actions(
            user_id=User.objects.get(is_superuser=True).pk,
            queryset=[course],
            action_flag=CHANGE,
            change_message=f"Entry {number}.",
            single_object=True,
        )
    told = []
    for page in ("1", "2"):
        told += re.findall(r"Entry (\d+)\.", admin_page.get(f"{COURSES}{course.pk}/history/?p={page}").content.decode())
    assert told == [str(number) for number in reversed(range(120))]
