"""How many queries the pages of the insights cost, whatever they show."""

from typing import Any

import pytest
from django.test import Client

from courses.models import Chapter, Enrollment
from telemetry.tests.insight_data import (
    LIST,
    Status,
    Taught,
    at,
    browser_of,
    day,
    hidden_name,
    make_instructor,
    make_taught,
    reach,
    refresh,
    send,
)
from tests.cast import make_actor

pytestmark = pytest.mark.django_db

# Each begins with two for the session and its user; an instructor's has two more, for rights of two kinds.
PAGES = [
    ("", 2),  # count, rows
    ("?q=t", 2),
    ("?o=-3", 2),
    ("{course}/change/", 7),  # the course, its figures, chapters, enrolled, days, weeks, types
    ("{course}/change/?days=180", 7),
    ("{course}/learners/", 4),  # the course, its chapters, count, rows
    ("{course}/learners/?show=stopped&order=furthest", 4),
    ("{course}/learners/?q={pseudonym}", 5),  # whose pseudonym it is
    ("{course}/learners/{learner}/", 5),  # the course, the learner, days, milestones, chapters
    ("{course}/learners/{learner}/{day}/", 8),  # in a transaction: the bound, events, no bound
    ("{course}/export/", 1),
]


def make_more(taught: Taught, start: int, count: int) -> None:
    for number in range(start, start + count):
        actor = make_actor(f"person{number}")
        Enrollment.objects.create(user=actor.user, course=taught.course)
        chapter = Chapter.objects.create(
            course=taught.course, chapter_code=f"more{number}", title="M", order=9 + number
        )
        reach(actor, chapter, Status.IN_PROGRESS, at(30))
        reach(taught.through, chapter, Status.COMPLETED, at(3))
        send(taught.through, taught.course, at(1), f"type{number}")
        send(taught.through, taught.course, at(2 + number))
    refresh()


@pytest.mark.parametrize("who", ["superuser", "instructor", "instructor who sees emails"])
@pytest.mark.parametrize(("page", "queries"), PAGES)
def test_queries(admin_page: Client, page: str, queries: int, who: str, django_assert_num_queries: Any) -> None:
    taught = make_taught("TST100")
    if who == "superuser":
        browser = admin_page
    else:
        browser = browser_of(make_instructor("anna", taught.course, may_see_emails="emails" in who))
        queries += 2
    make_more(taught, 0, 3)
    path = LIST + page.format(
        course=taught.course.pk,
        learner=taught.standing(taught.through).pk,
        day=day(1),
        pseudonym=hidden_name(taught.through)[:8],
    )
    browser.get(path)
    assert queries + 2 <= 12
    with django_assert_num_queries(queries + 2):
        assert browser.get(path).status_code == 200
    make_more(taught, 3, 12)
    make_taught("TST200")
    with django_assert_num_queries(queries + 2):
        assert browser.get(path).status_code == 200


def test_queries_of_the_first_page(django_assert_num_queries: Any) -> None:
    browser = browser_of(make_instructor("anna", *(make_taught(f"TST{number}").course for number in range(3))))
    browser.get("/admin/")
    with django_assert_num_queries(6):  # session, user, rights of two kinds; courses that were counted, and others
        browser.get("/admin/")
    make_instructor("bert", *(make_taught(f"OTH{number}").course for number in range(4)))
    with django_assert_num_queries(6):
        browser.get("/admin/")


def test_queries_of_the_search(django_assert_num_queries: Any) -> None:
    browser = browser_of(make_instructor("anna", make_taught("TST1").course, make_taught("TST2").course))
    browser.get("/admin/search/?q=tst")
    with django_assert_num_queries(5):
        assert len(browser.get("/admin/search/?q=tst").context["found"][0].hits) == 2
