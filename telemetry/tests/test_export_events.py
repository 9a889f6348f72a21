"""`manage.py export_events`: its options, its files, and how it ends."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connections
from pytest_django.fixtures import Settings

from courses.models import Course
from telemetry.exports import Format
from telemetry.tests.exported import NOON, fill, make_event, read_back, read_file
from tests.cast import Actor
from tests.live import BASE_DIR, clean_environment, test_database_url
from tests.races import wait_until_blocked
from updates.tests.shell import call, manage, start, watch

pytestmark = pytest.mark.django_db(transaction=True)


def ids(path: Path, chosen: Format = Format.NDJSON) -> list[str]:
    return [row["event_id"] for row in read_back(read_file(path), chosen)]


def export(tmp_path: Path, *options: object) -> list[str]:
    """Run the command and return the ids of the events in its file."""
    path = tmp_path / "events.ndjson"
    call("export_events", path, "--identify", "--force", *options)
    return ids(path)


def environment() -> dict[str, str]:
    return clean_environment() | {"APP_ENV": "test", "DATABASE_URL": test_database_url()}


# --- Formats and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "warns"), [("http://localhost", True), ("https://school.example.org", False)])
def test_ids_that_are_of_no_server_are_told(base: str, warns: bool, tmp_path: Path, settings: Settings) -> None:
    settings.XAPI_BASE_URL = base
    assert ("Set XAPI_BASE_URL" in call("export_events", tmp_path / "events.xapi.ndjson")[1]) == warns
    assert call("export_events", tmp_path / "events.ndjson")[1] == ""


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("events.ndjson", Format.NDJSON),
        ("EVENTS.CSV", Format.CSV),
        ("events.parquet", Format.PARQUET),
        ("events.xapi.ndjson", Format.XAPI),
        ("events.csv.gz", Format.CSV),
        ("events.xapi.ndjson.gz", Format.XAPI),
    ],
)
def test_the_name_tells_the_format(name: str, chosen: Format, tmp_path: Path, learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    out, err = call("export_events", tmp_path / name)
    assert out.startswith(f"Exporting ...\nExported 1 events to {tmp_path / name}, ")
    assert err == "" or chosen is Format.XAPI
    content = read_file(tmp_path / name)
    if chosen is Format.XAPI:
        assert json.loads(content)["verb"]["id"].endswith("/experienced")
    else:
        assert len(read_back(content, chosen)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_format_may_be_named(tmp_path: Path, learner: Actor) -> None:
    make_event(learner.user, "one")
    call("export_events", tmp_path / "a.txt", "--format", "csv")
    assert len(read_back(read_file(tmp_path / "a.txt"), Format.CSV)) == 1
    call("export_events", tmp_path / "a.csv", "--format", "ndjson")
    assert len(ids(tmp_path / "a.csv")) == 1


def test_a_file_is_not_overwritten_by_chance(tmp_path: Path, learner: Actor) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text("precious")
    with pytest.raises(CommandError, match=r"events\.ndjson exists; --force overwrites it"):
        call("export_events", path)
    assert path.read_text() == "precious"

    make_event(learner.user, "one")
    call("export_events", path, "--force")
    assert len(ids(path)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_comes_into_being_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.ndjson"
    monkeypatch.setattr(os, "fsync", lambda descriptor: path.write_text("precious"))
    with pytest.raises(CommandError, match="exists"):
        call("export_events", path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_standard_output_has_the_events_only(learner: Actor, course: Course) -> None:
    fill(learner.user, course, 1_000)
    for chosen in (Format.CSV, Format.PARQUET):
        process = start(["export_events", "-", "--format", chosen], {})
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(read_back(out, chosen)) == 1_000
        assert err == b"Exported 1,000 events.\n"


def test_quiet(tmp_path: Path) -> None:
    assert call("export_events", tmp_path / "a.csv", "--verbosity", "0") == ("", "")


def test_a_bar_is_shown_on_a_terminal(tmp_path: Path, learner: Actor, course: Course) -> None:
    fill(learner.user, course, 2_000)
    shown = watch(["export_events", tmp_path / "a.csv"])
    assert shown.status == 0
    assert "%|" in shown.out
    assert "events" in shown.out
    assert "Exported 2,000 events to" in shown.out


def test_what_xapi_leaves_out_is_told(tmp_path: Path, learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    make_event(learner.user, "two", course=course, event_type="message\x1b[31m_sent")
    make_event(learner.user, "three", event_type="chapter_opened")
    make_event(learner.user, "four", course=course, chapter_id="", event_type="chapter_opened")
    out, _ = call("export_events", tmp_path / "a.xapi.ndjson")
    assert "Exported 1 events to" in out
    assert "Left out 3 events" in out
    for reason in ("message\N{REPLACEMENT CHARACTER}[31m_sent (1)", "without a course (1)", "without a chapter (1)"):
        assert reason in out


# --- Filters ------------------------------------------------------------------------------------------------------


def test_time_is_half_open(tmp_path: Path, learner: Actor) -> None:
    moment = timedelta(microseconds=1)
    for name, time in (("before", NOON - moment), ("at", NOON), ("after", NOON + moment)):
        make_event(learner.user, name, event_time=time)
    assert export(tmp_path) == ["before", "at", "after"]
    assert export(tmp_path, "--since", "2026-03-01T12:00:00Z") == ["at", "after"]
    assert export(tmp_path, "--until", "2026-03-01T20:00:00+08:00") == ["before"]
    assert export(tmp_path, "--since", "2026-03-01T12:00:00Z", "--until", "2026-03-01t12:00:00.000001z") == ["at"]


def test_a_date_is_its_first_moment_in_utc(tmp_path: Path, learner: Actor) -> None:
    midnight = NOON.replace(hour=0)
    make_event(learner.user, "day before", event_time=midnight - timedelta(microseconds=1))
    make_event(learner.user, "that day", event_time=midnight)
    assert export(tmp_path, "--since", "2026-03-01") == ["that day"]
    assert export(tmp_path, "--until", "2026-03-01") == ["day before"]


def test_courses(tmp_path: Path, learner: Actor, course: Course) -> None:
    others = [Course.objects.create(course_code=code, title=code) for code in ("TST200", "TST300")]
    for one in (course, *others):
        make_event(learner.user, one.course_code, course=one)
    make_event(learner.user, "without")
    assert export(tmp_path, "--course", "tst100") == ["TST100"]
    assert export(tmp_path, "--course", str(others[1].pk), "--course", "TST100") == ["TST100", "TST300"]
    assert export(tmp_path) == ["TST100", "TST200", "TST300", "without"]


def test_types(tmp_path: Path, learner: Actor) -> None:
    for name in ("a", "b", "c"):
        make_event(learner.user, name, event_type=name)
    assert export(tmp_path, "--type", "c", "--type", "a") == ["a", "c"]
    assert export(tmp_path, "--type", "A") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a.txt"], "Say which --format, or give the file a name that ends in one of: .ndjson, .csv, .parquet"),
        (["-"], "Say which --format"),
        (["a.parquet.gz"], "Parquet is compressed by itself"),
        (["a.csv", "--course", "NONE"], "There is no course 'NONE'."),
        (["a.csv", "--course", "00000000-0000-4000-8000-000000000000"], "There is no course"),
        (["a.csv", "--since", "yesterday"], "'yesterday' is neither a date such as 2026-03-01 nor a time"),
        (["a.csv", "--since", "2026-03-01T08:00:00"], "is neither a date"),
        (["a.csv", "--since", "2026-13-01"], "is neither a date"),
        (["a.csv", "--since", "0001-01-01T00:00:00+01:00"], "is neither a date"),
        (["a.csv", "--since", "2026-03-02", "--until", "2026-03-02"], "--since must be before --until."),
        (["none/a.csv"], "Can't write none/a.csv: No such file or directory."),
        (["/proc/a.csv"], "Can't write /proc/a.csv: "),
        (["/dev/null", "--format", "csv"], "/dev/null is no file that could be written."),
        (["/tmp", "--format", "csv"], "/tmp is no file that could be written."),
    ],
)
def test_what_is_refused(options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError) as refusal:
        call("export_events", *options)
    assert message in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away(tmp_path: Path) -> None:
    ended = manage("export_events", tmp_path / "a.csv", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert ended.status == 1
    assert ended.err.startswith("CommandError: The database can't be used: ")
    assert len(ended.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# --- Ends in the middle -------------------------------------------------------------------------------------------


@contextmanager
def stopped_in_the_middle(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that has begun its file, and waits for the learners' emails."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE accounts_user IN ACCESS EXCLUSIVE MODE")
            process = start(["export_events", path, "--identify"], {})
            wait_until_blocked_by(other)
            assert [part.suffix for part in path.parent.iterdir()] == [".part"]
            yield process
            assert process.poll() is not None
    finally:
        other.close()


def wait_until_blocked_by(other: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.races.connection", other)
        wait_until_blocked()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_leaves_no_file(sent: signal.Signals, status: int, tmp_path: Path, learner: Actor) -> None:
    make_event(learner.user, "one")
    with stopped_in_the_middle(tmp_path / "a.ndjson") as process:
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (status, b"CommandError: Stopped. No file was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path: Path, learner: Actor, course: Course) -> None:
    fill(learner.user, course, 2_000)
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from django.core.management import execute_from_command_line as run; run(sys.argv)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", limited, "export_events", tmp_path / "a.csv"],
        cwd=BASE_DIR,
        env=environment() | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, f"CommandError: Can't write {tmp_path}/a.csv: File too large.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [1, 2_000])
def test_a_full_device_behind_the_standard_output(number: int, learner: Actor, course: Course) -> None:
    fill(learner.user, course, number)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "manage.py", "export_events", "-", "--format", "csv"],
            cwd=BASE_DIR,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    message = "CommandError: Can't write the standard output: No space left on device.\n"
    assert (ended.returncode, ended.stderr) == (1, message)


def test_a_reader_that_leaves(learner: Actor, course: Course) -> None:
    fill(learner.user, course, 5_000)
    with start(["export_events", "-", "--format", "csv"], {}) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(10) == b"learner,ev"
        process.stdout.close()
        assert process.stderr.read() == b"CommandError: Whoever read the output has left.\n"
    assert process.returncode == 141
