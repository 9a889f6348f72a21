"""The database of `bench.insights` fits the tables, and every page that it measures is there."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db.models import Count
from django.test import Client

from accounts.models import User
from bench.admin_database import STAFF
from bench.insights import list_targets, show_exports, show_refresh, viewers
from bench.insights_database import EVENT_TYPES, Sizes, fill
from bench.plans import explain
from courses.models import Enrollment
from telemetry.models import AnalyticsEvent, CourseDay, CourseStanding, TouchedDay
from telemetry.partitions import list_partitions
from telemetry.tests.partitioned import drop_partitions

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_migrated(transactional_db: None) -> Iterator[None]:
    """What a migration made may be gone after an earlier test; partitions outlive the emptying of the tables."""
    group, _is_new = Group.objects.get_or_create(name="Instructors")
    group.permissions.set(Permission.objects.filter(codename__in=["view_courseinsights", "export_courseinsights"]))
    yield
    drop_partitions()


def test_a_small_one_is_made_and_every_page_answers() -> None:
    sizes = Sizes.at(0)
    fill(sizes, quiet=True)
    assert User.objects.count() == STAFF + sizes.learners
    assert AnalyticsEvent.objects.count() == sizes.events
    assert set(AnalyticsEvent.objects.values_list("time_mark", flat=True)) == set(AnalyticsEvent.TimeMark.values)
    assert set(AnalyticsEvent.objects.values_list("event_type", flat=True)) == set(EVENT_TYPES)
    assert len(list_partitions()) > 6
    [most, *_others] = Enrollment.objects.values("course").annotate(learners=Count("pk")).order_by("-learners")
    assert most["learners"] == sizes.learners

    marked = TouchedDay.objects.count()
    call_command("refresh_insights", verbosity=0)
    assert CourseDay.objects.count() == marked > 0
    assert CourseStanding.objects.filter(stopped__gt=0, finished__gt=0, active_learners__gt=0).exists()

    for _name, user in viewers():
        client = Client()
        client.force_login(user)
        targets = list(list_targets(user))
        answers = {target.name: client.get(target.url).status_code for target in targets}
        assert {name: status for name, status in answers.items() if status != 200} == {}
        assert len(answers) == len(targets)


def test_what_is_measured_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    fill(Sizes.at(0), quiet=True)
    show_refresh()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    days = {row[1].strip(): row[3].strip() for row in rows if len(row) == 9}
    assert int(days["from nothing"].replace(",", "")) > 0
    assert days["nothing new"] == "0"
    assert int(days["10,000 events of the last hour and 100 late ones"]) > 100

    show_exports("events.csv")
    exported = capsys.readouterr().out
    assert "| events.csv |" in exported
    assert "| events.csv.gz |" in exported
    assert "**" not in exported

    assert len(explain("SELECT count(*) FROM telemetry_analyticsevent").whole_partitions) > 6
    assert explain("SELECT count(*) FROM telemetry_courseday").whole_partitions == []


def test_the_whole_has_the_size_that_the_insights_have_to_bear() -> None:
    assert Sizes.at(1) == Sizes(learners=10_000, courses=50, events=10_000_000)
