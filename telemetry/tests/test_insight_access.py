"""Who sees the insights into which course: an instructor learns nothing of another one by any address."""

import re
import uuid
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern

from accounts.models import DeviceSession, User
from courses.models import Course, CourseInstructor, Enrollment
from telemetry.models import (
    ChapterProgress,
    ChapterStanding,
    CourseDay,
    CourseStanding,
    CourseWeek,
    EventTypeDay,
    LearnerDay,
)
from telemetry.tests.insight_data import LIST, Taught, browser_of, day, hidden_name, make_instructor, make_taught
from tests.cast import make_actor
from updates.tests.shelf import chapter_scope, draft

pytestmark = pytest.mark.django_db

NUMBERS = (7_139_771, 6_481_553, 5_918_337)
"""Of the other course: none occurs anywhere else."""


@pytest.fixture
def own(db: None) -> Taught:
    return make_taught("OWN100", "Own")


@pytest.fixture
def other(db: None) -> Taught:
    taught = make_taught("SECRETB771", "Hidden subject", event_type="secretb_opened")
    learners, active, events = NUMBERS
    CourseStanding.objects.filter(course=taught.course).update(learners=learners, active_learners=active)
    CourseDay.objects.filter(course=taught.course).update(active_learners=active, events=events)
    CourseWeek.objects.filter(course=taught.course).update(active_learners=active)
    EventTypeDay.objects.filter(course=taught.course).update(events=events)
    LearnerDay.objects.filter(course=taught.course).update(events=events)
    ChapterStanding.objects.filter(chapter__course=taught.course).update(in_progress=learners, completed=active)
    draft(chapter_scope(taught.chapters[0]), "9.8.7")
    return taught


@pytest.fixture
def colleague(other: Taught) -> User:
    """The other course's instructor, who did something there."""
    user = make_instructor("colleague-secretb", other.course)
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Course),
        object_id=str(other.course.pk),
        object_repr=str(other.course),
        action_flag=CHANGE,
        change_message="secretb history",
    )
    return user


@pytest.fixture
def instructor(own: Taught) -> User:
    return make_instructor("instructor", own.course, may_see_emails=True)


def secrets_of(other: Taught) -> list[str]:
    """Return what nobody else may read: in lower case, with their numbers as pages write them."""
    names = [
        text
        for actor in other.learners
        for text in (actor.user.email, actor.user.display_name, hidden_name(actor)[:10], actor.session.device_id)
    ]
    numbers = [text for number in NUMBERS for text in (str(number), f"{number:,}")]
    texts = ["secretb771", "hidden subject", "secretb_opened", "secretb history", "colleague-secretb", "9.8.7"]
    return [text.lower() for text in [*names, *numbers, *texts, other.course.invite_code]]


def assert_tells_nothing(response: Any, secrets: list[str], asked: str) -> None:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    said = f"{response.headers} {content.decode(errors='replace')}".lower()
    for text in asked.lower().split():  # what was asked for may be said again
        said = said.replace(text, "")
    told = [text for text in secrets if text in said]
    assert not told, (asked, response.status_code, told)


# --- The crawl ----------------------------------------------------------------------------------------------------


def every_pattern(patterns: list[Any], before: str = "") -> Iterator[str]:
    """Yield each address of the admin, as Django writes it: with `<converter:name>` where something is filled in."""
    for pattern in patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield address
        else:
            yield from every_pattern(pattern.url_patterns, address)


def addresses_with(ids: dict[str, list[str]]) -> list[str]:
    """Return all addresses of the admin, filled with all of these ids where one fits."""
    found = []
    for address in every_pattern(list(admin.site.urls[0])):
        address = re.sub(r"^\^|\\Z|\$$", "", re.sub(r"\(\?P<app_label>[^)]*\)", "<str:app_label>", address))
        if "(?P<url>" in address or address.startswith("r/"):
            continue  # what no other address fits; and Django's way to an object's public page, which none has
        names = re.findall(r"<(?:(\w+):)?(\w+)>", address)
        choices = [ids.get(name) or ids[converter] for converter, name in names]
        place = "/admin/" + re.sub(r"<[^>]+>", "{}", address)
        found += [place.format(*values) for values in product(*choices)]
    return sorted(set(found))


def ids_of(other: Taught, own: Taught, colleague: User) -> dict[str, list[str]]:
    uuids = [
        str(key)
        for key in (
            other.course.pk,
            other.chapters[0].pk,
            other.through.user.pk,
            other.through.session.pk,
            colleague.pk,
            uuid.uuid4(),
        )
    ]
    numbers = [
        str(key)
        for key in (
            other.standing(other.through).pk,
            Enrollment.objects.filter(course=other.course).earliest("pk").pk,
            ChapterProgress.objects.filter(chapter__course=other.course).earliest("pk").pk,
            CourseInstructor.objects.get(course=other.course).pk,
        )
    ]
    return {
        "uuid": uuids,
        "int": numbers,
        "path": [*uuids, *numbers],
        "str": [*uuids, *numbers],
        "course_id": [str(other.course.pk), str(own.course.pk)],
        "day": [str(day(1)), str(day(30))],
        "app_label": ["telemetry", "courses", "accounts", "updates"],
        "bundle_type": ["chapter"],
        "scope_id": [f"{other.course.pk}/{other.chapters[0].chapter_code}"],
        "content_type_id": [str(ContentType.objects.get_for_model(Course).pk)],
        "": uuids,
    }


@pytest.mark.parametrize("method", ["get", "post"])
def test_no_address_of_the_admin_tells_of_another_course(
    own: Taught, other: Taught, colleague: User, instructor: User, method: str
) -> None:
    addresses = addresses_with(ids_of(other, own, colleague))
    asked = [address for address in addresses if "logout" not in address]
    kinds = ("/change/", "/history/", "/delete/", "/learners/", "/export/", "/autocomplete/", "/scope/")
    assert all(any(kind in address for address in asked) for kind in kinds)
    assert f"{LIST}{own.course.pk}/learners/{other.standing(other.through).pk}/{day(1)}/" in asked
    browser, secrets = browser_of(instructor), secrets_of(other)
    browser.raise_request_exception = False  # the address says more than the exception
    answers: dict[int, int] = {}

    for address in asked:
        form = {"format": "csv", "confirmed": "yes", "post": "yes", "course": str(other.course.pk)}
        response = browser.get(address) if method == "get" else browser.post(address, form)
        assert response.status_code < 500, address
        assert_tells_nothing(response, secrets, address)
        answers[response.status_code] = answers.get(response.status_code, 0) + 1

    assert answers[200] > 3, "their own pages are shown"
    assert Course.objects.filter(pk=other.course.pk).exists()
    assert User.objects.filter(pk=other.through.user.pk).exists()
    assert Enrollment.objects.filter(course=other.course, removed_at=None).count() == 4
    assert DeviceSession.objects.filter(user=other.through.user, revoked_at=None).exists()


def test_nor_does_anything_that_is_added_to_an_own_address(own: Taught, other: Taught, instructor: User) -> None:
    key, chapter = other.course.pk, other.chapters[1].pk
    prefix = hidden_name(other.through)[:8]
    queries = [
        "/admin/search/?q=secretb",
        "/admin/search/?q=secretb&while-typing=1",
        "/admin/search/?q=through-secr",
        "/admin/search/?q=hidden",
        f"{LIST}?q=secretb",
        f"{LIST}?q=hidden",
        f"{LIST}?o=2.3&p=0&is_active__exact=1",
        f"{LIST}?id__exact={key}",
        f"{LIST}?pk__in={key}",
        f"{LIST}?enrollments__user__email__startswith=through",
        f"{LIST}?invite_code__startswith={own.course.invite_code[:3]}",
        f"{LIST}?instructors__course={key}",
        f"{LIST}?e=1",
        f"{own.learners_url}?chapter={chapter}",
        f"{own.learners_url}?q=through-secretb",
        f"{own.learners_url}?q={prefix}",
        f"{own.learners_url}?course={key}&show=all&order=furthest&p=2",
        f"{own.url}?course={key}&days=180",
        f"{own.export_url}?course={key}",
        "/admin/autocomplete/?app_label=courses&model_name=enrollment&field_name=course&term=secret",
        "/admin/autocomplete/?app_label=courses&model_name=enrollment&field_name=user&term=through",
        "/admin/autocomplete/?app_label=courses&model_name=courseinstructor&field_name=course&term=secret",
    ]
    browser, secrets = browser_of(instructor), secrets_of(other)
    for address in queries:
        response = browser.get(address)
        assert response.status_code < 500, address
        assert_tells_nothing(response, secrets, address.replace("=", " ").replace("&", " "))


def test_a_field_that_is_not_shown_is_not_found_out_by_filters(own: Taught, instructor: User) -> None:
    """Letter by letter, an instructor would have the code by which anybody joins."""
    browser, code = browser_of(instructor), own.course.invite_code
    for lookup in (
        f"invite_code__startswith={code[0]}",
        f"invite_code={code}",
        "invite_code__gt=0",
        "title__contains=O",
    ):
        assert browser.get(f"{LIST}?{lookup}").status_code == 400, lookup
    assert browser.get(f"{LIST}?q={code}").context["cl"].result_count == 0


def test_a_course_of_others_answers_like_one_that_does_not_exist(own: Taught, other: Taught, instructor: User) -> None:
    browser = browser_of(instructor)
    key, nobody = other.standing(other.through).pk, 999_999_999
    for page in ("change/", "learners/", f"learners/{key}/", f"learners/{key}/{day(1)}/", "export/"):
        for method in (browser.get, browser.post):
            theirs, none = method(f"{LIST}{other.course.pk}/{page}"), method(f"{LIST}{uuid.uuid4()}/{page}")
            assert theirs.status_code == none.status_code == 404
            assert theirs.content == none.content
    for page in ("", f"{day(1)}/"):
        theirs = browser.get(f"{own.learners_url}{key}/{page}")
        none = browser.get(f"{own.learners_url}{nobody}/{page}")
        assert theirs.status_code == none.status_code == 404
        assert theirs.content == none.content
    for wrong in ("0", "x", "-1", str(2**70), str(own.through.user.pk), "1/2026-02-30", "1/x"):
        assert browser.get(f"{own.learners_url}{wrong}/").status_code == 404, wrong


def test_looking_for_a_course_of_others_costs_what_looking_for_none_does(
    other: Taught, instructor: User, django_assert_num_queries: Any
) -> None:
    browser = browser_of(instructor)
    for key in (other.course.pk, uuid.uuid4()):
        with django_assert_num_queries(5):  # session, user, rights of two kinds, the course
            browser.get(f"{LIST}{key}/change/")


# --- Who sees what ------------------------------------------------------------------------------------------------


def pages_of(taught: Taught) -> list[str]:
    learner = taught.through
    return [taught.url, taught.learners_url, taught.learner_url(learner), taught.day_url(learner, day(1))]


def statuses(browser: Client, taught: Taught) -> set[int]:
    return {browser.get(page).status_code for page in pages_of(taught)}


def courses_listed(browser: Client) -> list[str]:
    return [course.course_code for course in browser.get(LIST).context["cl"].result_list]


def test_an_instructor_sees_their_courses(own: Taught, other: Taught, instructor: User) -> None:
    browser = browser_of(instructor)
    assert courses_listed(browser) == ["OWN100"]
    assert statuses(browser, own) == {200}
    assert statuses(browser, other) == {404}
    CourseInstructor.objects.create(user=instructor, course=other.course)
    assert courses_listed(browser) == ["OWN100", "SECRETB771"]
    assert statuses(browser, other) == {200}


def test_who_may_change_courses_sees_all(own: Taught, other: Taught) -> None:
    browser = browser_of(make_instructor("dean", may=("change_course",)))
    assert courses_listed(browser) == ["OWN100", "SECRETB771"]
    assert statuses(browser, own) | statuses(browser, other) == {200}


def test_an_author_who_teaches_sees_own_courses_only(own: Taught, other: Taught) -> None:
    author = make_instructor("author", own.course)
    author.groups.add(Group.objects.get(name="Authors"))
    browser = browser_of(author)
    assert courses_listed(browser) == ["OWN100"]
    assert statuses(browser, other) == {404}


def test_a_superuser_sees_all(own: Taught, other: Taught, admin_page: Client) -> None:
    assert courses_listed(admin_page) == ["OWN100", "SECRETB771"]
    assert statuses(admin_page, own) | statuses(admin_page, other) == {200}


def test_others_see_nothing(own: Taught) -> None:
    """Staff without the permission, though they are bound and may see courses; learners; and nobody."""
    staff = make_instructor("assistant", own.course, may=("view_course",))
    staff.groups.clear()
    browser = browser_of(staff)
    assert browser.get(LIST).status_code == 403
    assert statuses(browser, own) == {403}
    assert browser.get(f"{LIST}{uuid.uuid4()}/change/").status_code == 403
    assert "OWN100" not in browser.get("/admin/").content.decode()
    for client in (browser_of(own.through.user), Client()):
        for page in (LIST, own.export_url, *pages_of(own)):
            assert client.get(page)["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("ending", ["binding", "group", "staff", "account"])
def test_what_ends_ends_at_once(own: Taught, instructor: User, ending: str) -> None:
    browser = browser_of(instructor)
    assert statuses(browser, own) == {200}
    match ending:
        case "binding":
            CourseInstructor.objects.filter(user=instructor).delete()
        case "group":
            instructor.groups.clear()
        case "staff":
            User.objects.filter(pk=instructor.pk).update(is_staff=False)
        case "account":
            User.objects.filter(pk=instructor.pk).update(is_active=False)
    assert statuses(browser, own) == {{"binding": 404, "group": 403, "staff": 302, "account": 302}[ending]}
    assert browser.post(own.export_url, {"format": "csv"}).status_code in (302, 403, 404)
    index = browser.get("/admin/")
    assert index.status_code == 302 or "OWN100" not in index.content.decode()


# --- Learners by name ---------------------------------------------------------------------------------------------


def assert_names(browser: Client, taught: Taught, *, shown: bool) -> None:
    user = taught.through.user
    for page in [*pages_of(taught), f"{taught.learners_url}?q={hidden_name(taught.through)[:8]}"]:
        text = browser.get(page).content.decode()
        if page != taught.url:
            assert (user.email in text) is shown, page
            assert (hidden_name(taught.through)[:10] in text) is (
                not shown or page == taught.learner_url(taught.through)
            )
        for identity in (user.email, user.display_name, str(user.pk), "OWN100!"):
            assert shown or identity not in text, (page, identity)


def test_learners_are_pseudonyms(own: Taught) -> None:
    assert_names(browser_of(make_instructor("anna", own.course)), own, shown=False)


def test_a_binding_may_show_emails(own: Taught, other: Taught) -> None:
    bert = make_instructor("bert", own.course, may_see_emails=True)
    CourseInstructor.objects.create(user=bert, course=other.course)
    browser = browser_of(bert)
    assert_names(browser, own, shown=True)
    assert_names(browser, other, shown=False)
    page = browser.get(own.learner_url(own.through)).content.decode()
    assert str(own.through.user.pk) not in page, "the user's own page is not for them"


@pytest.mark.parametrize("permission", ["view_user", "change_user"])
def test_who_may_look_at_users_sees_emails(own: Taught, permission: str) -> None:
    browser = browser_of(make_instructor("clara", own.course, may=(permission,)))
    assert_names(browser, own, shown=True)
    page = browser.get(own.learner_url(own.through)).content.decode()
    assert f"/admin/accounts/user/{own.through.user.pk}/change/" in page


def test_nobody_is_found_by_an_email_that_is_not_shown(own: Taught) -> None:
    hidden, shown = (
        browser_of(make_instructor(name, own.course, may_see_emails=emails)).get(f"{own.learners_url}?q=through-")
        for name, emails in (("anna", False), ("bert", True))
    )
    assert [row.standing.user_id for row in hidden.context["rows"]] == []
    assert [row.standing.user_id for row in shown.context["rows"]] == [own.through.user.pk]


# --- The first page, the menu and the search ----------------------------------------------------------------------


def test_an_instructors_first_page_is_their_courses(own: Taught, other: Taught, instructor: User) -> None:
    page = browser_of(instructor).get("/admin/")
    [card] = page.context["report"].cards
    assert [row.course.course_code for row in card.context["rows"]] == ["OWN100"]
    text = page.content.decode()
    assert own.url in text
    menu = text[text.index('id="nav-sidebar-apps"') :]
    shown = set(re.findall(r'href="(/admin/[^"]+)"', menu[: menu.index("</nav>")]))
    assert {address for address in shown if "password" not in address} == {LIST}


def test_an_instructor_without_a_course_is_told_what_to_do() -> None:
    browser = browser_of(make_instructor("new"))
    sentence = "You are bound to no course yet."
    assert sentence in browser.get("/admin/").content.decode()
    assert sentence in browser.get(LIST).content.decode()


def test_an_instructors_search_finds_their_courses(own: Taught, other: Taught, instructor: User) -> None:
    found = browser_of(instructor).get("/admin/search/", {"q": "hidden"}).context["found"]
    assert found == []
    [hits] = browser_of(instructor).get("/admin/search/", {"q": "own"}).context["found"]
    assert [hit.url for hit in hits.hits] == [own.url]


def test_a_course_leads_to_its_insights(own: Taught, admin_page: Client) -> None:
    page = f"/admin/courses/course/{own.course.pk}/change/"
    assert own.url in admin_page.get(page).content.decode()
    viewer = make_actor("viewer", is_staff=True).user
    dean = make_instructor("dean", may=("change_course",))
    viewer.user_permissions.set(dean.user_permissions.all())
    assert own.url not in browser_of(viewer).get(page).content.decode()
    assert own.url in browser_of(dean).get(page).content.decode()
