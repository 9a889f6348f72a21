"""`kill -9` of a real server, again and again, while clients send events until they are acknowledged."""

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from courses.models import Course, Enrollment
from telemetry.models import AnalyticsEvent
from tests.cast import Actor, make_actor
from tests.live import free_port, start_server

URL = "/v1/analytics/events:ingest"
ROUNDS = 20
CLIENTS = 8
LIFE_SECONDS = (0.05, 0.4)
"""How long a server lives after it acknowledged its first batch."""
PAUSE_SECONDS = 0.03
WAIT_SECONDS = 60.0


class Client:
    """Sends one batch after another as the desktop client does: the same bytes until a 200 comes."""

    def __init__(self, number: int, actor: Actor, course: Course, base_url: str) -> None:
        self.acknowledged: list[str] = []
        self.broken = 0
        self.refused = 0
        self._names = (f"{number}-{n}" for n in itertools.count())
        self._actor = actor
        self._course = course
        self._base_url = base_url

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop; the batch that is under way is brought to its end."""
        headers = {"Authorization": f"Bearer {self._actor.access_token}"}
        with httpx.Client(base_url=self._base_url, headers=headers, timeout=WAIT_SECONDS) as http:
            while not stop.is_set():
                batch = [self._make_event(next(self._names)) for _ in range(random.randint(1, 6))]
                self._send(http, batch)
                self.acknowledged += [event["payload"]["name"] for event in batch]
                time.sleep(PAUSE_SECONDS)

    def _make_event(self, name: str) -> dict[str, Any]:
        """Every other one has no id, as all of the client's in the field."""
        event_id = name if random.random() < 0.5 else None
        return {
            "event_id": event_id,
            "event_type": "opened",
            "event_time": "2026-03-01T08:30:00Z",
            "course_id": str(self._course.pk),
            "payload": {"name": name},
        }

    def _send(self, http: httpx.Client, batch: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                response = http.post(URL, json={"events": batch})
            except httpx.ConnectError:
                self.refused += 1
            except httpx.TransportError:
                self.broken += 1
            else:
                if response.status_code == 200:
                    answer = response.json()
                    assert (answer["accepted"], answer["failed"]) == (len(batch), 0), answer
                    return
                assert response.status_code in (429, 500, 503), response.text
            time.sleep(0.02)
        raise AssertionError("No server took the batch.")


@contextmanager
def server(port: int, log: Path) -> Iterator[None]:
    """Start a server, and kill its whole process group in the end."""
    with log.open("ab") as output:
        process = start_server(port, output, WEB_CONCURRENCY="2")
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_more(clients: list[Client], acknowledged: int, log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if count_acknowledged(clients) > acknowledged:
            return
        time.sleep(0.01)
    raise AssertionError(f"The server acknowledged nothing:\n{log.read_text()}")


def count_acknowledged(clients: list[Client]) -> int:
    return sum(len(client.acknowledged) for client in clients)


@pytest.mark.django_db(transaction=True)
def test_every_acknowledged_event_is_there_once(tmp_path: Path) -> None:
    course = Course.objects.create(course_code="TST100", title="Testing")
    # Two clients for each learner: they share a counter of the budget.
    learners = [make_actor(f"learner-{number}") for number in range(CLIENTS // 2)]
    Enrollment.objects.bulk_create(Enrollment(user=actor.user, course=course) for actor in learners)
    port, log = free_port(), tmp_path / "log"
    clients = [
        Client(number, learners[number % len(learners)], course, f"http://127.0.0.1:{port}")
        for number in range(CLIENTS)
    ]
    stop = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(client.run, stop) for client in clients]
        try:
            for _ in range(ROUNDS):
                before = count_acknowledged(clients)
                with server(port, log):
                    wait_for_more(clients, before, log)
                    time.sleep(random.uniform(*LIFE_SECONDS))
            stop.set()
            with server(port, log):
                for run in runs:
                    run.result(WAIT_SECONDS)
        finally:
            stop.set()
    acknowledged = [name for client in clients for name in client.acknowledged]
    stored = Counter(AnalyticsEvent.objects.values_list("payload__name", flat=True))
    assert [name for name in acknowledged if stored[name] != 1] == []
    assert [name for name, count in stored.items() if count > 1] == []
    # Otherwise no server was killed while it worked, and the test showed nothing.
    assert sum(client.broken for client in clients) >= ROUNDS
    assert len(acknowledged) > ROUNDS * CLIENTS
