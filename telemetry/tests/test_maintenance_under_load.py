"""Maintenance while clients send events to a real server: nobody is refused, nobody waits, nothing is lost."""

import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command

from telemetry.partitions import EVENTS
from telemetry.tests.partitioned import drop_partitions, make_month, month, name_of, partition_names, run, spread
from tests.cast import Actor, make_actor
from tests.live import running_server

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 4
ROUNDS = 6
EVENTS_A_CALL = 5
ALONE_SECONDS = 1.5
"""How long the clients send before maintenance begins."""
SLOWEST_SECONDS = 1.0
"""On a machine that is busy with other things, a call may take three times as long as the slowest one before."""


@pytest.fixture(autouse=True)
def _as_migrated(transactional_db: None) -> Iterator[None]:
    yield
    drop_partitions()


@dataclass
class Sender:
    """A client that sends events of all months that may have a partition, and of some that may not, until told to stop.

    One call in four is the repetition of an earlier one.
    """

    actor: Actor
    base_url: str
    months: list[int]
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    calls: list[tuple[float, float]] = field(default_factory=list)
    """When each call began, and how many seconds it took."""
    refused: list[str] = field(default_factory=list)

    def send(self) -> None:
        draw = random.Random(self.actor.user.email)
        headers = {"Authorization": f"Bearer {self.actor.access_token}"}
        batches: list[list[dict[str, Any]]] = []
        with httpx.Client(base_url=self.base_url, headers=headers, timeout=30) as client:
            while not self.stop.is_set():
                if batches and draw.random() < 0.25:
                    batch = draw.choice(batches)
                else:
                    batches.append(batch := [self._event(draw) for _ in range(EVENTS_A_CALL)])
                began = time.monotonic()
                response = client.post("/v1/analytics/events:ingest", json={"events": batch})
                self.calls.append((began, time.monotonic() - began))
                if response.status_code == 200 and response.json()["accepted"] == EVENTS_A_CALL:
                    self.acknowledged += [event["event_id"] for event in batch]
                else:
                    self.refused.append(response.text)
                time.sleep(0.02)

    def _event(self, draw: random.Random) -> dict[str, Any]:
        moment = month(draw.choice(self.months)) + timedelta(seconds=draw.randrange(20 * 86_400))
        return {
            "event_id": str(uuid.uuid4()),
            "event_type": "tested",
            "event_time": moment.isoformat(),
            "payload": {"of": self.actor.user.email},
        }


def maintain() -> None:
    call_command("maintain_telemetry", stdout=StringIO(), stderr=StringIO())


def test_maintenance_under_load(tmp_path: Path) -> None:
    old = make_actor("old").user
    for offset in range(-30, -30 + ROUNDS):
        make_month(offset)
    expired = spread(old, range(-30, -30 + ROUNDS), 100)
    waiting = spread(old, range(-12, 4), 300)
    stop = threading.Event()
    with running_server(tmp_path / "log", WEB_CONCURRENCY="2") as base_url, ThreadPoolExecutor(CLIENTS) as pool:
        senders = [
            Sender(make_actor(f"learner{number}"), base_url, [*range(-12, 8)], stop) for number in range(CLIENTS)
        ]
        sending = [pool.submit(sender.send) for sender in senders]
        try:
            time.sleep(ALONE_SECONDS)
            maintenance_began = time.monotonic()
            for number in range(ROUNDS):
                time.sleep(0.5)
                maintain()
                forget_month(-12 + number)
        finally:
            stop.set()
        for sent in sending:
            sent.result()
    maintain()
    assert [refusal for sender in senders for refusal in sender.refused] == []
    calls = [call for sender in senders for call in sender.calls]
    alone = max(seconds for began, seconds in calls if began < maintenance_began)
    assert max(seconds for began, seconds in calls if began >= maintenance_began) < max(SLOWEST_SECONDS, 3 * alone)
    stored = [event_id for (event_id,) in run(f"SELECT event_id FROM {EVENTS}")]
    acknowledged = {event_id for sender in senders for event_id in sender.acknowledged}
    assert len(acknowledged) > CLIENTS * ROUNDS * EVENTS_A_CALL
    assert len(stored) == len(set(stored))
    assert set(stored) == acknowledged | set(waiting)
    assert not set(stored) & set(expired)
    assert {name_of(offset) for offset in range(-12, 4)} <= set(partition_names())


def forget_month(offset: int) -> None:
    """Put a month's events back into the default partition, so that the next round has something to move."""
    name = name_of(offset)
    run(
        "DO $$ BEGIN"
        f" LOCK TABLE ONLY {EVENTS} IN ACCESS EXCLUSIVE MODE;"
        f" ALTER TABLE {EVENTS} DETACH PARTITION {name};"
        f" INSERT INTO {EVENTS} SELECT * FROM {name};"
        " SET CONSTRAINTS ALL IMMEDIATE;"
        f" DROP TABLE {name};"
        " END $$"
    )
