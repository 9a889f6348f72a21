"""An erasure while the person's devices go on, while others count and maintain, twice at once, and interrupted."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, connections
from django.test import Client

from accounts.models import DeviceSession, User
from courses.models import Course
from telemetry.models import AnalyticsEvent, ChapterProgress, LearnerDay
from telemetry.tests.partitioned import drop_partitions, make_event, make_month, month, run
from tests.cast import PASSWORD, Actor, make_actor
from tests.live import BASE_DIR, clean_environment, running_server, test_database_url
from tests.races import WAIT_SECONDS, in_thread, run_at_once, wait_until_blocked
from tests.traces import INGEST, PROGRESS, erase, event, learner_with_everything, scatter, traces
from updates.models import DeviceBundle

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 4
CALLS = {"events", "progress", "refresh", "check", "join", "login"}


@pytest.fixture(autouse=True)
def _with_partitions(transactional_db: None) -> Iterator[None]:
    make_month(-1)
    make_month(0)
    yield
    drop_partitions()


@pytest.fixture
def ada(course: Course, staff: Actor) -> Actor:
    return learner_with_everything("ada", course, staff.user)


@contextmanager
def another_session() -> Iterator[Any]:
    """A connection of its own, in a transaction."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            yield cursor
    finally:
        other.close()


def wait_until_somebody_waits() -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if run("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
            return
        time.sleep(0.01)
    raise AssertionError("Nobody waits for a lock.")


# --- Devices that go on -------------------------------------------------------------------------------------------


class Device:
    """Does everything that a device does, again and again, and counts the answers."""

    def __init__(self, actor: Actor, course: Course, base_url: str, stop: threading.Event) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self._actor = actor
        self._course = course
        self._stop = stop
        self._http = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {actor.access_token}"}, timeout=30
        )

    def send_events(self) -> None:
        """Of all months, and of none that has a partition."""
        number = 0
        while not self._stop.is_set():
            number += 1
            times = [month(offset).isoformat() for offset in (-3, -1, 0)]
            mail = self._actor.user.email
            events = [event(self._course, number, payload={"who": mail}), event(None, number)]
            events += [{**event(self._course, number), "event_id": uuid.uuid4().hex, "event_time": t} for t in times]
            self._post("events", INGEST, {"events": events})

    def report_progress(self) -> None:
        body = {"course_id": str(self._course.pk), "chapter_id": "ch2_more", "status": "IN_PROGRESS"}
        while not self._stop.is_set():
            self._post("progress", PROGRESS, {**body, "task_snapshot": {"who": self._actor.user.email}})

    def refresh(self) -> None:
        body = {"refresh_token": self._actor.refresh_token, "device_id": self._actor.session.device_id}
        while not self._stop.is_set():
            self._post("refresh", "/v1/auth/refresh", body)

    def check_and_join(self) -> None:
        installed: dict[str, str] = {}
        while not self._stop.is_set():
            body = {"desktop_version": f"1.2.{len(installed)}", "sidecar_version": "", "installed": installed}
            self._post("check", "/v1/updates/check-app", body)
            self._post("join", "/v1/courses/join", {"course_code": self._course.course_code})
            time.sleep(0.05)  # joins are limited

    def log_in(self) -> None:
        while not self._stop.is_set():
            body = {"email": self._actor.user.email, "password": PASSWORD, "device_id": "ada's new phone"}
            self._post("login", "/v1/auth/login", body)
            time.sleep(0.1)

    def close(self) -> None:
        self._http.close()

    def wait_for_all(self, status: int) -> None:
        """Wait until each kind of call was answered so."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if all(self.answers[name, status] for name in CALLS):
                return
            time.sleep(0.05)
        raise AssertionError(f"Not all calls were answered {status}: {self.answers}")

    def _post(self, name: str, path: str, body: Any) -> None:
        self.answers[name, self._http.post(path, json=body).status_code] += 1


def count_and_maintain(stop: threading.Event) -> None:
    while not stop.is_set():
        call_command("refresh_insights", verbosity=0)
        call_command("maintain_telemetry", verbosity=0)


def test_nothing_is_left_of_a_learner_whose_devices_go_on(course: Course, staff: Actor, tmp_path: Path) -> None:
    fellow = learner_with_everything("fellow", course, staff.user)
    of_fellow = AnalyticsEvent.objects.filter(user=fellow.user).count()
    with running_server(tmp_path / "log", WEB_CONCURRENCY="2") as base_url, ThreadPoolExecutor(8) as pool:
        for number in range(ROUNDS):
            actor = learner_with_everything(f"ada{number}", course, staff.user)
            marks = [actor.user.email, actor.user.pk, actor.session.pk, f"ada{number}-laptop", "ada's new phone"]
            stop = threading.Event()
            device = Device(actor, course, base_url, stop)
            acts = (device.send_events, device.report_progress, device.refresh, device.check_and_join, device.log_in)
            at_work = [pool.submit(act) for act in acts]
            counting = in_thread(partial(count_and_maintain, stop))
            try:
                device.wait_for_all(200)
                erase(actor)
                device.wait_for_all(401)
            finally:
                stop.set()
            for working in [*at_work, counting]:
                working.result(WAIT_SECONDS)
            device.close()
            # A call that was let in, and found the enrolment gone, is told just that.
            others = {answer for answer in device.answers if answer[1] not in (200, 401, 429)}
            assert others <= {("progress", 403)}, device.answers
            assert traces(*marks) == {}
    assert AnalyticsEvent.objects.filter(user=fellow.user).count() == of_fellow
    call_command("refresh_insights", verbosity=0)
    assert set(LearnerDay.objects.values_list("user_id", flat=True)) == {fellow.user.pk}


def test_an_event_that_is_committed_while_the_account_goes(ada: Actor) -> None:
    """Its foreign key was checked: the erasure waits for it, and takes it along."""
    with another_session() as other:
        other.execute(
            "INSERT INTO telemetry_analyticsevent (user_id, event_id, event_time, received_at, event_type, chapter_id,"
            " session_id, payload) VALUES (%s, 'late', now(), now(), 'late', '', '', '{}')",
            [ada.user.pk],
        )
        other.execute("SET CONSTRAINTS ALL IMMEDIATE")
        erasing = in_thread(partial(erase, ada))
        wait_until_somebody_waits()
        other.execute("COMMIT")
    assert "Erased." in erasing.result(WAIT_SECONDS)
    assert traces(ada.user.pk) == {}


def test_an_event_that_comes_after_the_account_went(ada: Actor) -> None:
    with another_session() as other:
        other.execute(
            "INSERT INTO telemetry_analyticsevent (user_id, event_id, event_time, received_at, event_type, chapter_id,"
            " session_id, payload) VALUES (%s, 'late', now(), now(), 'late', '', '', '{}')",
            [ada.user.pk],
        )
        erase(ada)
        with pytest.raises(IntegrityError):
            other.execute("COMMIT")
    assert traces(ada.user.pk) == {}


def test_what_a_device_has_that_is_recorded_after_it_went(ada: Actor) -> None:
    session_id = ada.session.pk
    with another_session() as other:
        other.execute(
            "INSERT INTO updates_devicebundle (session_id, bundle_type, scope_id, version, counted_as, offered_version,"
            " first_seen_on, last_seen_on) VALUES (%s, 'experts', 'late', '', '', '', now(), now())",
            [session_id],
        )
        erase(ada)
        with pytest.raises(IntegrityError):
            other.execute("COMMIT")
    assert not DeviceBundle.objects.filter(session_id=session_id).exists()


def test_counts_that_are_being_made_of_events_that_went(ada: Actor, course: Course) -> None:
    """Whoever counts had read the events before they were deleted."""
    with another_session() as other:
        other.execute("SELECT pg_advisory_xact_lock(7205002)")
        erasing = in_thread(partial(erase, ada))
        wait_until_somebody_waits()
        other.execute(
            "INSERT INTO telemetry_learnerday (user_id, course_id, day, events, first_event_at, last_event_at)"
            " VALUES (%s, %s, '2020-01-01', 1, now(), now())",
            [ada.user.pk, course.pk],
        )
        other.execute("COMMIT")
    erasing.result(WAIT_SECONDS)
    assert traces(ada.user.pk) == {}


# --- The admin's deletion, while a device sends -------------------------------------------------------------------


@pytest.mark.parametrize(("path", "action"), [("{pk}/delete/", ""), ("", "delete_selected")], ids=["page", "list"])
def test_an_event_that_comes_while_the_admin_deletes_its_learner(
    ada: Actor, admin_page: Client, path: str, action: str
) -> None:
    """It comes when the events are deleted already, and the account is not."""
    sending: list[Future[Any]] = []

    def send() -> None:
        make_event(ada.user, "late", month(0))

    def watch(execute: Any, sql: str, *context: Any) -> Any:
        result = execute(sql, *context)
        if sql.startswith('DELETE FROM "telemetry_analyticsevent"') and not sending:
            sending.append(in_thread(send))
            wait_until_blocked()
        return result

    form = {"post": "yes", "action": action, "_selected_action": str(ada.user.pk)}
    with connection.execute_wrapper(watch):
        assert admin_page.post(f"/admin/accounts/user/{path.format(pk=ada.user.pk)}", form).status_code == 302
    assert isinstance(sending[0].exception(WAIT_SECONDS), IntegrityError)
    assert not User.objects.filter(pk=ada.user.pk).exists()
    assert not AnalyticsEvent.objects.filter(user_id=ada.user.pk).exists()


# --- Two at once --------------------------------------------------------------------------------------------------


def try_to_erase(actor: Actor, *options: str) -> str:
    try:
        return erase(actor, *options)
    except CommandError as error:
        return str(error)


def test_two_erasures_at_once(ada: Actor) -> None:
    scatter(ada.user, "more", range(-3, 2), 200)
    said = run_at_once(*[partial(try_to_erase, ada)] * 3)
    assert any("Erased." in text for text in said)
    for text in said:
        assert any(words in text for words in ("Erased.", "at work on this account", "Nothing is kept")), text
    assert traces(ada.user.email, ada.user.pk) == {}


def test_the_second_erasure_is_told_of_the_first(ada: Actor) -> None:
    with another_session() as other:
        other.execute("SELECT FROM telemetry_analyticsevent WHERE user_id = %s FOR UPDATE", [ada.user.pk])
        erasing = in_thread(partial(erase, ada))
        wait_until_somebody_waits()
        with pytest.raises(CommandError, match="at work on this account"):
            erase(ada)
        other.execute("COMMIT")
    assert "Erased." in erasing.result(WAIT_SECONDS)


def test_of_two_superusers_who_are_erased_at_once_one_stays(staff: Actor) -> None:
    second = make_actor("second", is_staff=True, is_superuser=True)
    run_at_once(*(partial(try_to_erase, actor, "--staff") for actor in (staff, second)))
    assert User.objects.filter(is_superuser=True, is_active=True).count() == 1


def test_the_other_superuser_is_shut_out_at_this_moment(staff: Actor) -> None:
    second = make_actor("second", is_staff=True, is_superuser=True)
    with another_session() as other:
        other.execute("UPDATE accounts_user SET is_active = false WHERE id = %s", [second.user.pk])
        erasing = in_thread(partial(try_to_erase, staff, "--staff"))
        wait_until_somebody_waits()
        other.execute("COMMIT")
    assert "last active superuser" in erasing.result(WAIT_SECONDS)
    assert staff.get("/v1/me").status_code == 200


def test_a_deadlock_with_maintenance_is_no_failure(ada: Actor) -> None:
    """Maintenance copies events under locks, in another order than the erasure deletes them.

    Of the two, PostgreSQL ends the one that has waited longer: the erasure, which tries again.
    """
    first = make_event(ada.user, "first", month(-1))
    last = make_event(ada.user, "last", month(-3))  # in the default partition, which is read last
    lock = "SELECT FROM telemetry_analyticsevent WHERE event_id = %s FOR SHARE"
    with another_session() as other:
        other.execute(lock, [last.event_id])
        erasing = in_thread(partial(erase, ada))
        wait_until_somebody_waits()
        # On a busy machine it can be this one that PostgreSQL ends; the erasure then goes on at once.
        with suppress(OperationalError):
            other.execute(lock, [first.event_id])
            assert other.rowcount == 1
            other.execute("COMMIT")
    assert "Erased." in erasing.result(WAIT_SECONDS)
    assert traces(ada.user.pk) == {}


def test_a_call_that_renews_the_budget_and_the_erasure_don_t_wait_for_each_other(ada: Actor) -> None:
    """The call holds the row of the budget and wants the account; the erasure holds the account."""
    with another_session() as other:
        other.execute("SELECT FROM telemetry_eventbudget WHERE user_id = %s FOR UPDATE", [ada.user.pk])
        assert other.rowcount == 1
        erasing = in_thread(partial(erase, ada))
        deadline = time.monotonic() + WAIT_SECONDS
        while User.objects.filter(pk=ada.user.pk).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not User.objects.filter(pk=ada.user.pk).exists(), "the erasure waits for the call"
        other.execute("ROLLBACK")
    erasing.result(WAIT_SECONDS)


# --- Interrupted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_erasure_is_finished_by_the_next(ada: Actor, tmp_path: Path, number: signal.Signals) -> None:
    """It is stopped among the batches, where it waits for an event that another session holds."""
    run(
        "INSERT INTO telemetry_analyticsevent (user_id, event_id, event_time, received_at, event_type, chapter_id,"
        " session_id, payload) SELECT %s, 'many ' || n, %s + n * interval '1 minute', now(), 'tested', '', '', '{}'"
        " FROM generate_series(1, 3000) AS n",
        ada.user.pk,
        month(-1),
    )
    last = make_event(ada.user, "held", month(-3)).event_id
    before = AnalyticsEvent.objects.count()
    report = tmp_path / "report.json"
    command = [sys.executable, "manage.py", "erase_user", ada.user.email, "--yes", "--report", str(report)]
    environment = {**clean_environment(), "APP_ENV": "test", "DATABASE_URL": test_database_url()}
    with another_session() as other:
        other.execute("SELECT FROM telemetry_analyticsevent WHERE event_id = %s FOR UPDATE", [last])
        process = subprocess.Popen(
            command, cwd=BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until_somebody_waits()
        process.send_signal(number)
        output = process.communicate(timeout=WAIT_SECONDS)[0]
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
        assert "run the command again to finish" in output
        assert output.count("left") == 0, "nobody counted what is left"
        assert '"complete": false' in report.read_text()
    left = AnalyticsEvent.objects.count()
    assert 0 < left < before
    user = User.objects.get(pk=ada.user.pk)
    assert not user.is_active
    assert ChapterProgress.objects.filter(user=user).exists()
    assert ada.get("/v1/me").status_code == 401

    _wait_until_gone()
    assert "Erased." in erase(ada, "--report", str(report))

    assert '"complete": true' in report.read_text()
    assert traces(ada.user.email, ada.user.pk, "ada-laptop") == {}


def _wait_until_gone() -> None:
    """Wait until the server has noticed that the client was killed: its locks end then."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if not run("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7205003"):
            return
        time.sleep(0.05)
    raise AssertionError("The killed command still holds its lock.")


def test_interrupted_in_its_last_transaction(ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is all or nothing."""

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("django.db.backends.postgresql.base.DatabaseWrapper.check_constraints", stop)
        with pytest.raises(CommandError) as raised:
            erase(ada)
        assert raised.value.returncode == 130
    assert ChapterProgress.objects.filter(user=ada.user).exists()
    assert DeviceSession.objects.filter(user=ada.user).count() == 2
    assert not AnalyticsEvent.objects.filter(user=ada.user).exists()
    erase(ada)
    assert traces(ada.user.email, ada.user.pk) == {}
