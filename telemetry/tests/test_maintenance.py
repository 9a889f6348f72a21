"""`manage.py maintain_telemetry`"""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from accounts.models import User
from config import limits
from telemetry import partitions
from telemetry.models import AnalyticsEvent
from telemetry.partitions import EVENTS, MIRROR, sole_maintainer
from telemetry.tests.partitioned import (
    drop_partitions,
    make_event,
    make_month,
    month,
    name_of,
    partition_names,
    places,
    run,
    spread,
)
from tests.cast import make_actor
from tests.races import in_thread, run_at_once, wait_until_blocked
from updates.models import AdoptionDay

pytestmark = pytest.mark.django_db(transaction=True)

AHEAD = [name_of(offset) for offset in range(4)]
DEFAULT = f"{EVENTS}_default"
EXPIRED = AnalyticsEvent.TimeMark.EXPIRED


@pytest.fixture(autouse=True)
def _as_migrated(transactional_db: None) -> Iterator[None]:
    """Partitions outlive the emptying of the tables after a test."""
    yield
    drop_partitions()


@pytest.fixture
def user() -> User:
    return make_actor("learner").user


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after two tries, one right after the other."""
    monkeypatch.setattr(limits, "MAINTENANCE_LOCK_TRIES", 2)
    monkeypatch.setattr(limits, "MAINTENANCE_LOCK_PAUSE_SECONDS", 0.05)


def maintain(**options: Any) -> str:
    output = StringIO()
    call_command("maintain_telemetry", stdout=output, stderr=output, **options)
    return output.getvalue()


@contextmanager
def another_session() -> Iterator[Any]:
    """A connection of its own, in a transaction that is rolled back at the end."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            yield cursor
    finally:
        other.close()


def is_mirrored() -> bool:
    return bool(run("SELECT to_regclass(%s) IS NOT NULL", MIRROR)[0][0])


class Interruption(Exception):
    pass


@contextmanager
def interrupted_before(beginning: str) -> Iterator[None]:
    """Let the run fail right before it puts the mirror in place, or before another statement that begins so."""

    def interrupt(execute: Any, query: Any, *rest: Any) -> Any:
        text = query if isinstance(query, str) else query.as_string(connection.connection)
        if text.strip().startswith(beginning):
            raise Interruption
        return execute(query, *rest)

    with pytest.raises(Interruption), connection.execute_wrapper(interrupt):
        yield


def leave_mirror() -> None:
    with interrupted_before("SELECT (SELECT count(*)"):
        maintain()


# --- Months ahead -------------------------------------------------------------------------------------------------


def test_months_are_made_ahead() -> None:
    output = maintain()
    assert partition_names() == sorted([DEFAULT, *AHEAD])
    assert f"Made {AHEAD[3]}." in output
    assert not is_mirrored()


def test_again_changes_nothing(user: User) -> None:
    spread(user, [-2, 0], 3)
    maintain()
    before = run("SELECT oid, relname FROM pg_class ORDER BY oid")
    assert maintain().endswith("There was nothing to change.\n")
    assert run("SELECT oid, relname FROM pg_class ORDER BY oid") == before


def test_old_counts_of_versions_go() -> None:
    maintain()
    today = timezone.now().date()
    for days in (limits.ADOPTION_DAYS + 1, limits.ADOPTION_DAYS):
        AdoptionDay.objects.create(
            bundle_type="app_agents",
            scope_id="core",
            day=today - timedelta(days=days),
            version="1.0.0",
            offered_version="",
            slot=0,
        )

    assert "Deleted 1 old counts of versions, and 0 of devices not seen for as long." in maintain()

    assert AdoptionDay.objects.get().day == today - timedelta(days=limits.ADOPTION_DAYS)
    assert maintain().endswith("There was nothing to change.\n")


def test_quiet() -> None:
    assert maintain(verbosity=0) == ""
    assert maintain(verbosity=0) == ""


def test_a_month_has_what_the_table_has() -> None:
    maintain()
    constraints = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass ORDER BY 1"
    indexes = (
        "SELECT amname, indkey::text, indisunique FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " JOIN pg_am ON pg_am.oid = relam WHERE indrelid = %s::regclass AND indpred IS NULL ORDER BY 1"
    )
    for name in (*AHEAD, DEFAULT):
        assert run(constraints, name) == run(constraints, EVENTS)
        assert run(indexes, name) == run(indexes, EVENTS)
        assert run("SELECT reloptions FROM pg_class WHERE relname = %s", name) == [(None,)]
    assert ("brin", "3", False) in run(indexes, AHEAD[0])


def test_months_that_are_covered_are_left_out() -> None:
    run(f"CREATE TABLE {EVENTS}_wide PARTITION OF {EVENTS} FOR VALUES FROM (%s) TO (%s)", month(1), month(3))
    run(f"CREATE TABLE {EVENTS}_later PARTITION OF {EVENTS} FOR VALUES FROM (%s) TO (MAXVALUE)", month(4))
    maintain()
    assert partition_names() == sorted([DEFAULT, f"{EVENTS}_later", f"{EVENTS}_wide", name_of(0), name_of(3)])


def test_a_taken_name_is_told_and_the_others_are_made(user: User) -> None:
    run(f"CREATE TABLE {AHEAD[1]} (id int)")
    spread(user, [1], 2)
    with pytest.raises(CommandError, match=f"{AHEAD[1]} was not made: there is another table of that name"):
        maintain()
    assert partition_names() == sorted({DEFAULT, *AHEAD} - {AHEAD[1]})
    assert set(places().values()) == {"default"}
    run(f"DROP TABLE {AHEAD[1]}")
    maintain()
    assert "default" not in places().values()


def test_a_detached_month_is_not_touched(user: User) -> None:
    spread(user, [0], 2)
    maintain()
    run(f"ALTER TABLE {EVENTS} DETACH PARTITION {AHEAD[0]}")
    with pytest.raises(CommandError, match="Attach, rename or drop it"):
        maintain()
    assert run(f"SELECT count(*) FROM {AHEAD[0]}") == [(2,)]
    run(f"ALTER TABLE {EVENTS} ATTACH PARTITION {AHEAD[0]} FOR VALUES FROM (%s) TO (%s)", month(0), month(1))
    assert maintain().endswith("There was nothing to change.\n")


# --- Moving -------------------------------------------------------------------------------------------------------


def test_events_move_to_their_months(user: User) -> None:
    spread(user, [-30, -23, -1, 0, 3, 4, 700], 2)
    before = list(AnalyticsEvent.objects.order_by("event_id").values())
    output = maintain()
    assert "Events moved there from the default partition: 8." in output
    assert {event_id: place for event_id, place in places().items() if event_id.endswith(":0")} == {
        **{f"{offset}:0": name_of(offset).removeprefix(f"{EVENTS}_") for offset in (-23, -1, 0, 3)},
        "4:0": "default",
        "700:0": "default",
    }
    kept = [event for event in before if not event["event_id"].startswith("-30:")]  # they expired
    assert list(AnalyticsEvent.objects.order_by("event_id").values()) == kept


def test_the_first_and_the_last_moment_of_a_month(user: User) -> None:
    make_event(user, "first", month(-1))
    make_event(user, "last", month(0) - timedelta(microseconds=1))
    make_event(user, "next", month(0))
    maintain()
    months = [name_of(offset).removeprefix(f"{EVENTS}_") for offset in (-1, -1, 0)]
    assert [places()[event_id] for event_id in ("first", "last", "next")] == months


def test_many_batches(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAINTENANCE_BATCH_BLOCKS", 1)
    ids = spread(user, [-2, -1, 6], 100)
    maintain()
    assert places().keys() == set(ids)


def test_nothing_is_read_while_the_table_is_locked(user: User) -> None:
    """PostgreSQL says so for every partition that it takes in without reading it."""
    spread(user, [-1, 0, 9], 2)
    said: list[str] = []
    connection.ensure_connection()
    connection.connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
    run("SET client_min_messages = debug1")
    try:
        maintain()
    finally:
        run("RESET client_min_messages")
    implied = [line for line in said if line.endswith("is implied by existing constraints")]
    assert len(implied) == len([*AHEAD, name_of(-1), DEFAULT])
    assert not [line for line in said if line.startswith(("verifying table", "rewriting table"))]


def test_while_events_are_moved_all_are_there_and_repetitions_caught(user: User) -> None:
    spread(user, [-1, 7], 3)
    leave_mirror()
    assert is_mirrored()
    assert len(places()) == 6
    again = make_again(user, "-1:0")
    assert not again
    make_event(user, "new", month(-1) + timedelta(days=1))
    make_event(user, "new far", month(8))
    AnalyticsEvent.objects.filter(event_id="-1:1").delete()
    AnalyticsEvent.objects.filter(event_id="-1:2").update(payload={"changed": True})
    maintain()
    assert set(places()) == {"-1:0", "-1:2", "7:0", "7:1", "7:2", "new", "new far"}
    assert AnalyticsEvent.objects.get(event_id="-1:2").payload == {"changed": True}
    assert AnalyticsEvent.objects.get(event_id="new").payload == {"of": "new"}
    assert not is_mirrored()


def make_again(user: User, event_id: str) -> int:
    """Store an event again, as ingest does; return how many were new."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {EVENTS} (user_id, event_id, event_time, received_at, event_type, chapter_id, session_id,"
            f" payload) SELECT user_id, event_id, event_time, now(), 'again', '', '', '{{}}' FROM {EVENTS}"
            " WHERE user_id = %s AND event_id = %s ON CONFLICT (user_id, event_id, event_time) DO NOTHING",
            [user.pk, event_id],
        )
        return int(cursor.rowcount)


def test_a_learner_can_be_deleted_while_events_are_moved(user: User) -> None:
    spread(user, [-1], 3)
    make_event(make_actor("fellow").user, "of another", month(-1))
    leave_mirror()
    user.delete()
    maintain()
    assert set(places()) == {"of another"}


def test_an_event_that_is_being_deleted_is_not_copied(user: User) -> None:
    ids = spread(user, [-1], 3)
    with interrupted_before(f'INSERT INTO "{MIRROR}"'):
        maintain()
    with transaction.atomic():
        AnalyticsEvent.objects.filter(event_id=ids[0]).delete()
        maintenance = in_thread(maintain)
        wait_until_blocked()
    maintenance.result()
    assert set(places()) == set(ids[1:])


def test_a_month_that_expires_while_events_are_moved(user: User) -> None:
    """The mirror refuses events of a month that there was when it was made: so that month stays until all is moved."""
    spread(user, [-1], 2)
    make_month(-30)
    make_event(user, "late", month(-30), received_at=timezone.now(), time_mark=EXPIRED)
    leave_mirror()
    assert name_of(-30) in partition_names()
    with connection.execute_wrapper(refuse_to_count), pytest.raises(CommandError, match="No expired month was dropped"):
        maintain()
    make_event(user, "later", month(-30) + timedelta(days=1), received_at=timezone.now(), time_mark=EXPIRED)
    maintain()
    assert name_of(-30) not in partition_names()
    assert set(places()) == {"-1:0", "-1:1", "late", "later"}


def refuse_to_count(execute: Any, query: Any, *rest: Any) -> Any:
    if "SELECT (SELECT count(*)" in (query if isinstance(query, str) else query.as_string(connection.connection)):
        raise partitions.MaintenanceError("Refused.")
    return execute(query, *rest)


def test_a_mirror_of_other_months_is_made_anew(user: User) -> None:
    spread(user, [-1], 2)
    leave_mirror()
    spread(user, [-5], 2)
    maintain()
    assert name_of(-5) in partition_names()
    assert len(places()) == 4


def test_a_mirror_that_nobody_needs_is_dropped() -> None:
    leave_mirror()
    run(f"CREATE TABLE {EVENTS}_wide PARTITION OF {EVENTS} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)")
    assert maintain().endswith("There was nothing to change.\n")
    assert not is_mirrored()


def test_a_mirror_of_other_columns_is_made_anew(user: User) -> None:
    spread(user, [-1], 2)
    leave_mirror()
    run(f"ALTER TABLE {EVENTS} ADD COLUMN later int NOT NULL DEFAULT 7")
    try:
        make_event(user, "between", month(-1) + timedelta(days=3))
        maintain()
        assert len(places()) == 3
        assert run(f"SELECT DISTINCT later FROM {EVENTS}") == [(7,)]
    finally:
        run(f"ALTER TABLE {EVENTS} DROP COLUMN later")


def test_a_mirror_that_is_not_true_is_dropped(user: User) -> None:
    spread(user, [-1, 9], 2)
    leave_mirror()
    run(f"ALTER TABLE {DEFAULT} DISABLE TRIGGER {MIRROR}")
    run(f"DELETE FROM {DEFAULT} WHERE event_id = '9:0'")
    with pytest.raises(CommandError, match="the default partition has 3 events and its mirror 4"):
        maintain()
    assert not is_mirrored()
    assert partition_names() == [DEFAULT]
    maintain()
    assert set(places()) == {"-1:0", "-1:1", "9:1"}


def test_migrations_of_the_events_find_no_mirror() -> None:
    leave_mirror()
    call_command("migrate", "telemetry", verbosity=0)
    assert is_mirrored()
    call_command("migrate", "telemetry", "0001", fake=True, verbosity=0)
    try:
        assert not is_mirrored()
    finally:
        call_command("migrate", "telemetry", fake=True, verbosity=0)


# --- What expired -------------------------------------------------------------------------------------------------


def test_months_are_dropped_when_all_of_them_expired(user: User, settings: Any) -> None:
    settings.ANALYTICS_RETENTION_DAYS = (timezone.now() - month(-3)).days
    for offset in (-6, -5, -4, -3, -2):
        make_month(offset)
    spread(user, [-6, -5, -4, -3, -2], 2)
    output = maintain()
    assert partition_names() == sorted([DEFAULT, name_of(-3), name_of(-2), *AHEAD])
    assert {event_id.split(":")[0] for event_id in places()} == {"-3", "-2"}
    assert f"Dropped {name_of(-4)}.\n" in output


def test_the_last_day_of_a_month_counts(user: User, settings: Any) -> None:
    make_month(-4)
    settings.ANALYTICS_RETENTION_DAYS = (timezone.now() - month(-3)).days + 1
    maintain()
    assert name_of(-4) in partition_names()


def test_expired_months_of_any_name_and_width_are_dropped() -> None:
    run(f"CREATE TABLE {EVENTS}_old PARTITION OF {EVENTS} FOR VALUES FROM (MINVALUE) TO (%s)", month(-40))
    maintain()
    assert partition_names() == sorted([DEFAULT, *AHEAD])


def test_what_was_too_old_on_arrival_is_kept_as_long_as_its_receipt(user: User, settings: Any) -> None:
    settings.ANALYTICS_RETENTION_DAYS = 62
    make_month(-5)
    now = timezone.now()
    make_event(user, "in time", month(-5))
    make_event(user, "late", month(-5), received_at=now, time_mark=EXPIRED)
    make_event(user, "late long ago", month(-5), received_at=now - timedelta(days=63), time_mark=EXPIRED)
    assert f"Dropped {name_of(-5)}. Kept in the default partition, because they arrived late: 1.\n" in maintain()
    assert places() == {"late": "default"}
    settings.ANALYTICS_RETENTION_DAYS = 61
    assert maintain().endswith("There was nothing to change.\n")


def test_a_month_with_many_late_events_loses_the_others(
    user: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LATE_EVENTS_MOVED_MAX", 2)
    make_month(-30)
    spread(user, [-30], 5)
    for number in range(3):
        make_event(user, f"late{number}", month(-30), received_at=timezone.now(), time_mark=EXPIRED)
    assert f"{name_of(-30)} stays, because many of its events arrived late. Deleted of the others: 5." in maintain()
    assert set(places()) == {"late0", "late1", "late2"}
    assert name_of(-30) in partition_names()


def test_the_default_partition_loses_what_was_received_too_long_ago(user: User, settings: Any) -> None:
    settings.ANALYTICS_RETENTION_DAYS = 100
    now, long_ago = timezone.now(), timezone.now() - timedelta(days=101)
    make_event(user, "expired", long_ago)
    make_event(user, "late", long_ago, received_at=now, time_mark=EXPIRED)
    make_event(user, "ahead", now + timedelta(days=999), received_at=now)
    make_event(user, "ahead long ago", now + timedelta(days=999), received_at=long_ago)
    assert "Expired events deleted from the default partition: 2." in maintain()
    assert set(places()) == {"late", "ahead"}


# --- Two at once, and in use --------------------------------------------------------------------------------------


def test_a_second_one_leaves_it_to_the_first() -> None:
    with another_session() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [partitions._MAINTENANCE_LOCK])
        assert "Another maintain_telemetry is at work" in maintain()
        assert partition_names() == [DEFAULT]
    wait_until_free()
    maintain()
    assert len(partition_names()) == 5


def test_two_at_once(user: User) -> None:
    ids = spread(user, [-3, -2, -1, 0, 8], 50)
    outputs = run_at_once(maintain, maintain, maintain)
    assert any("Made" in output for output in outputs)
    assert places().keys() == set(ids)
    assert maintain().endswith("There was nothing to change.\n")


@pytest.mark.usefixtures("impatient")
def test_a_long_read_keeps_it_from_changing_anything(user: User) -> None:
    spread(user, [-1], 2)
    make_month(-40)
    with another_session() as other:
        other.execute(f"SELECT count(*) FROM {EVENTS}")
        with pytest.raises(CommandError, match="The table was in use at each of 2 tries") as refusal:
            maintain()
        assert "No expired month was dropped" in str(refusal.value)
        assert partition_names() == sorted([DEFAULT, name_of(-40)])
        assert len(places()) == 2
    maintain()
    assert len(places()) == 2
    assert "default" not in places().values()
    make_month(-40)
    with another_session() as other:
        other.execute(f"SELECT count(*) FROM {EVENTS}")
        with pytest.raises(CommandError, match=f"{name_of(-40)} was not dropped: The table was in use"):
            maintain()
    assert name_of(-40) in partition_names()


def test_ingest_waits_only_a_moment_for_one_that_waits(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAINTENANCE_LOCK_TRIES", 20)
    monkeypatch.setattr(limits, "MAINTENANCE_LOCK_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "MAINTENANCE_STATEMENT_MILLISECONDS", 10_000)
    spread(user, [-1], 2)
    with another_session() as other:
        other.execute(f"SELECT count(*) FROM {EVENTS}")
        maintenance = in_thread(maintain)
        waits: list[float] = []
        while not maintenance.done():
            began = time.monotonic()
            make_event(user, f"during{len(waits)}", month(0))
            waits.append(time.monotonic() - began)
            if len(waits) == 200:
                other.execute("ROLLBACK")
        assert max(waits) < 1
    maintenance.result()
    assert len(places()) == 2 + len(waits)


def test_database_away(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", {"options": "-c no_such_parameter=1"})
        with pytest.raises(CommandError, match=r"The database can't be used: .*no_such_parameter"):
            maintain()
        connection.close()


# --- Killed -------------------------------------------------------------------------------------------------------


def wait_until_free() -> None:
    """Wait until the server has noticed that whoever held the right to maintain is gone."""
    for _ in range(500):
        with sole_maintainer() as granted:
            if granted:
                return
        time.sleep(0.02)
    raise AssertionError("Somebody still holds the lock of maintenance.")


def statements_of_a_run() -> list[str]:
    """Run the command; return its statements without what differs in batches and months."""
    statements: list[str] = []

    def note(execute: Any, query: Any, *rest: Any) -> Any:
        text = query if isinstance(query, str) else query.as_string(connection.connection)
        statements.append(re.sub(r"'[^']*'|\d+", "", text))
        return execute(query, *rest)

    with connection.execute_wrapper(note):
        maintain()
    return statements


def run_and_kill(before: int) -> None:
    """Run the command in a process that is killed before the statement of this index."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        left = before

        def kill(execute: Any, *call: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return execute(*call)

        with connection.execute_wrapper(kill):
            maintain()
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def store_what_a_run_has_to_do(user: User) -> set[str]:
    """Return the ids of the events that have to be there afterwards."""
    drop_partitions()
    make_month(-30)
    make_event(user, "late", month(-30), received_at=timezone.now(), time_mark=EXPIRED)
    spread(user, [-30], 2)
    return {"late", *spread(user, [-1, 9], 30)}


def test_killed_at_each_step(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAINTENANCE_BATCH_BLOCKS", 1)
    monkeypatch.setattr(limits, "EVENT_MONTHS_AHEAD", 0)
    store_what_a_run_has_to_do(user)
    statements = statements_of_a_run()
    steps = sorted({statements.index(statement) for statement in statements})
    assert len(steps) > 30
    for step in steps:
        expected = store_what_a_run_has_to_do(user)
        run_and_kill(before=step)
        make_event(user, "meanwhile", month(-1) + timedelta(days=9))
        make_event(user, "meanwhile far", month(9) + timedelta(days=9))
        AnalyticsEvent.objects.filter(event_id__in=["-1:7", "9:7"]).delete()
        wait_until_free()
        maintain()
        assert places().keys() == (expected | {"meanwhile", "meanwhile far"}) - {"-1:7", "9:7"}, statements[step]
        assert set(partition_names()) == {DEFAULT, name_of(-1), name_of(0)}, statements[step]
        assert not is_mirrored()
