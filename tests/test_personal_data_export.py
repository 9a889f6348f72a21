"""`manage.py export_user_data`"""

import hashlib
import io
import json
import re
import signal
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts.models import User
from config.personal_data import get_holdings
from courses.models import Course
from telemetry.models import AnalyticsEvent
from telemetry.tests.partitioned import drop_partitions, make_month, month, run
from tests.cast import Actor, make_actor
from tests.live import BASE_DIR, clean_environment, test_database_url
from tests.races import WAIT_SECONDS, wait_until_blocked
from tests.traces import dump, erase, learner_with_everything, log, staff_with_everything

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _with_partitions(transactional_db: None) -> Iterator[None]:
    make_month(-1)
    make_month(0)
    yield
    drop_partitions()


@pytest.fixture
def ada(course: Course, staff: Actor) -> Actor:
    return learner_with_everything("ada", course, staff.user)


def export(name: str, output: Path) -> str:
    said = StringIO()
    call_command("export_user_data", name, "--output", str(output), stdout=said, stderr=said)
    return said.getvalue()


def read(file: Path) -> dict[str, Any]:
    """Return what an archive or a folder has: texts, and lists of rows."""
    if file.is_dir():
        files = {path.name: path.read_bytes() for path in file.iterdir()}
    else:
        with zipfile.ZipFile(file) as packed:
            assert packed.testzip() is None
            files = {name: packed.read(name) for name in packed.namelist()}
    return {name: _parsed(name, content) for name, content in files.items()}


def _parsed(name: str, content: bytes) -> Any:
    if name.endswith(".ndjson"):
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content) if name.endswith(".json") else content.decode()


def test_a_learner_gets_everything(ada: Actor, course: Course, tmp_path: Path) -> None:
    said = export("ada@example.com", tmp_path / "ada.zip")
    files = read(tmp_path / "ada.zip")
    assert set(files) == {
        "README.txt",
        "report.json",
        *(f"{holding.name}.{'ndjson' if holding.is_large else 'json'}" for holding in get_holdings()),
    }
    (account,) = files["account.json"]
    assert (account["id"], account["email"]) == (str(ada.user.pk), "ada@example.com")
    assert (account["display_name"], account["groups"]) == ("ada of Testing", [])
    assert {device["device_id"] for device in files["devices.json"]} == {"ada-laptop", "ada-phone"}
    assert [place["course_code"] for place in files["enrolments.json"]] == ["TST100"]
    (progress,) = files["progress.json"]
    assert (progress["status"], progress["chapter_code"]) == ("COMPLETED", "ch1_intro")
    assert progress["task_snapshot"] == {"of": "ada@example.com"}
    events = files["events.ndjson"]
    assert len(events) == AnalyticsEvent.objects.filter(user=ada.user).count() == 14
    times = [datetime.fromisoformat(event["event_time"]) for event in events]
    assert times == sorted(times)
    assert {event["payload"].get("who") for event in events} == {"ada@example.com", None}
    assert files["device_versions.ndjson"][0]["device_id"] == "ada-laptop"
    assert {row["counted"] for row in files["counts.json"]} == {"events of a day", "progress in a course"}
    assert [row["counter"] for row in files["join_counters.json"]] == ["join-user"]
    assert files["pending_code.json"][0]["email"] == "ada@example.com"
    assert "Events" in said
    assert "14" in said


def test_a_folder_has_the_same_as_an_archive(ada: Actor, tmp_path: Path) -> None:
    export("ada@example.com", tmp_path / "ada.zip")
    export(str(ada.user.pk), tmp_path / "ada")
    ours, theirs = read(tmp_path / "ada.zip"), read(tmp_path / "ada")
    for files in (ours, theirs):
        files["report.json"].pop("as_of")
    assert ours == theirs


def test_the_standard_output_is_the_archive_alone(ada: Actor) -> None:
    process = subprocess.run(
        [sys.executable, "manage.py", "export_user_data", "ada@example.com", "--output", "-"],
        cwd=BASE_DIR,
        env={**clean_environment(), "APP_ENV": "test", "DATABASE_URL": test_database_url()},
        capture_output=True,
        check=True,
    )
    with zipfile.ZipFile(io.BytesIO(process.stdout)) as packed:
        assert len(packed.read("events.ndjson").splitlines()) == 14
    assert b"Events" in process.stderr


def test_the_report_tells_what_each_file_is(ada: Actor, tmp_path: Path) -> None:
    export("ada@example.com", tmp_path / "ada")
    report = json.loads((tmp_path / "ada" / "report.json").read_text())
    assert report["person"] == {"id": str(ada.user.pk), "email": "ada@example.com"}
    for section in report["sections"]:
        content = (tmp_path / "ada" / section["file"]).read_bytes()
        assert section["sha256"] == hashlib.sha256(content).hexdigest()
        assert section["size_bytes"] == len(content)
        assert all(section[name] for name in ("purpose", "kept_for", "origin", "recipients"))
    counts = {section["file"]: section["rows"] for section in report["sections"]}
    assert counts["events.ndjson"] == 14
    readme = (tmp_path / "ada" / "README.txt").read_text()
    for words in ("Events: 14 in events.ndjson", "730 days", "The password's hash", "supervisory authority"):
        assert words in readme
    assert max(map(len, readme.splitlines())) <= 100


def test_the_readme_begins_with_the_account_and_ends_with_what_there_is_not(ada: Actor, tmp_path: Path) -> None:
    export("ada@example.com", tmp_path / "ada")
    readme = (tmp_path / "ada" / "README.txt").read_text()
    sections = [line for line in readme.splitlines() if re.fullmatch(r".+: [\d,]+ in \w+\.(nd)?json", line)]
    assert sections[0] == "Account: 1 in account.json"
    assert "Events: 14 in events.ndjson" in sections
    assert not [section for section in sections if ": 0 in" in section]
    told = re.search(r"^Nothing was found of: (.+?)\.$", readme, re.MULTILINE | re.DOTALL)
    assert told
    assert "API tokens that the person made" in " ".join(told[1].split())
    assert "Account" not in told[1]
    assert readme.index(sections[-1]) < told.start() < readme.index("You may have what is wrong corrected")


@pytest.mark.parametrize("name", ["ada.zip", "ada"])
def test_only_the_owner_can_read_it(ada: Actor, tmp_path: Path, name: str) -> None:
    export("ada@example.com", tmp_path / name)
    paths = [tmp_path / name, *((tmp_path / name).iterdir() if name == "ada" else [])]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in paths} == {0}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_secret_goes_out(ada: Actor, course: Course, staff: Actor, tmp_path: Path) -> None:
    publisher = staff_with_everything("grace", course, ada.user)
    secrets = [
        value
        for statement in (
            "SELECT password FROM accounts_user",
            "SELECT refresh_digest FROM accounts_devicesession",
            "SELECT digest FROM accounts_emailverificationcode",
            "SELECT digest FROM updates_apitoken",
            "SELECT hint FROM updates_apitoken",
            "SELECT session_key FROM django_session",
        )
        for (value,) in run(statement)
    ]
    assert len(secrets) >= 8
    for actor in (ada, publisher):
        folder = tmp_path / actor.user.display_name
        export(actor.user.email, folder)
        text = "".join(path.read_text() for path in folder.iterdir())
        assert [secret for secret in secrets if secret in text] == []


def test_others_are_not_named(ada: Actor, fellow: Actor, course: Course, staff: Actor, tmp_path: Path) -> None:
    """GDPR, article 15(4)."""
    log(staff.user, course, "Completed ch1 for ada@example.com, fellow@example.com and 3 more: 5 changed.")
    log(ada.user, fellow.user, "Deactivated.")
    export("ada@example.com", tmp_path / "ada")
    text = "".join(path.read_text() for path in (tmp_path / "ada").iterdir())
    assert "fellow" not in text
    assert "staff@" not in text
    notes = [entry["note"] for entry in read(tmp_path / "ada")["admin_entries.json"]]
    assert "Completed ch1 for ada@example.com, (another person) and 3 more: 5 changed." in notes
    assert len(read(tmp_path / "ada")["admin_acts.json"]) == 1


def test_staff_get_their_acts(ada: Actor, course: Course, tmp_path: Path) -> None:
    publisher = staff_with_everything("grace", course, ada.user)
    export(publisher.user.email, tmp_path / "grace")
    files = read(tmp_path / "grace")
    assert files["account.json"][0]["groups"] == ["Publishers"]
    assert files["account.json"][0]["permissions"] == ["view_user"]
    assert [act["action"] for act in files["release_acts.json"]] == ["published"]
    assert [release["version"] for release in files["made_releases.json"]] == ["7.7.7"]
    assert [token["name"] for token in files["api_tokens.json"]] == ["night builds"]
    assert [course["course_code"] for course in files["instructed_courses.json"]] == ["TST100"]
    assert len(files["browser_sessions.json"]) == 1
    assert "ada@" not in json.dumps(files)


def test_an_account_that_did_nothing(tmp_path: Path) -> None:
    make_actor("quiet")
    User.objects.get().device_sessions.all().delete()
    export("quiet@example.com", tmp_path / "quiet.zip")
    files = read(tmp_path / "quiet.zip")
    assert len(files.pop("account.json")) == 1
    assert [name for name, rows in files.items() if isinstance(rows, list) and rows] == []


def test_a_stranger_has_no_export(ada: Actor, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"Nothing is kept of nobody@example\.com"):
        export("nobody@example.com", tmp_path / "nobody.zip")
    erase(ada)
    with pytest.raises(CommandError, match="Nothing is kept"):
        export("ada@example.com", tmp_path / "ada.zip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ada.zip", "ada"])
def test_nothing_is_overwritten(ada: Actor, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CommandError, match="already"):
        export("ada@example.com", tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there(ada: Actor, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        export("ada@example.com", tmp_path / "absent" / "ada.zip")


@pytest.mark.parametrize("name", ["ada.zip", "ada"])
def test_it_is_written_whole_or_not_at_all(
    ada: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Stopped after some files were written."""

    def stop(*args: Any) -> Any:
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("courses.personal_data.Enrolments.read", stop)
    with pytest.raises(CommandError, match="Nothing was written"):
        export("ada@example.com", tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ada.zip", "ada"])
def test_nothing_is_left_by_a_command_that_is_ended(ada: Actor, tmp_path: Path, name: str) -> None:
    """By SIGTERM, where it waits to read a table that another session has to itself."""
    command = [sys.executable, "manage.py", "export_user_data", "ada@example.com", "--output", str(tmp_path / name)]
    environment = {**clean_environment(), "APP_ENV": "test", "DATABASE_URL": test_database_url()}
    with transaction.atomic():
        run("LOCK TABLE accounts_devicesession IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(command, cwd=BASE_DIR, env=environment, stderr=subprocess.PIPE, text=True)
        wait_until_blocked()
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=WAIT_SECONDS)[1]
    assert process.returncode == 143
    assert "Nothing was written" in said
    assert not list(tmp_path.iterdir())


def test_nothing_is_changed(ada: Actor, tmp_path: Path) -> None:
    before = dump()
    export("ada@example.com", tmp_path / "ada.zip")
    assert dump() == before


def test_many_events_take_no_more_memory(ada: Actor, tmp_path: Path) -> None:
    """20,000 events of 2 KiB, which are 40 MB in the archive."""
    run(
        "INSERT INTO telemetry_analyticsevent (user_id, event_id, event_time, received_at, event_type, chapter_id,"
        " session_id, payload) SELECT %s, 'many ' || n, %s + n * interval '1 minute', now(), 'tested', '', '',"
        " jsonb_build_object('text', repeat('x', 2000)) FROM generate_series(1, 20000) AS n",
        ada.user.pk,
        month(-1),
    )
    tracemalloc.start()
    try:
        export("ada@example.com", tmp_path / "ada.zip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read(tmp_path / "ada.zip")["events.ndjson"]) == 20_014
    assert peak < 10_000_000
