"""`manage.py erase_user`"""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import DeviceSession, User
from accounts.people import neutral_name
from accounts.personal_data import ERASED_EMAIL
from config import ratelimit
from courses.models import Course, CourseInstructor
from telemetry import partitions
from telemetry.models import AnalyticsEvent, ChapterProgress, CourseDay, LearnerDay
from telemetry.tests.partitioned import drop_partitions, make_event, make_month, month, run
from tests.cast import Actor, error_code, make_actor
from tests.live import BASE_DIR, clean_environment, test_database_url
from tests.traces import (
    INGEST,
    PROGRESS,
    dump,
    erase,
    event,
    learner_with_everything,
    log,
    scatter,
    staff_with_everything,
    traces,
)
from updates.models import AdoptionDay, ApiToken, DeviceBundle, ReleaseEvent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _with_partitions(transactional_db: None) -> Iterator[None]:
    """Some months have a partition, others lie in the default one."""
    make_month(-1)
    make_month(0)
    yield
    drop_partitions()


@pytest.fixture
def ada(course: Course, staff: Actor) -> Actor:
    return learner_with_everything("ada", course, staff.user)


def marks_of(actor: Actor) -> list[Any]:
    """Return texts that are in nothing but what is kept of this person."""
    sessions = DeviceSession.objects.filter(user=actor.user)
    return [
        actor.user.email,
        actor.user.pk,
        neutral_name(actor.user.pk),
        *sessions.values_list("pk", flat=True),
        *sessions.values_list("device_id", flat=True),
    ]


# --- What goes ----------------------------------------------------------------------------------------------------


def test_nothing_of_a_learner_is_left_anywhere(ada: Actor) -> None:
    marks = marks_of(ada)
    before = traces(*marks)
    assert {
        "accounts_user",
        "accounts_devicesession",
        "accounts_emailverificationcode",
        "courses_enrollment",
        "django_admin_log",
        "telemetry_analyticsevent_default",
        partitions.partition_name(month(-1)),
        partitions.partition_name(month(0)),
        "telemetry_chapterprogress",
        "telemetry_eventbudget",
        "telemetry_learnerday",
        "telemetry_learnerstanding",
        "updates_devicebundle",
    } <= set(before)

    output = erase(ada)

    assert traces(*marks) == {}
    assert "Erased." in output


def test_the_counters_of_rate_limits_go(ada: Actor) -> None:
    keys = [
        *ratelimit.counter_keys("join-user", str(ada.user.pk), (30, 60)),
        *ratelimit.counter_keys("email-code-email", ada.user.email, (5, 600)),
    ]
    assert sum(cache.get(key) is not None for key in keys) == 2
    erase(ada)
    assert [cache.get(key) for key in keys] == [None] * 4


def test_another_learners_data_stays_to_the_byte(ada: Actor, course: Course, staff: Actor) -> None:
    """Also that of learners whose emails have this one in them."""
    others = [
        learner_with_everything(name, course, staff.user) for name in ("nada", "o'ada", "ada+1", "x.ada", "grace")
    ]
    domain = User.objects.create_user("ada@example.com.au", "a good password")
    log(staff.user, domain, "For ada@example.com.au and nada@example.com: 2 changed.")
    of_others = [mark for other in others for mark in marks_of(other)] + [domain.email, domain.pk]
    before = traces(*of_others)
    assert len(before) >= 12

    erase(ada)

    assert traces(*of_others) == before


def test_a_note_on_several_learners_keeps_the_others(ada: Actor, course: Course, staff: Actor, fellow: Actor) -> None:
    log(staff.user, course, "Completed ch1 for ada@example.com, fellow@example.com and 'ADA@example.com'.")
    erase(ada)
    entry = LogEntry.objects.get(change_message__startswith="Completed ch1 for")
    assert entry.change_message == "Completed ch1 for erased account, fellow@example.com and 'erased account'."


def test_the_audit_says_what_was_done_and_not_to_whom(ada: Actor, course: Course, admin_page: Client) -> None:
    entries = LogEntry.objects.count()
    erase(ada)
    assert LogEntry.objects.count() == entries
    assert {
        ("Removed.", f"erased account / {course}"),
        ("Revoked.", "erased account"),
        ("Changed the status to “Completed”.", "erased account: TST100 ch1_intro"),
        ("Changed the status to “Completed” for chapter “ch1_intro”.", str(course)),
    } <= {(entry.get_change_message(), entry.object_repr) for entry in LogEntry.objects.all()}
    history = admin_page.get(f"/admin/courses/course/{course.pk}/history/").content.decode()
    assert "For 1 other (1 changed)." in history


def test_events_of_a_mirror_that_was_left_behind_go_too(ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintenance that was killed leaves a copy of the default partition."""

    def be_killed(*args: Any) -> None:
        raise KeyboardInterrupt

    scatter(ada.user, "more", range(5), 3)
    monkeypatch.setattr(partitions, "_put_in_place", be_killed)
    with pytest.raises(CommandError):
        call_command("maintain_telemetry", stdout=StringIO())
    assert [table for table in traces(ada.user.pk) if "mirror" in table]
    erase(ada)
    assert traces(ada.user.pk) == {}


def test_the_counts_of_courses_are_those_of_the_others(ada: Actor, fellow: Actor, course: Course) -> None:
    fellow.post(INGEST, {"events": [event(course, 0)]})
    call_command("refresh_insights", verbosity=0)
    assert sum(CourseDay.objects.values_list("events", flat=True)) == 4
    erase(ada)
    call_command("refresh_insights", verbosity=0)
    assert list(CourseDay.objects.values_list("events", "active_learners")) == [(1, 1)]
    assert list(LearnerDay.objects.values_list("user_id", flat=True)) == [fellow.user.pk]


def test_adoption_counts_only_devices_that_are_left(ada: Actor, fellow: Actor, outsider: Actor) -> None:
    for actor in (fellow, outsider):
        actor.post("/v1/updates/check-app", {"desktop_version": "", "sidecar_version": "", "installed": {}})
    erase(ada)
    erase(outsider)
    left = DeviceBundle.objects.count()
    assert left
    assert sum(AdoptionDay.objects.values_list("latest", flat=True)) == left


# --- What the device is told --------------------------------------------------------------------------------------


def test_a_device_is_told_that_the_account_is_gone(ada: Actor) -> None:
    """The contract: INVALID_USER, of every protected call and of a refresh."""
    erase(ada)
    refresh = {"refresh_token": ada.refresh_token, "device_id": "ada-laptop"}
    answers = [
        ada.get("/v1/me"),
        ada.post(INGEST, {"events": [event(None, 1)]}),
        ada.post(PROGRESS, {"course_id": "x", "chapter_id": "x", "status": "IN_PROGRESS"}),
        ada.post("/v1/auth/refresh", refresh),
    ]
    assert [(answer.status_code, error_code(answer)) for answer in answers] == [(401, "INVALID_USER")] * 4
    assert ada.post("/v1/auth/logout", {"refresh_token": ada.refresh_token}).status_code == 200


def test_what_tells_the_device_ends_with_its_login(ada: Actor, fellow: Actor) -> None:
    erase(ada)
    assert DeviceSession.objects.filter(user=None).count() == 2
    DeviceSession.objects.filter(user=None).update(expires_at=timezone.now())
    output = StringIO()
    call_command("maintain_telemetry", stdout=output)
    assert "Deleted 2 expired logins of erased accounts." in output.getvalue()
    assert [session.user for session in DeviceSession.objects.all()] == [
        User.objects.get(email="staff@example.com"),
        fellow.user,
    ]


def test_whoever_was_erased_may_register_again(ada: Actor) -> None:
    erase(ada)
    sent = ada.post("/v1/auth/request-email-code", {"email": "ada@example.com", "purpose": "register"}).json()
    body = {
        "email": "ada@example.com",
        "verification_code": sent["dev_code"],
        "password": "a good password",
        "device_id": "ada-laptop",
    }
    ada.client.credentials()
    assert ada.post("/v1/auth/register", body).status_code == 201


# --- Staff --------------------------------------------------------------------------------------------------------


def test_staff_are_refused_without_saying_so(course: Course, staff: Actor, outsider: Actor) -> None:
    publisher = staff_with_everything("grace", course, outsider.user)
    before = dump()
    with pytest.raises(CommandError, match="--staff"):
        erase(publisher)
    assert dump() == before


def test_what_staff_did_stays_without_them(course: Course, staff: Actor, outsider: Actor) -> None:
    publisher = staff_with_everything("grace", course, outsider.user)
    marks = marks_of(publisher)
    assert {
        "accounts_user_groups",
        "accounts_user_user_permissions",
        "courses_course",
        "courses_courseinstructor",
        "sessions, decoded",
        "updates_apitoken",
        "updates_bundlerelease",
        "updates_releaseevent",
    } <= set(traces(*marks))
    acts = ReleaseEvent.objects.count()

    output = erase(publisher, "--staff")

    assert traces(*marks) == {}
    assert ReleaseEvent.objects.count() == acts
    published = ReleaseEvent.objects.get(action="published")
    assert (published.actor_name, published.user, published.notices) == (
        "erased account",
        None,
        ["Told to erased account."],
    )
    assert LogEntry.objects.get(change_message="Deactivated.").user.email == ERASED_EMAIL
    token = ApiToken.objects.get()
    assert (token.name, token.created_by, token.revoked_at is None) == ("night builds", None, False)
    assert not CourseInstructor.objects.exists()
    assert f"Kept as acts of {ERASED_EMAIL}" in output
    assert not User.objects.get(email=ERASED_EMAIL).is_active


def test_nobody_erases_or_enters_the_account_of_the_erased(course: Course, staff: Actor, outsider: Actor) -> None:
    erase(staff_with_everything("grace", course, outsider.user), "--staff")
    account = User.objects.get(email=ERASED_EMAIL)
    for name in (account.email, str(account.pk)):
        with pytest.raises(CommandError, match="stands for"):
            erase(name, "--staff")
    assert not account.has_usable_password()


def test_the_last_superuser_is_always_refused(staff: Actor) -> None:
    make_actor("former", is_superuser=True, is_active=False)
    for options in (["--staff"], ["--staff", "--dry-run"]):
        with pytest.raises(CommandError, match="last active superuser"):
            erase(staff, *options)
    make_actor("second", is_staff=True, is_superuser=True)
    erase(staff, "--staff")
    with pytest.raises(CommandError, match="last active superuser"):
        erase("second@example.com", "--staff")


# --- What it says, and asks ---------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(ada: Actor) -> None:
    before = dump()
    output = erase(ada, "--dry-run")
    assert re.search(r"^  Events +14$", output, re.MULTILINE)
    assert "Nothing was erased" in output
    assert dump() == before


def test_it_tells_what_was_found_erased_and_left(ada: Actor) -> None:
    output = erase(ada)
    for title, count in (("Events", 14), ("Enrolments", 1), ("Devices and logins", 2), ("Account", 1)):
        assert re.search(rf"^  {title} +{count} +{count} +0$", output, re.MULTILINE), (title, output)


def test_the_report_proves_it_without_naming_the_person(ada: Actor, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    erase(ada, "--report", str(file))
    text = file.read_text()
    assert "ada" not in text.lower()
    assert str(ada.user.pk) not in text
    report = json.loads(text)
    assert report["act"] == "erasure"
    assert report["complete"] is True
    assert report["began_at"] <= report["ended_at"]
    counts = {row["name"]: (row["found"], row["erased"], row["left"]) for row in report["holdings"]}
    assert counts["events"] == (14, 14, 0)
    assert counts["account"] == (1, 1, 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("place", [".", "absent/report.json", "r" * 300, "pipe", "/dev/stdout"])
def test_nothing_is_erased_when_the_report_has_no_place(ada: Actor, tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = dump()
    with pytest.raises(CommandError):
        erase(ada, "--report", str(tmp_path / place))
    assert dump() == before
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


def test_a_report_that_lost_its_place_meanwhile_is_printed(
    ada: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.json"

    def answer(_question: str) -> str:
        """Whoever answers makes a folder of that name first."""
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        file.mkdir()
        return "ada@example.com"

    monkeypatch.setattr("builtins.input", answer)
    output = StringIO()
    with pytest.raises(CommandError, match="in no file"):
        call_command("erase_user", "ada@example.com", "--report", str(file), stdout=output, stderr=output)
    text = output.getvalue()
    report, _ = json.JSONDecoder().raw_decode(text[text.index("{\n") :])
    assert (report["act"], report["complete"]) == ("erasure", True)
    assert "report.json: Is a directory" in text
    assert not User.objects.filter(pk=ada.user.pk).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_two_people_have_two_names_in_reports(ada: Actor, fellow: Actor, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    names = []
    for options in ((ada, "--dry-run"), (ada,), (fellow,)):
        erase(*options, "--report", str(file))
        names.append(json.loads(file.read_text())["person"])
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("answer", "goes"), [("ada@example.com\n", True), ("ADA@example.com \n", True), ("y\n", False)]
)
def test_it_asks_for_the_email(ada: Actor, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(answer))
    if goes:
        call_command("erase_user", str(ada.user.pk), stdout=StringIO())
    else:
        with pytest.raises(CommandError, match="Nothing was erased"):
            call_command("erase_user", str(ada.user.pk), stdout=StringIO())
    assert User.objects.filter(pk=ada.user.pk).exists() is not goes
    if not goes:
        assert ada.get("/v1/me").status_code == 200


def test_nobody_there_to_answer_is_a_no(ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match="--yes"):
        call_command("erase_user", "ada@example.com", stdout=StringIO())
    assert ada.get("/v1/me").status_code == 200


@pytest.mark.parametrize(
    ("stopped_by", "said"), [(EOFError, "Nobody answered"), (KeyboardInterrupt, "Stopped. Nothing was erased.")]
)
def test_what_it_says_of_no_answer_has_a_line_of_its_own(
    ada: Actor, monkeypatch: pytest.MonkeyPatch, stopped_by: type[BaseException], said: str
) -> None:
    output = StringIO()

    def ask(question: str) -> str:
        output.write(question)
        raise stopped_by

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(CommandError, match=said):
        call_command("erase_user", "ada@example.com", stdout=output)
    assert output.getvalue().endswith("to erase it: \n")
    assert ada.get("/v1/me").status_code == 200


def test_nothing_stands_between_the_tables(ada: Actor) -> None:
    """A terminal shows the log beside what the command says."""
    environment = {**clean_environment(), "APP_ENV": "test", "DATABASE_URL": test_database_url()}
    command = [sys.executable, "manage.py", "erase_user", ada.user.email, "--yes"]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "Erased." in done.stdout


def test_an_email_is_read_as_at_the_login(ada: Actor) -> None:
    erase("  Ada@Example.com ")
    assert not User.objects.filter(pk=ada.user.pk).exists()


@pytest.mark.parametrize("name", ["ada", "", "1234"])
def test_what_names_nobody_is_refused(staff: Actor, name: str) -> None:
    with pytest.raises(CommandError, match="email or the id"):
        erase(name)


def test_a_stranger_is_no_error(staff: Actor, tmp_path: Path) -> None:
    before = dump()
    file = tmp_path / "report.json"
    output = erase("nobody@example.com", "--report", str(file))
    assert "Nothing is kept of nobody@example.com" in output
    assert json.loads(file.read_text())["complete"] is True
    assert dump() == before


def test_it_is_done_once(ada: Actor) -> None:
    erase(ada)
    before = dump()
    assert "Nothing is kept" in erase(ada)
    assert dump() == before


def test_what_a_deletion_in_the_admin_left_behind_is_erased(ada: Actor, admin_page: Client) -> None:
    """The admin's log has the email, and the person's own data is gone with the account."""
    assert admin_page.post(f"/admin/accounts/user/{ada.user.pk}/delete/", {"post": "yes"}).status_code == 302
    assert "django_admin_log" in traces(ada.user.email)
    output = erase("ada@example.com")
    assert traces(ada.user.email) == {}
    assert "no account any more" in output


def test_a_table_that_nobody_covers_stops_it_before_the_account_goes(ada: Actor) -> None:
    run("CREATE TABLE later (user_id uuid REFERENCES accounts_user DEFERRABLE INITIALLY DEFERRED)")
    try:
        run("INSERT INTO later VALUES (%s)", ada.user.pk)
        with pytest.raises(CommandError, match=r"table later still refers"):
            erase(ada)
        assert not User.objects.get(pk=ada.user.pk).is_active
        assert ChapterProgress.objects.filter(user=ada.user).exists()
        run("DELETE FROM later")
        erase(ada)
        assert traces(ada.user.pk) == {}
    finally:
        run("DROP TABLE later")


def test_a_long_email_that_the_log_cut(course: Course, staff: Actor) -> None:
    user = User.objects.create_user("a" * 60 + "@" + ".".join(["b" * 60] * 3) + ".example", "a good password")
    assert len(user.email) > 200
    log(staff.user, user, f"Told {user.email}.")
    log(staff.user, course, "Something.", shown=user.email)
    user_id = user.pk
    erase(user.email)
    assert traces(user_id, "a" * 60) == {}


def test_many_events_go_in_short_transactions(ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.ERASURE_BATCH_ROWS", 10)
    scatter(ada.user, "more", range(-4, 3), 30)
    deleted: list[int] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if "DELETE FROM telemetry_analyticsevent" in sql:
            deleted.append(context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(watch):
        erase(ada)
    assert sum(deleted) == 7 * 30 + 14
    assert max(deleted) == 10
    assert not AnalyticsEvent.objects.filter(user=ada.user).exists()


def test_an_event_of_any_time_goes(ada: Actor) -> None:
    for offset in (-400, 0, 400):
        make_event(ada.user, f"far {offset}", month(offset))
    erase(ada)
    assert not AnalyticsEvent.objects.exists()
