"""How many events a second the server stores, beside what the database does without it: `python -m bench.ingest`.

Each run starts a server of its own with two workers, on a database of its own that is removed in the end, and sends
the same events twice: by HTTP, over kept connections, from processes on this machine; and as ready rows, by the very
statement of the server, over two connections of psycopg, with a commit for each batch. Throughput is what lies in the
table afterwards, divided by the time from the first byte to the last answer.

The machine is never quiet: look at the ratios, which come from one run, and at their spread. What a call costs of the
processor, in the workers and in PostgreSQL, says more when others are at work.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.db import connection

from accounts.models import User
from bench.processor import Meter, database_seconds, server_seconds
from courses.models import Course, Enrollment
from telemetry.events import Event, read_events
from telemetry.ingest import INSERT_EVENTS, insert_parameters
from telemetry.models import AnalyticsEvent
from telemetry.parsers import split_events
from tests.cast import Actor, open_session
from tests.live import running_server, test_database_url

URL: Final = "/v1/analytics/events:ingest"
WORKERS: Final = 2
STRAIGHT_CONNECTIONS: Final = 2
SENDERS: Final = 2
"""Processes that send."""
CONNECTIONS_PER_SENDER: Final = 8
CALLS_PER_CONNECTION: Final = 20
"""A new connection goes to the worker that takes it, which tends to be the one with less to do."""
LEARNERS: Final = 100
_PART_BYTES: Final = 65_536
BATCHES: Final = {1: 4_000, 100: 1_500, 1_000: 200}
"""How many batches of each size a round sends: some seconds' work, and within each learner's budget."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5, help="rounds for each size of batch")
    arguments.add_argument("--sizes", type=int, nargs="+", default=list(BATCHES), choices=list(BATCHES))
    options = arguments.parse_args()
    with bench_database() as url, tempfile.TemporaryDirectory() as folder:
        learners, course = make_cast()
        with running_server(Path(folder) / "log", WEB_CONCURRENCY=str(WORKERS)) as base_url:
            print(
                "| events a call | over HTTP, events/s | straight, events/s | ratio (least to most) "
                "| workers, ms a call | PostgreSQL, ms a call |"
            )
            print("|---:|---:|---:|---:|---:|---:|")
            for size in options.sizes:
                rounds = [_run_round(size, learners, course, base_url, url) for _ in range(options.rounds)]
                _print_row(size, rounds)


@dataclass(frozen=True)
class Round:
    """Throughputs in events a second, and what a call by HTTP cost of the processor in ms."""

    served: float
    stored: float
    workers_ms: float
    database_ms: float


def _print_row(size: int, rounds: Sequence[Round]) -> None:
    served, stored, workers_ms, database_ms = (
        statistics.median(figures) for figures in zip(*map(astuple, rounds), strict=True)
    )
    ratios = sorted(one.served / one.stored for one in rounds)
    spread = f"{statistics.median(ratios):.0%} ({ratios[0]:.0%} to {ratios[-1]:.0%})"
    print(f"| {size:,} | {served:,.0f} | {stored:,.0f} | {spread} | {workers_ms:.2f} | {database_ms:.2f} |", flush=True)


def _run_round(size: int, learners: Sequence[Actor], course: Course, base_url: str, database_url: str) -> Round:
    """Store the same events by HTTP and straight."""
    batches = [
        (learners[number % len(learners)], make_body(size, course, number * size)) for number in range(BATCHES[size])
    ]
    requests = [_make_request(actor, body) for actor, body in batches]
    workers, database = Meter(server_seconds), Meter(database_seconds)
    served = _measure([partial(_send, base_url, share) for share in _deal(requests, SENDERS)])
    workers_ms, database_ms = (meter.stop() / len(batches) * 1_000 for meter in (workers, database))
    events = [(actor, make_events(body)) for actor, body in batches]
    stored = _measure([partial(_store, database_url, share) for share in _deal(events, STRAIGHT_CONNECTIONS)])
    return Round(served, stored, workers_ms, database_ms)


def _deal(items: Sequence[Any], hands: int) -> list[list[Any]]:
    return [list(items[hand::hands]) for hand in range(hands)]


def _measure(jobs: Sequence[Callable[[Any], None]]) -> float:
    """Run each job in a process, all at once, into an empty table; return the events stored in each second."""
    empty_tables()
    context = multiprocessing.get_context("fork")
    start = context.Barrier(len(jobs) + 1)
    processes = [context.Process(target=job, args=(start.wait,)) for job in jobs]
    connection.close()
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - began
    assert all(process.exitcode == 0 for process in processes), "A sender failed."
    return AnalyticsEvent.objects.count() / seconds


# --- What is sent -----------------------------------------------------------------------------------------------


def make_body(size: int, course: Course, first: int) -> bytes:
    """Return a call's body; the events are such as the desktop client sends, so they have no ids."""
    begin = datetime.now(UTC) - timedelta(hours=1)
    events = [
        {
            "event_type": "chapter_opened",
            "event_time": (begin + timedelta(milliseconds=number)).isoformat(),
            "course_id": str(course.pk),
            "chapter_id": "ch1_intro",
            "session_id": str(uuid.UUID(int=number)),
            "payload": {"source": "desktop", "seconds": 1.5, "view": {"scroll": 0.25, "panel": "notes"}, "n": number},
        }
        for number in range(first, first + size)
    ]
    return json.dumps({"events": events}, separators=(",", ":")).encode()


def make_events(body: bytes) -> list[Event]:
    return read_events(split_events(body.decode()))[0]


def _send(base_url: str, requests: list[bytes], wait: Callable[[], object]) -> None:
    """Send over several connections at a time, each from a thread that takes the next request until none is left."""
    address = urlsplit(base_url)
    left = SimpleQueue[bytes]()
    for request in requests:
        left.put(request)
    with ThreadPoolExecutor(CONNECTIONS_PER_SENDER) as pool:
        wait()
        sent = [
            pool.submit(_send_all, (str(address.hostname), address.port or 80), left)
            for _ in range(CONNECTIONS_PER_SENDER)
        ]
        for thread in sent:
            thread.result()


def _make_request(actor: Actor, body: bytes) -> bytes:
    head = [
        f"POST {URL} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {actor.access_token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _send_all(address: tuple[str, int], left: "SimpleQueue[bytes]") -> None:
    while not left.empty():
        with socket.create_connection(address) as connected:
            for _ in range(CALLS_PER_CONNECTION):
                try:
                    request = left.get_nowait()
                except Empty:
                    return
                _call(connected, request)


def _call(connected: socket.socket, request: bytes) -> None:
    """Speak as little HTTP as it takes: what the sender spends is missing to the server beside it."""
    connected.sendall(request)
    answer = b""
    while not answer.endswith(b"}"):  # its body is a JSON object
        part = connected.recv(_PART_BYTES)
        assert part, "The server closed the connection."
        answer += part
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def _store(database_url: str, batches: list[tuple[Actor, list[Event]]], wait: Callable[[], object]) -> None:
    """Store as the server does, which commits each statement, and prepares none."""
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as straight:
        wait()
        for actor, events in batches:
            straight.execute(INSERT_EVENTS, insert_parameters(actor.user.pk, events))


# --- Where it is sent -------------------------------------------------------------------------------------------


@contextmanager
def bench_database() -> Iterator[str]:
    """Make a database beside that of DATABASE_URL, or in the embedded cluster, and yield its URL."""
    settings.CACHES["default"]["KEY_PREFIX"] = f"bench-{os.getpid()}"
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"bench_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield test_database_url()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def make_cast() -> tuple[list[Actor], Course]:
    course = Course.objects.create(course_code="BENCH", title="Bench")
    users = User.objects.bulk_create(User(email=f"bench-{number}@example.com") for number in range(LEARNERS))
    Enrollment.objects.bulk_create(Enrollment(user=user, course=course) for user in users)
    return [open_session(user, device_id="bench") for user in users], course


def empty_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE telemetry_analyticsevent, telemetry_eventbudget")


if __name__ == "__main__":
    main()
