"""Which versions devices have: what checks record, and what is read of it."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.db.models import Sum
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import DeviceSession
from config import limits
from courses.models import Chapter, Enrollment
from tests.cast import Actor, make_actor, open_session
from tests.races import in_parallel, run_at_once
from updates.adoption import (
    RolloutProgress,
    activity_by_day,
    rollout_progress,
    rollouts_progress,
    versions_by_day,
)
from updates.models import DEVICE_SCOPE, OTHER_VERSION, AdoptionDay, BundleRelease, DeviceBundle
from updates.services.adoption import _Memory, memory, prune_adoption
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, publish, published, withdraw

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("calm_catalogue")]


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test shall begin before midnight and end after it."""
    at(monkeypatch, 0)


def at(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Make it noon of so many days from today."""
    moment = NOON + timedelta(days=days)
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)


NOON = datetime.now(tz=timezone.get_fixed_timezone(0)).replace(hour=12, minute=0)


def active_devices_by_day(*, days: int) -> list[tuple[date, int]]:
    return [(activity.day, activity.devices) for activity in activity_by_day(days=days)]


def checks_by_day(*, days: int) -> list[tuple[date, int]]:
    return [(activity.day, activity.checks) for activity in activity_by_day(days=days)]


def count_devices_seen(*, days: int) -> int:
    """Count the devices that checked anything in the last days, each once."""
    bundle_type, scope_id = DEVICE_SCOPE
    since = timezone.now().date() - timedelta(days=days - 1)
    rows = AdoptionDay.objects.filter(bundle_type=bundle_type, scope_id=scope_id, day__gte=since)
    return int(rows.aggregate(number=Sum("latest"))["number"] or 0)


def check_app(actor: Actor, app: Any = "", shared: Any = "", **more: Any) -> None:
    installed = {"app_agents": app, "experts_shared": shared, **more}
    response = actor.post("/v1/updates/check-app", {"installed": installed})
    assert response.status_code == 200, response.content


def check_chapter(
    actor: Actor, chapter: Chapter, version: Any = None, *, by_uuid: bool = False, experts: Any = None
) -> None:
    body = {
        "course_id": str(chapter.course_id),
        "chapter_id": str(chapter.pk) if by_uuid else chapter.chapter_code,
        "installed": {"chapter_bundle": version, "experts": experts or {}},
    }
    response = actor.post("/v1/updates/check-chapter", body)
    assert response.status_code == 200, response.content


def told(actor: Actor) -> dict[tuple[str, str], tuple[str, str]]:
    """What is recorded of the device: version and offered version by scope."""
    rows = DeviceBundle.objects.filter(session=actor.session).exclude(bundle_type=DEVICE_SCOPE[0])
    return {(row.bundle_type, row.scope_id): (row.version, row.offered_version) for row in rows}


def today(scope: tuple[str, str]) -> dict[str, int]:
    found = versions_by_day(bundle_type=scope[0], scope_id=scope[1])
    return {version: numbers[-1] for version, numbers in found.devices.items() if numbers[-1]}


def assert_counts_are_those_of_the_devices() -> None:
    """The counts say of the last checks what a walk over all devices would."""
    walked: dict[tuple[Any, ...], int] = {}
    for row in DeviceBundle.objects.all():
        key = (row.bundle_type, row.scope_id, row.last_seen_on, row.counted_as, row.offered_version)
        walked[key] = walked.get(key, 0) + 1
    names = ("bundle_type", "scope_id", "day", "version", "offered_version")
    summed = AdoptionDay.objects.values_list(*names).annotate(number=Sum("latest"))
    assert {tuple(row[:5]): row[5] for row in summed if row[5]} == walked


# --- What a check records ---------------------------------------------------------------------------------------


def test_a_check_of_the_app_records_what_is_installed_and_offered(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "1.1.0")
    published(SHARED, "2.0.0")

    check_app(learner, "1.0.0", "2.0.0")

    assert told(learner) == {APP: ("1.0.0", "1.1.0"), SHARED: ("2.0.0", "")}
    assert (today(APP), today(SHARED)) == ({"1.0.0": 1}, {"2.0.0": 1})


def test_a_check_of_a_chapter_records_it_under_its_own_scope_however_it_is_addressed(
    learner: Actor, chapter: Chapter
) -> None:
    published(("experts", "alpha"), "1.0.0")
    published(("experts", "unneeded"), "1.0.0")
    published(chapter_scope(chapter), "1.0.0", experts=("alpha", "beta"))
    expected = {("experts", "alpha"): ("1.0.0", ""), ("experts", "beta"): ("", "1.0.0")}

    check_chapter(learner, chapter, "1.0.0", experts={"alpha": "1.0.0", "unneeded": "1.0.0", "nobody": "1"})
    assert told(learner) == {chapter_scope(chapter): ("1.0.0", ""), **expected}

    check_chapter(learner, chapter, None, by_uuid=True, experts={"alpha": "1.0.0"})
    assert told(learner) == {chapter_scope(chapter): ("", "1.0.0"), **expected}
    assert today(chapter_scope(chapter)) == {"": 1}


@pytest.mark.parametrize(
    ("sent", "version", "counted_as"),
    [
        (None, "", ""),
        ("", "", ""),
        (7, "", ""),
        (["1.0.0"], "", ""),
        ({"1.0.0": 1}, "", ""),
        ("0.9.0-dev+3", "0.9.0-dev+3", OTHER_VERSION),
        ("1" * 64, "1" * 64, OTHER_VERSION),
        ("1" * 65, "", OTHER_VERSION),
        ("1.0.0 ", "", OTHER_VERSION),
        ("<script>", "", OTHER_VERSION),
        ("１.0.0", "", OTHER_VERSION),
        ("1.0.0\n", "", OTHER_VERSION),
    ],
)
def test_only_what_can_be_a_version_is_stored(learner: Actor, sent: Any, version: str, counted_as: str) -> None:
    published(APP, "1.0.0")

    check_app(learner, sent)

    assert told(learner)[APP] == (version, "1.0.0")
    assert today(APP) == {counted_as: 1}


def test_a_hostile_client_fills_no_table(learner: Actor) -> None:
    published(APP, "1.0.0")
    for number in range(20):
        check_app(learner, f"9.9.{number}", **{f"family{number}": "1.0.0", "experts": {"a": "1"}, "device": "1.0.0"})

    assert set(told(learner)) == {APP, SHARED}
    assert DeviceBundle.objects.count() == 3
    assert AdoptionDay.objects.count() == 3
    assert today(APP) == {OTHER_VERSION: 1}


def test_a_withdrawn_version_is_counted_as_itself(learner: Actor) -> None:
    published(APP, "1.0.0")
    bad = published(APP, "1.1.0")
    withdraw(bad)

    check_app(learner, "1.1.0")

    assert today(APP) == {"1.1.0": 1}
    assert told(learner)[APP] == ("1.1.0", "1.0.0")


def test_a_refused_check_records_nothing(outsider: Actor, chapter: Chapter) -> None:
    body = {"course_id": str(chapter.course_id), "chapter_id": chapter.chapter_code}

    assert outsider.post("/v1/updates/check-chapter", body).status_code == 403

    assert not DeviceBundle.objects.exists()


# --- What it costs ----------------------------------------------------------------------------------------------


def test_news_cost_one_statement_and_nothing_new_costs_none(
    learner: Actor,
    chapter: Chapter,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    published(APP, "1.0.0")
    published(chapter_scope(chapter), "1.0.0", experts=("alpha", "beta"))

    def costs(app: int, of_chapter: int, version: str = "1.0.0") -> None:
        with django_assert_num_queries(app):
            check_app(learner, version)
        with django_assert_num_queries(of_chapter):
            check_chapter(learner, chapter, version)

    check_app(make_actor("somebody"))  # so that the catalogue has been read
    costs(2, 3)
    costs(1, 2)
    costs(2, 3, "")
    costs(1, 2, "")
    at(monkeypatch, 1)
    costs(2, 3, "")
    costs(1, 2, "")
    monkeypatch.setattr(limits, "ADOPTION_MEMORY_SECONDS", 0)
    costs(2, 3, "")


def test_the_memory_is_bounded_and_forgets_what_was_used_least_lately(
    learner: Actor,
    fellow: Actor,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    monkeypatch.setattr(limits, "ADOPTION_MEMORY_MAX", 2)
    check_app(learner)
    check_app(fellow)
    check_app(learner)
    check_app(make_actor("newcomer"))

    with django_assert_num_queries(1):
        check_app(learner)
    with django_assert_num_queries(2):
        check_app(fellow)


# --- Days -------------------------------------------------------------------------------------------------------


def test_the_last_check_of_a_day_counts_and_each_device_once(
    learner: Actor, fellow: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0")
    at(monkeypatch, -2)
    check_app(learner, "1.0.0")
    check_app(fellow, "")
    at(monkeypatch, 0)
    check_app(learner, "1.0.0")
    check_app(learner, "2.0.0")
    check_app(learner, "2.0.0")

    found = versions_by_day(bundle_type=APP[0], scope_id=APP[1], days=3)

    assert found.days == [NOON.date() - timedelta(days=ago) for ago in (2, 1, 0)]
    assert list(found.devices.items()) == [("2.0.0", [0, 0, 1]), ("1.0.0", [1, 0, 0]), ("", [1, 0, 0])]
    assert active_devices_by_day(days=3) == list(zip(found.days, [2, 0, 1], strict=True))
    assert count_devices_seen(days=2) == 1
    assert count_devices_seen(days=30) == 2
    assert_counts_are_those_of_the_devices()


def test_versions_come_in_semantic_order_and_what_is_none_last(learner: Actor) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        published(APP, version)
    for number, version in enumerate(("", "1.9.0", "dev", "1.10.0", "1.2.0")):
        check_app(make_actor(f"learner{number}"), version)

    found = versions_by_day(bundle_type=APP[0], scope_id=APP[1])

    assert list(found.devices) == ["1.10.0", "1.9.0", "1.2.0", OTHER_VERSION, ""]


def test_a_worker_whose_clock_is_behind_takes_no_day_back(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    published(APP, "1.0.0")
    check_app(learner, "1.0.0")
    at(monkeypatch, -1)
    check_app(learner, "")

    at(monkeypatch, 0)
    assert today(APP) == {"1.0.0": 1}
    assert DeviceBundle.objects.get(session=learner.session, bundle_type=APP[0]).last_seen_on == NOON.date()
    assert_counts_are_those_of_the_devices()


def test_the_first_and_the_last_day_of_a_device_are_kept(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (-5, -1):
        at(monkeypatch, day)
        check_app(learner)

    row = DeviceBundle.objects.get(session=learner.session, bundle_type=APP[0])
    assert row.first_seen_on == NOON.date() - timedelta(days=5)
    assert row.last_seen_on == NOON.date() - timedelta(days=1)


def test_checks_are_written_with_the_next_record(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    check_app(learner)
    for _ in range(3):
        check_app(learner)
    assert checks_by_day(days=1) == [(NOON.date(), 1)], "those with nothing new wait in memory"

    check_app(learner, "dev")
    assert checks_by_day(days=1) == [(NOON.date(), 1)], "a worker writes them every ten seconds at most"

    monkeypatch.setattr(limits, "ADOPTION_CHECKS_SECONDS", 0)
    check_app(learner, "")
    assert [(entry.devices, entry.checks) for entry in activity_by_day(days=2)] == [(0, 0), (1, 6)]


# --- Rollouts ---------------------------------------------------------------------------------------------------


def test_the_progress_of_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    old = published(APP, "1.0.0")
    devices = [make_actor(f"learner{number}") for number in range(6)]
    at(monkeypatch, -40)
    check_app(devices[5], "1.0.0")
    at(monkeypatch, -1)
    for device in devices[:4]:
        check_app(device, "1.0.0")
    assert rollout_progress(release=old) == RolloutProgress(seen=4, installed=4, behind=0)

    at(monkeypatch, 0)
    new = published(APP, "2.0.0")
    assert rollout_progress(release=new) == RolloutProgress(seen=4, installed=0, behind=0)
    for device in devices[:3]:
        check_app(device, "1.0.0")
    check_app(devices[0], "2.0.0")
    check_app(devices[4], "")

    progress = rollout_progress(release=new)
    assert progress == RolloutProgress(seen=5, installed=1, behind=3)
    assert progress.offered == 4

    withdraw(new)
    check_app(devices[0], "2.0.0")
    check_app(devices[1], "1.0.0")
    check_app(devices[2], "1.0.0")
    check_app(devices[4], "1.0.0")
    assert rollout_progress(release=new) == RolloutProgress(seen=5, installed=1, behind=0)
    assert rollout_progress(release=old) == RolloutProgress(seen=5, installed=4, behind=1)


def test_the_progress_of_many_releases_is_one_query(
    learner: Actor, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    releases = [published(APP, "1.0.0"), published(SHARED, "1.0.0"), published(chapter_scope(chapter), "1.0.0")]
    unseen = draft(APP, "2.0.0")
    check_app(learner, "1.0.0", "")
    check_chapter(learner, chapter, "dev")

    with django_assert_num_queries(1):
        progress = rollouts_progress(releases=[*releases, unseen])

    assert [(entry.seen, entry.installed, entry.behind) for entry in progress.values()] == [
        (1, 1, 0), (1, 0, 1), (1, 0, 1), (1, 0, 0),
    ]  # fmt: skip
    assert rollouts_progress(releases=[]) == {}


# --- Sessions ---------------------------------------------------------------------------------------------------


def log_in_again(actor: Actor, **ended: Any) -> Actor:
    DeviceSession.objects.filter(pk=actor.session.pk).update(**(ended or {"superseded_at": timezone.now()}))
    return open_session(actor.user, device_id=actor.session.device_id)


@pytest.mark.parametrize("how", ["superseded_at", "revoked_at"])
def test_a_device_that_logs_in_again_stays_one_device(
    learner: Actor, chapter: Chapter, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    published(APP, "1.0.0")
    at(monkeypatch, -3)
    check_app(learner, "")
    check_chapter(learner, chapter)
    at(monkeypatch, 0)
    check_app(learner, "")

    again = log_in_again(learner, **{how: timezone.now()})
    check_app(again, "1.0.0")

    assert today(APP) == {"1.0.0": 1}
    assert active_devices_by_day(days=1)[0][1] == 1
    assert count_devices_seen(days=30) == 1
    assert set(told(again)) == {APP, SHARED}
    assert set(told(learner)) == {chapter_scope(chapter)}, "what the device has of other scopes is not forgotten"
    assert_counts_are_those_of_the_devices()


def test_other_devices_and_other_people_stay_beside_it(learner: Actor, fellow: Actor) -> None:
    other_device = open_session(learner.user, device_id="another")
    same_device = open_session(fellow.user, device_id=learner.session.device_id)
    for actor in (learner, other_device, same_device):
        check_app(actor)
        log_in_again(actor)

    check_app(open_session(learner.user, device_id="a third"))

    assert today(APP) == {"": 4}


def test_a_superseded_session_speaks_for_no_device(learner: Actor) -> None:
    again = log_in_again(learner)
    check_app(again, "")
    learner.session.refresh_from_db()

    check_app(learner, "dev")

    assert today(APP) == {"": 1}
    assert told(learner) == {}


def test_a_deleted_session_takes_its_rows_along(learner: Actor) -> None:
    check_app(learner)

    learner.session.delete()

    assert not DeviceBundle.objects.exists()


# --- Failures ---------------------------------------------------------------------------------------------------


@contextmanager
def failing_records() -> Iterator[None]:
    def fail(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "updates_devicebundle" in sql:
            raise OperationalError("out of disk\nand more")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        yield


def test_a_failed_record_fails_no_check_and_is_logged_once(
    learner: Actor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "ADOPTION_CHECKS_SECONDS", 0)
    monkeypatch.setattr(limits, "ADOPTION_PAUSE_SECONDS", 0)
    published(APP, "1.0.0")
    with failing_records(), caplog.at_level(logging.WARNING):
        check_app(learner, "1.0.0")
        check_app(learner, "1.0.0")

    assert [record.getMessage() for record in caplog.records if record.name == "updates.services.adoption"] == [
        "Which versions a device has could not be recorded: out of disk"
    ]
    assert today(APP) == {}

    check_app(learner, "1.0.0")

    assert today(APP) == {"1.0.0": 1}
    assert checks_by_day(days=1)[0][1] == 3


def test_after_a_failure_checks_wait_for_no_record(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    published(APP, "1.0.0")
    with failing_records():
        check_app(learner, "1.0.0")

    check_app(learner, "1.0.0")
    assert today(APP) == {}, "it pauses"

    monkeypatch.setattr(limits, "ADOPTION_PAUSE_SECONDS", 0)
    check_app(learner, "1.0.0")
    assert today(APP) == {"1.0.0": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "held",
    [
        "SELECT FROM updates_devicebundle FOR UPDATE",
        "SELECT FROM updates_adoptionday FOR UPDATE",
        "LOCK updates_devicebundle IN SHARE MODE",  # as while an index is made
        "LOCK updates_adoptionday IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_a_check_waits_for_no_lock_for_long(learner: Actor, monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    monkeypatch.setattr(limits, "ADOPTION_LOCK_WAIT_MILLISECONDS", 50)
    monkeypatch.setattr(limits, "ADOPTION_PAUSE_SECONDS", 0)
    published(APP, "1.0.0")
    check_app(learner, "")
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(held)
            with connection.cursor() as bound:  # a check that waits for ever would end here, and be red
                bound.execute("SET statement_timeout = '5s'")
            began = time.monotonic()
            check_app(learner, "1.0.0")
            assert time.monotonic() - began < 4
    finally:
        other.close()
        with connection.cursor() as bound:
            bound.execute("RESET statement_timeout")
    assert today(APP) == {"": 1}

    check_app(learner, "1.0.0")

    assert today(APP) == {"1.0.0": 1}
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",), "the bound is the statement's only"


def test_a_fork_leaves_the_child_without_locks_and_without_its_parents_counts(learner: Actor) -> None:
    check_app(learner)
    check_app(learner)
    with memory._lock:
        child = os.fork()
        if child == 0:
            free = memory._lock.acquire(timeout=2)
            os._exit(0 if free and not memory._checks and not memory._known else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert sum(memory._checks.values()) == 1


# --- At once ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_many_devices_at_once_are_all_counted(
    chapter: Chapter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one slot all of them want the same rows; in another order of rows some would lock each other out."""
    monkeypatch.setattr(limits, "ADOPTION_SLOTS_OF_EVERYBODY", 1)
    monkeypatch.setattr(limits, "ADOPTION_SLOTS", 1)
    monkeypatch.setattr(limits, "ADOPTION_LOCK_WAIT_MILLISECONDS", 60_000)
    published(APP, "1.0.0")
    published(SHARED, "1.0.0")
    published(chapter_scope(chapter), "1.0.0", experts=("alpha", "beta"))
    actors = [make_actor(f"learner{number}") for number in range(12)]
    Enrollment.objects.bulk_create(Enrollment(user=actor.user, course=chapter.course) for actor in actors)
    steps = ("", "dev", "1.0.0")

    def use(index: int) -> None:
        actor = actors[index]
        for version in steps:
            for _ in range(2):
                check_app(actor, version, steps[index % 3])
                check_chapter(actor, chapter, version, experts={"beta": version})

    in_parallel(12, use)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert today(APP) == today(chapter_scope(chapter)) == today(("experts", "beta")) == {"1.0.0": 12}
    assert today(SHARED) == {"": 4, OTHER_VERSION: 4, "1.0.0": 4}
    assert active_devices_by_day(days=1)[0][1] == 12
    assert_counts_are_those_of_the_devices()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round_", range(5))
def test_one_device_that_says_different_things_at_once_ends_in_one_of_them(
    learner: Actor, monkeypatch: pytest.MonkeyPatch, round_: int
) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0")
    versions = ("", "1.0.0", "2.0.0", "dev")

    in_parallel(8, lambda index: check_app(learner, versions[index % 4]))

    assert sum(today(APP).values()) == 1
    assert_counts_are_those_of_the_devices()
    check_app(learner, "1.0.0")
    assert today(APP) == {"1.0.0": 1}, "what was said at once is not remembered as known"
    check_app(learner, "2.0.0")
    assert today(APP) == {"2.0.0": 1}


@pytest.mark.django_db(transaction=True)
def test_checks_of_a_new_login_at_once_take_the_device_over_once(
    learner: Actor, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADOPTION_MEMORY_SECONDS", 0)
    published(APP, "1.0.0")
    published(chapter_scope(chapter), "1.0.0", experts=("alpha", "beta"))
    check_app(learner, "")
    check_chapter(learner, chapter)
    again = log_in_again(learner)

    run_at_once(*[lambda: check_app(again, "1.0.0"), lambda: check_chapter(again, chapter, "1.0.0")] * 4)

    assert today(APP) == today(chapter_scope(chapter)) == {"1.0.0": 1}
    assert active_devices_by_day(days=1)[0][1] == 1
    assert told(learner) == {}
    assert_counts_are_those_of_the_devices()


def test_a_worker_forgets_what_two_checks_of_a_device_recorded_at_once() -> None:
    """Which of them came last at the database, it can't know."""
    worker = _Memory()
    first, second = worker.claim(b"device", b"old"), worker.claim(b"device", b"new")

    worker.settle(b"device", second, b"new")
    worker.settle(b"device", first, b"old")

    assert worker.claim(b"device", b"old") is not None
    assert worker.claim(b"device", b"new") is not None


# --- Pruning ----------------------------------------------------------------------------------------------------


def test_what_is_older_than_is_kept_goes(learner: Actor, fellow: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, -limits.ADOPTION_DAYS - 1)
    check_app(fellow)
    check_app(learner)
    at(monkeypatch, -limits.ADOPTION_DAYS)
    check_app(learner)
    at(monkeypatch, 0)

    counts, devices = prune_adoption()

    assert counts > 0
    assert devices == 3
    assert set(AdoptionDay.objects.values_list("day", flat=True)) == {days_ago(limits.ADOPTION_DAYS)}
    assert told(fellow) == {}
    assert set(told(learner)) == {APP, SHARED}
    assert prune_adoption() == (0, 0)


def days_ago(days: int) -> date:
    return NOON.date() - timedelta(days=days)


def test_a_publication_counts_no_device(learner: Actor) -> None:
    publish(draft(APP, "1.0.0"))

    assert today(APP) == {}
    assert rollout_progress(release=BundleRelease.objects.get()) == RolloutProgress(seen=0, installed=0, behind=0)
