"""Exports as a stream: one moment of the table, in order, with little memory, and gone when nobody reads on."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.http import StreamingHttpResponse

from config.tests.processes import eventually
from courses.models import Course
from telemetry.exports import Format, Selection, estimate_rows, stream
from telemetry.tests.exported import NOON, fill, make_event, read_back
from telemetry.tests.partitioned import drop_partitions, make_month, month, run, spread
from tests.cast import Actor
from tests.live import BASE_DIR, clean_environment, test_database_url

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _as_migrated(transactional_db: None) -> Iterator[None]:
    yield
    drop_partitions()


def ids(selection: Selection | None = None) -> list[str]:
    content = b"".join(stream(Format.NDJSON, selection or Selection(), identify=True))
    return [row["event_id"] for row in read_back(content, Format.NDJSON)]


def other_sessions() -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return int(run(f"{query} AND backend_type = 'client backend'")[0][0])


# --- Order and snapshot -------------------------------------------------------------------------------------------


def test_in_order_of_time_over_all_partitions(learner: Actor, fellow: Actor) -> None:
    for offset in (0, -1, 2):
        make_month(offset)
    first, second = sorted([learner.user, fellow.user], key=lambda user: user.pk)
    expected = []
    for offset in (-3, -1, 0, 1, 2, 5):
        for minute in range(3):
            time = month(offset) + timedelta(minutes=minute)
            expected += [
                (time, user, f"{offset}:{minute}:{place}") for place, user in enumerate([first, first, second])
            ]
    for time, user, event_id in reversed(expected):
        make_event(user, event_id, event_time=time)
    assert ids() == [event_id for _, _, event_id in expected]


def test_borders_of_time_and_of_months(learner: Actor) -> None:
    make_month(0)
    moment = timedelta(microseconds=1)
    for name, time in (
        ("last", month(0) - moment),
        ("first", month(0)),
        ("end", month(1) - moment),
        ("next", month(1)),
    ):
        make_event(learner.user, name, event_time=time)
    assert ids() == ["last", "first", "end", "next"]
    assert ids(Selection(since=month(0), until=month(1))) == ["first", "end"]
    assert ids(Selection(since=month(0) + moment)) == ["end", "next"]
    assert ids(Selection(until=month(0))) == ["last"]


def test_an_odd_partition_hinders_nothing(learner: Actor) -> None:
    odd = "telemetry_analyticsevent_odd"
    run(f"CREATE TABLE {odd} PARTITION OF telemetry_analyticsevent FOR VALUES FROM ('0044-03-15 BC') TO ('1000-01-01')")
    try:
        make_event(learner.user, "one")
        assert ids() == ["one"]
    finally:
        run(f"DROP TABLE {odd}")


def test_what_comes_in_meanwhile_is_not_seen(learner: Actor, course: Course) -> None:
    make_month(1)
    fill(learner.user, course, 600)
    make_event(learner.user, "next month", event_time=month(1))
    export = stream(Format.NDJSON, Selection(), identify=True)
    parts = iter(export)
    first = next(parts)
    make_event(learner.user, "late", event_time=month(1) + timedelta(days=1))
    make_event(learner.user, "late as well", event_time=NOON + timedelta(days=1))
    content = first + b"".join(parts)
    assert len(read_back(content, Format.NDJSON)) == export.rows == 601
    assert b'"late' not in content


def test_timeouts_for_requests_end_no_export(learner: Actor, course: Course) -> None:
    """The rows are more than sockets buffer: the statement goes on for as long as somebody takes them."""
    fill(learner.user, course, 30_000)
    limits = {"options": "-c statement_timeout=700 -c idle_in_transaction_session_timeout=700"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", connection.settings_dict["OPTIONS"] | limits)
        parts = iter(stream(Format.NDJSON, Selection()))
        size = len(next(parts))
        run("SELECT pg_sleep(1.5)")
        size += sum(map(len, parts))
    assert size > 10 * MIB


def test_a_request_in_a_transaction_is_not_touched(learner: Actor) -> None:
    make_event(learner.user, "one")
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("CREATE TEMPORARY TABLE mine () ON COMMIT DROP")
        assert ids() == ["one"]
        cursor.execute("SELECT to_regclass('mine') IS NOT NULL")
        assert cursor.fetchone() == (True,)
        cursor.execute("ROLLBACK")


def test_the_estimate_counts_nothing(learner: Actor, course: Course) -> None:
    make_month(0)
    spread(learner.user, [0, 1], 500)
    run("ANALYZE telemetry_analyticsevent")
    assert 900 < estimate_rows(Selection()) < 1_100
    assert 450 < estimate_rows(Selection(since=month(1))) < 550
    with connection.execute_wrapper(_only_plans):
        estimate_rows(Selection(course_ids=frozenset([course.pk])))


def _only_plans(execute: Any, query: Any, *rest: Any) -> Any:
    assert "pg_inherits" in query or query.startswith("EXPLAIN (FORMAT JSON) SELECT")
    return execute(query, *rest)


# --- Closing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", list(Format))
def test_an_export_that_nobody_reads_on_ends(chosen: Format, learner: Actor, course: Course) -> None:
    fill(learner.user, course, 30_000)
    before = other_sessions()
    export = stream(chosen, Selection())
    assert other_sessions() == before
    parts = iter(export)
    assert next(parts)
    assert other_sessions() == before + 1
    export.close()
    assert eventually(lambda: other_sessions() == before)
    assert list(parts) == []


def test_as_an_answer_of_a_view(learner: Actor, course: Course) -> None:
    fill(learner.user, course, 30_000)
    before = other_sessions()
    export = stream(Format.CSV, Selection(), gzip=True)
    response = StreamingHttpResponse(export, content_type=export.format.content_type)
    assert response["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert next(iter(response)).startswith(b"\x1f\x8b")
    assert other_sessions() == before + 1
    response.close()
    assert eventually(lambda: other_sessions() == before)


def test_names_and_types() -> None:
    assert {one: (one.suffix, one.content_type) for one in Format} == {
        Format.NDJSON: (".ndjson", "application/x-ndjson"),
        Format.CSV: (".csv", "text/csv; charset=utf-8; header=present"),
        Format.PARQUET: (".parquet", "application/vnd.apache.parquet"),
        Format.XAPI: (".xapi.ndjson", "application/x-ndjson"),
    }
    with pytest.raises(ValueError, match="compressed by itself"):
        stream(Format.PARQUET, Selection(), gzip=True)


# --- Memory -------------------------------------------------------------------------------------------------------


def peak_bytes(tmp_path: Path, chosen: Format) -> int:
    """Return the peak of the command's memory, as the kernel counted it."""
    counted = (
        "import pathlib, re, sys; from django.core.management import execute_from_command_line as run; run(sys.argv);"
        r"print(re.search(r'VmHWM:\s+(\d+) kB', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    path = tmp_path / f"a{chosen.suffix}"
    ended = subprocess.run(
        [sys.executable, "-c", counted, "export_events", path, "--force", "--verbosity", "0"],
        cwd=BASE_DIR,
        env=clean_environment()
        | {"APP_ENV": "test", "DATABASE_URL": test_database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(ended.stdout) * 1024


@pytest.mark.parametrize("chosen", list(Format))
def test_memory_is_flat(chosen: Format, tmp_path: Path, learner: Actor, course: Course) -> None:
    fill(learner.user, course, 17_000)
    few = peak_bytes(tmp_path, chosen)
    run("DELETE FROM telemetry_analyticsevent")
    fill(learner.user, course, 85_000)
    many = peak_bytes(tmp_path, chosen)
    assert many < few + 10 * MIB  # of 50 MiB that came on top
    assert many < 150 * MIB


@pytest.mark.parametrize("chosen", list(Format))
def test_memory_has_a_bound_for_numbers_that_unfold(
    chosen: Format, tmp_path: Path, learner: Actor, course: Course
) -> None:
    """A payload within the limit for an event becomes 1.5 MB of text."""
    for number in range(60):
        make_event(learner.user, f"{number}", course=course, payload={"n": [1e308] * 5_000})
    assert peak_bytes(tmp_path, chosen) < 150 * MIB
