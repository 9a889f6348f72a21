"""What the pages of the insights show, of which numbers, and what they say when there are none."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.query import QuerySet
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from config import limits
from config.charts import Chart
from config.places import Places
from courses.models import Chapter, Course, Enrollment
from telemetry.models import (
    AnalyticsEvent,
    ChapterProgress,
    ChapterStanding,
    CourseDay,
    CourseStanding,
    EventTypeDay,
    LearnerStanding,
)
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
    text_of,
)
from tests.cast import make_actor

pytestmark = pytest.mark.django_db


@pytest.fixture
def taught(db: None) -> Taught:
    return make_taught("TST101")


@pytest.fixture
def browser(taught: Taught) -> Client:
    """An instructor's, who sees no emails."""
    return browser_of(make_instructor("anna", taught.course))


def series_of(chart: Chart) -> dict[str, list[Any]]:
    return {series.name: list(series.values) for series in chart.series}


def learners_of(response: Any) -> list[Any]:
    assert response.status_code == 200
    return [row.standing.user_id for row in response.context["rows"]]


# --- The list -----------------------------------------------------------------------------------------------------


def test_the_list_has_the_figures_of_each_course(taught: Taught, admin_page: Client) -> None:
    Course.objects.create(course_code="NEW100", title="Nobody is in it")
    new, shown = admin_page.get(LIST).context["results"]
    standing = CourseStanding.objects.get(course=taught.course)
    text = strip_tags(" ".join(map(str, shown)))
    for told in ("TST101", "Teaching", " 4", " 1", f"{standing.counted_at:%Y-%m-%d %H:%M}"):
        assert told in text
    assert "NEW100" in str(new)


def test_courses_are_found_by_code_and_title_and_sorted_by_their_figures(taught: Taught, admin_page: Client) -> None:
    busy = make_taught("BUSY100", "Busy")
    Enrollment.objects.create(course=busy.course, user=make_actor("more").user)
    refresh()
    for query, codes in (
        ("?q=tst1", ["TST101"]),
        ("?q=teach", ["TST101"]),
        ("?q=nothing", []),
        ("?o=-1", ["BUSY100", "TST101"]),
        ("?o=1", ["TST101", "BUSY100"]),
        ("?is_active__exact=0", []),
    ):
        assert [course.course_code for course in admin_page.get(LIST + query).context["cl"].result_list] == codes, query


def test_what_to_do_when_counts_are_missing_or_old(taught: Taught, browser: Client, admin_page: Client) -> None:
    """Who runs the server reads the command; everybody else, who can't run it, whom to ask."""
    command, ask = "manage.py refresh_insights", "ask whoever runs this server"

    def said(page: str, sentence: str) -> bool:
        texts = [text_of(one.get(page)) for one in (admin_page, browser)]
        assert [command in text for text in texts] == [sentence in texts[0], False]
        assert [ask in text for text in texts] == [False, sentence in texts[1]]
        return all(sentence in text for text in texts)

    assert not said(LIST, "Some of these figures are older than a day.")
    CourseStanding.objects.update(counted_at=timezone.now() - timedelta(hours=25))
    assert said(LIST, "Some of these figures are older than a day.")
    assert said(taught.url, "These figures are old")
    CourseStanding.objects.all().delete()
    LearnerStanding.objects.all().delete()
    assert said("/admin/", "Nothing was counted yet.")
    assert said(LIST, "Nothing was counted yet.")
    assert said(taught.url, "Nothing was counted yet.")
    assert said(taught.learners_url, "No learner was counted yet.")


# --- A course -----------------------------------------------------------------------------------------------------


def test_the_figures_lead_to_the_learners_that_they_count(taught: Taught, browser: Client) -> None:
    figures = {figure.name: figure for figure in browser.get(taught.url).context["figures"]}
    numbers = {"Learners": 4, "Active in the last 7 days": 1, "Begun": 3, "Finished": 1, "Stopped": 2}
    assert {name: figure.number for name, figure in figures.items()} == numbers
    for name, number in numbers.items():
        assert len(learners_of(browser.get(figures[name].url))) == number, name


def test_enrolled_and_active_learners_by_day_and_week(taught: Taught, browser: Client) -> None:
    """Who was removed counts until that day; who joined lately, from that day."""
    Enrollment.objects.filter(user=taught.absent.user).update(removed_at=at(2))
    late = make_actor("late")
    Enrollment.objects.create(course=taught.course, user=late.user, joined_at=at(1))
    context = browser.get(taught.url, {"days": "90"}).context
    by_day, by_week = series_of(context["days_chart"]), series_of(context["weeks_chart"])
    assert [len(values) for values in by_day.values()] == [90, 90]
    assert by_day["Enrolled"][-42:-38] == [0, 4, 4, 4]
    assert by_day["Enrolled"][-4:] == [4, 3, 4, 4]
    assert by_day["With events"][-3:] == [0, 1, 0]
    assert by_day["With events"][-31] == 1
    assert sum(by_day["With events"]) == 2
    assert by_week["Enrolled"][-1] == 4
    assert by_week["Enrolled"][0] == 0
    assert sum(by_week["With events"]) == 2
    assert len(context["weeks_chart"].labels) == len(by_week["With events"]) in (13, 14)


@pytest.mark.parametrize(
    ("asked", "shown"), [("", 30), ("90", 90), ("180", 180), ("181", 30), ("x", 30), ("9" * 99, 30)]
)
def test_how_many_days_are_shown(taught: Taught, browser: Client, asked: str, shown: int) -> None:
    context = browser.get(taught.url, {"days": asked}).context
    assert len(context["days_chart"].labels) == len(context["types_chart"].labels) == shown


def test_the_funnel_over_the_chapters(taught: Taught, browser: Client) -> None:
    Chapter.objects.filter(pk=taught.chapters[2].pk).update(order=0)
    refresh()
    response = browser.get(taught.url)
    chart = response.context["funnel_chart"]
    assert chart.labels == ["TST101-ch3 Teaching part 3", "TST101-ch1 Teaching part 1", "TST101-ch2 Teaching part 2"]
    assert series_of(chart) == {"Completed": [1, 3, 1], "In progress": [0, 0, 1], "Not started": [3, 1, 2]}
    medians = [row.median for row in response.context["rows"]]
    assert [text.replace("\xa0", " ") for text in medians] == ["14 hours", "1 day, 2 hours", "12 hours"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.4, "less than a minute"), (61, "1 minute"), (90_000, "1 day, 1 hour")]
)
def test_how_long_a_chapter_takes(taught: Taught, browser: Client, seconds: float | None, text: str) -> None:
    ChapterStanding.objects.update(median_seconds=seconds)
    page = text_of(browser.get(taught.url)).replace("\xa0", " ")
    assert page.count(f" {text} ") >= 3


def test_chapters_that_are_switched_off_are_not_shown(taught: Taught, browser: Client) -> None:
    Chapter.objects.filter(pk=taught.chapters[0].pk).update(is_active=False)
    assert "part 1" not in browser.get(taught.url).content.decode()


def test_where_learners_stop_leads_to_who_they_are(taught: Taught, browser: Client) -> None:
    response = browser.get(taught.url)
    assert series_of(response.context["stops_chart"]) == {"In the chapter": [0, 1], "After completing it": [1, 0]}
    first, second, _third = response.context["rows"]
    assert learners_of(browser.get(second.stopped_in_url)) == [taught.stopped_in.user.pk]
    assert learners_of(browser.get(first.stopped_after_url)) == [taught.stopped_after.user.pk]
    assert learners_of(browser.get(first.stopped_in_url)) == []
    page = unescape(response.content.decode())
    assert second.stopped_in_url in page
    assert first.stopped_after_url in page
    assert first.stopped_in_url not in page, "nobody is no link"


def test_events_by_type(taught: Taught, browser: Client) -> None:
    """Those that lead in all, even if another leads on each single day; the others are summed."""
    EventTypeDay.objects.all().delete()
    CourseDay.objects.all().delete()
    for ago in range(3):
        rows = {"steady": 50, **{f"small{n}": 40 - n for n in range(8)}, f"once{ago}": 60}
        EventTypeDay.objects.bulk_create(
            EventTypeDay(course=taught.course, day=day(ago), event_type=name, events=events)
            for name, events in rows.items()
        )
        CourseDay.objects.create(course=taught.course, day=day(ago), active_learners=1, events=sum(rows.values()))
    shown = series_of(browser.get(taught.url).context["types_chart"])
    assert list(shown) == ["steady", "small0", "small1", "small2", "small3", "small4", "Other types"]
    assert shown["steady"][-4:] == [0, 50, 50, 50]
    assert shown["Other types"][-4:] == [0, 60 + 35 + 34 + 33, 162, 162]


def test_a_thousand_types_break_nothing(taught: Taught, browser: Client) -> None:
    """Each of a learner's events may be of a type of its own, and each type is text that somebody chose."""
    hostile = ["</script><script>alert(1)</script>", "a" * 128, "\u202etxt.exe", '"}]', "日本語", " ", "x\ny\tz"]
    EventTypeDay.objects.bulk_create(
        EventTypeDay(course=taught.course, day=day(0), event_type=name, events=1_000 - place)
        for place, name in enumerate([*hostile, *(f"type {n}" for n in range(5_000))])
        if 1_000 - place > 0
    )
    CourseDay.objects.create(course=taught.course, day=day(0), active_learners=1, events=5_000_000)
    response = browser.get(taught.url)
    page = response.content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert len(response.context["types_chart"].series) == limits.INSIGHTS_TYPES_SHOWN + 1
    assert len(page) < 200_000


def test_an_empty_course(browser: Client, taught: Taught, admin_page: Client) -> None:
    course = Course.objects.create(course_code="NEW100", title="New")
    page = f"{LIST}{course.pk}/change/"
    empty = (
        "Nobody is enrolled yet. Who joins is counted here from that day on.",
        "The course has no chapters yet.",
        "No event came in these days.",
    )
    text = text_of(admin_page.get(page))
    assert "Nothing was counted yet." in text
    assert not any(sentence in text for sentence in empty)
    refresh()
    text = text_of(admin_page.get(page))
    assert all(sentence in text for sentence in empty)
    Chapter.objects.create(course=course, chapter_code="ch1", title="One")
    refresh()
    text = text_of(admin_page.get(page))
    assert "Nothing was counted yet" not in text
    assert "As soon as learners begin chapters, you see here how far they get." in text
    assert "Nobody has stopped." in text


def test_old_figures_come_with_a_warning(taught: Taught, browser: Client, admin_page: Client) -> None:
    assert "Counted at" in text_of(browser.get(taught.url))
    assert admin_page.get("/admin/").context["report"].urgent == 0
    CourseStanding.objects.update(counted_at=at(2, 3))
    assert f"These figures are old: they were counted at {day(2)} 03:00 UTC." in text_of(browser.get(taught.url))
    [urgent] = admin_page.get("/admin/").context["report"].attention
    assert urgent.text == "The figures of courses are older than a day: nobody counts them any more."


def test_only_so_many_chapters_are_shown(taught: Taught, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.INSIGHTS_CHAPTERS_SHOWN", 2)
    assert "1 more chapter is not shown." in text_of(browser.get(taught.url))


# --- Learners -----------------------------------------------------------------------------------------------------


def test_learners_by_group_and_chapter(taught: Taught, browser: Client) -> None:
    first, second, third = (str(chapter.pk) for chapter in taught.chapters)
    through, stopped_in, stopped_after, absent = (actor.user.pk for actor in taught.learners)
    for query, expected in (
        ({}, {through, stopped_in, stopped_after, absent}),
        ({"show": "active"}, {through}),
        ({"show": "begun"}, {through, stopped_in, stopped_after}),
        ({"show": "not-begun"}, {absent}),
        ({"show": "finished"}, {through}),
        ({"show": "stopped"}, {stopped_in, stopped_after}),
        ({"show": "stopped-in", "chapter": second}, {stopped_in}),
        ({"show": "stopped-in", "chapter": first}, set()),
        ({"chapter": third}, {through}),
        ({"show": "stopped-after"}, {stopped_after}),
        ({"q": hidden_name(taught.absent)}, {absent}),
        ({"q": f" {hidden_name(taught.absent)[:10].upper()} "}, {absent}),
        ({"q": hidden_name(taught.absent)[:6]}, {absent}),
        ({"q": hidden_name(taught.absent)[:5]}, set()),
        ({"q": "a"}, set()),
        ({"q": "%"}, set()),
    ):
        assert set(learners_of(browser.get(taught.learners_url, query))) == expected, query


def test_a_pseudonym_is_looked_for_by_one_at_a_time(
    taught: Taught, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs a hash of every learner; another one is told so at once, and all else goes on."""
    places = Places(1)
    monkeypatch.setattr("telemetry.insights.learners._searches", places)
    query, busy = {"q": hidden_name(taught.absent)[:6]}, "Another search for a pseudonym is under way."
    done = places.take()
    refused = browser.get(taught.learners_url, query)
    assert (refused.status_code, refused["Retry-After"]) == (503, str(limits.RETRY_AFTER_BUSY_SECONDS))
    assert busy in refused.content.decode()
    assert "learners</h2>" not in refused.content.decode(), "nor does it say that there are none"
    assert len(learners_of(browser.get(taught.learners_url))) == 4
    short = text_of(browser.get(taught.learners_url, {"q": query["q"][:5]}))
    assert "A pseudonym is found by its first 6 letters or more." in short
    named = browser_of(make_instructor("bert", taught.course, may_see_emails=True))
    assert learners_of(named.get(taught.learners_url, {"q": taught.absent.user.email})) == [taught.absent.user.pk]
    done()
    for _time in range(2):
        assert learners_of(browser.get(taught.learners_url, query)) == [taught.absent.user.pk]


def test_learners_in_order(taught: Taught, browser: Client) -> None:
    through, stopped_in, stopped_after, absent = (actor.user.pk for actor in taught.learners)
    for order, expected in (
        ("", [through, stopped_in, stopped_after, absent]),
        ("last-active", [through, stopped_in, stopped_after, absent]),
        ("longest-away", [stopped_after, stopped_in, through, absent]),
        ("furthest", [through, stopped_in, stopped_after, absent]),
        ("least-far", [absent, stopped_in, stopped_after, through]),
    ):
        assert learners_of(browser.get(taught.learners_url, {"order": order})) == expected, order


@pytest.mark.parametrize(
    "query", [{"show": "x"}, {"order": "user__password"}, {"chapter": "x"}, {"q": "a" * 999}, {"p": "-7"}, {"p": "x"}]
)
def test_what_an_address_says_wrongly_is_not_asked_for(taught: Taught, browser: Client, query: dict[str, str]) -> None:
    assert len(learners_of(browser.get(taught.learners_url, query))) == 4


def test_a_learners_row(taught: Taught, browser: Client) -> None:
    text = text_of(browser.get(taught.learners_url))
    assert f"{hidden_name(taught.stopped_in)[:10]}… {day(30)} 12:00 1 of 3 TST101-ch2 Teaching part 2 Stopped" in text
    assert f"{hidden_name(taught.absent)[:10]}… never 0 of 3 none Not begun" in text
    assert "3 of 3 TST101-ch3 Teaching part 3 Finished" in text


def test_who_was_removed_is_gone_at_once(taught: Taught, browser: Client) -> None:
    page = taught.learner_url(taught.through)
    Enrollment.objects.filter(user=taught.through.user).update(removed_at=timezone.now())
    assert taught.through.user.pk not in learners_of(browser.get(taught.learners_url))
    assert learners_of(browser.get(taught.learners_url, {"q": hidden_name(taught.through)})) == []
    assert browser.get(page).status_code == 404
    assert browser.get(f"{page}{day(1)}/").status_code == 404


def test_pages_of_learners(taught: Taught, browser: Client) -> None:
    for number in range(50):
        Enrollment.objects.create(course=taught.course, user=make_actor(f"many{number}").user)
    refresh()
    first = browser.get(taught.learners_url, {"order": "furthest", "show": "all"})
    last = browser.get(taught.learners_url, {"order": "furthest", "p": "2"})
    assert (len(learners_of(first)), len(learners_of(last))) == (50, 4)
    assert not set(learners_of(first)) & set(learners_of(last))
    assert "?show=all&amp;order=furthest&amp;p=2" in first.content.decode()
    assert "54 learners" in text_of(first)


def test_no_learner_is_said(taught: Taught, browser: Client) -> None:
    for query in ({"q": "aaaaaaaa", "show": "all"}, {"show": "stopped-in", "chapter": str(taught.chapters[2].pk)}):
        assert "No learner of this course is like that." in text_of(browser.get(taught.learners_url, query))
    LearnerStanding.objects.all().delete()
    assert "No learner was counted yet." in text_of(browser.get(taught.learners_url))


# --- A learner ----------------------------------------------------------------------------------------------------


def test_a_learners_milestones_newest_first(taught: Taught, browser: Client) -> None:
    ChapterProgress.objects.filter(user=taught.stopped_in.user, status=Status.IN_PROGRESS).update(
        reported_while_locked=True
    )
    reach(taught.stopped_in, taught.chapters[2], Status.LOCKED, at(5))
    response = browser.get(taught.learner_url(taught.stopped_in))
    shown = [
        (str(row.text), row.milestone.chapter[:10], row.milestone.at, row.milestone.early)
        for row in response.context["milestones"]
    ]
    assert shown == [
        ("Began a chapter", "TST101-ch2", at(31), True),
        ("Completed a chapter", "TST101-ch1", at(33) + timedelta(hours=30), False),
        ("Began a chapter", "TST101-ch1", at(33), False),
        ("Joined the course", "", at(40), False),
    ]
    assert "Reported while locked" in text_of(response)
    assert "Milestones have the time of the server, days and events that of the learner's device" in text_of(response)


def test_a_learners_days_in_this_course_only(taught: Taught, browser: Client) -> None:
    other = make_taught("OTH100", "Another")
    Enrollment.objects.create(course=other.course, user=taught.through.user)
    send(taught.through, other.course, at(1, 8), "elsewhere")
    send(taught.through, other.course, at(4, 8), "elsewhere")
    refresh()
    page = taught.learner_url(taught.through)
    response = browser.get(page)
    assert [(row.day, row.events) for row, _address in response.context["days"]] == [(day(1), 2)]
    assert series_of(response.context["chart"])["Events"][-2:] == [2, 0]
    [(_row, address)] = response.context["days"]
    events = text_of(browser.get(address))
    assert "09:00:00 opened TST101-ch1 Teaching part 1 10:00:00 other –" in events
    assert "elsewhere" not in events
    assert "No event of this learner in this course" in text_of(browser.get(f"{page}{day(4)}/"))
    assert "OTH100" not in "".join(browser.get(one).content.decode() for one in (page, address))


def test_a_chapter_that_was_named_by_its_id(taught: Taught, browser: Client) -> None:
    text = text_of(browser.get(taught.day_url(taught.stopped_in, day(30))))
    assert "12:00:00 opened TST101-ch2 Teaching part 2" in text


def test_a_payload_is_for_those_who_may_see_whose_it_is(taught: Taught, browser: Client) -> None:
    page = taught.day_url(taught.through, day(1))
    hidden = browser.get(page).content.decode()
    assert "TST101!" not in hidden
    assert "Payload" not in hidden
    shown = browser_of(make_instructor("bert", taught.course, may_see_emails=True)).get(page).content.decode()
    assert "&quot;said&quot;: &quot;TST101!&quot;" in shown
    assert "<details><summary>" in shown


def test_events_of_a_day_a_page_at_a_time(taught: Taught, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.INSIGHTS_EVENTS_SHOWN", 3)
    monkeypatch.setattr("config.limits.INSIGHTS_EVENT_PAGES_MAX", 2)
    AnalyticsEvent.objects.bulk_create(
        AnalyticsEvent(
            user=taught.absent.user,
            event_id=f"e{number}",
            event_time=at(3, 23 if number == 6 else number),
            event_type=f"type{number}",
            course_id=taught.course.pk,
        )
        for number in range(7)
    )
    page = taught.day_url(taught.absent, day(3))
    first, second, beyond = (text_of(browser.get(page, {"p": number})) for number in (1, 2, 999))
    assert [f"type{n}" in first for n in range(7)] == [True] * 3 + [False] * 4
    assert [f"type{n}" in second for n in range(7)] == [False] * 3 + [True] * 3 + [False]
    assert "Later ones" in first
    assert "There are more events. An export has them all." in second
    assert "type3" in beyond
    for wrong in ("0", "-1", "x", "²", "9" * 5):
        assert "type0" in text_of(browser.get(page, {"p": wrong})), wrong


def test_reading_too_many_events_is_given_up(taught: Taught, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is as good as before."""
    monkeypatch.setattr("config.limits.INSIGHTS_EVENTS_MAX_MILLISECONDS", 1)
    monkeypatch.setattr("django.db.models.query.QuerySet._fetch_all", _slowly(AnalyticsEvent))
    page = taught.day_url(taught.through, day(1))
    assert "There are too many events to show this day here." in text_of(browser.get(page))
    assert len(learners_of(browser.get(taught.learners_url))) == 4


def _slowly(model: Any) -> Any:
    """Let the database take 50 ms for the rows of this model."""
    fetch_all = QuerySet._fetch_all

    def slow(queryset: Any) -> None:
        if queryset.model is model and queryset._result_cache is None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.05)")
        fetch_all(queryset)

    return slow


def test_the_pages_in_chinese_have_dates_and_figures(taught: Taught, browser: Client) -> None:
    for page in (LIST, taught.url, taught.learners_url, taught.learner_url(taught.through), taught.export_url):
        response = browser.get(page, HTTP_ACCEPT_LANGUAGE="zh-CN")
        assert response.status_code == 200
        assert '<html lang="zh-hans"' in response.content.decode()


def test_days_in_charts_are_named_as_each_language_does(taught: Taught, browser: Client) -> None:
    first, today = day(29), day(0)
    for language, label in (("en", f"{today:%b} {today.day}"), ("zh-CN", f"{today.month}月{today.day}日")):
        labels = browser.get(taught.url, HTTP_ACCEPT_LANGUAGE=language).context["days_chart"].labels
        assert labels[-1] == (label if first.year == today.year else str(today)), language


def test_the_menu_calls_the_list_as_the_list_does(taught: Taught, browser: Client) -> None:
    page = browser.get(LIST).content.decode()
    start = page.index('id="nav-sidebar-apps"')
    menu = page[start : page.index("</nav>", start)]
    assert "Course insights" in strip_tags(menu)
    assert "Course insights" in strip_tags(page.replace(menu, ""))


def test_counting_goes_on_while_pages_are_open(taught: Taught, browser: Client) -> None:
    send(taught.absent, taught.course, at(0, 0))
    assert len(learners_of(browser.get(taught.learners_url, {"show": "active"}))) == 1
    call_command("refresh_insights", verbosity=0)
    assert len(learners_of(browser.get(taught.learners_url, {"show": "active"}))) == 2
