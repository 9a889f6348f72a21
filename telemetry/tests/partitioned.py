"""What the tests of maintenance share: events at given times, and a table that is as the migrations made it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.models import User
from telemetry.models import AnalyticsEvent
from telemetry.partitions import EVENTS, MIRROR, list_partitions, month_of

THIS_MONTH = month_of(timezone.now())


def month(offset: int) -> datetime:
    """Return the first moment of a month, counted from the current one."""
    number = THIS_MONTH.year * 12 + THIS_MONTH.month - 1 + offset
    return THIS_MONTH.replace(year=number // 12, month=number % 12 + 1)


def name_of(offset: int) -> str:
    return f"{EVENTS}_y{month(offset):%Ym%m}"


def make_event(user: User, event_id: str, event_time: datetime, **fields: Any) -> AnalyticsEvent:
    """Store an event; unless it is given, it was received when it happened."""
    event = AnalyticsEvent(
        user=user,
        event_id=event_id,
        event_time=event_time,
        event_type="tested",
        **{"received_at": event_time, "payload": {"of": event_id}, **fields},
    )
    AnalyticsEvent.objects.bulk_create([event])
    return event


def make_month(offset: int) -> None:
    run(
        f"CREATE TABLE {name_of(offset)} PARTITION OF {EVENTS} FOR VALUES FROM (%s) TO (%s)",
        month(offset),
        month(offset + 1),
    )


def run(statement: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def places() -> dict[str, str]:
    """Return the partition of each event, by its id; two events of one id are a fault."""
    rows = run(f"SELECT event_id, tableoid::regclass::text FROM {EVENTS}")
    assert len(dict(rows)) == len(rows)
    return {event_id: place.removeprefix(f"{EVENTS}_") for event_id, place in rows}


def partition_names() -> list[str]:
    return [partition.name for partition in list_partitions()]


def drop_partitions() -> None:
    """Leave what the migrations made: an empty table with a default partition."""
    run(f"DROP FUNCTION IF EXISTS {MIRROR} CASCADE")
    run(f"DROP TABLE IF EXISTS {MIRROR} CASCADE")
    run(f"DELETE FROM {EVENTS}")
    for partition in list_partitions():
        if not partition.is_default:
            run(f"DROP TABLE {partition.name}")
    for (name,) in run("SELECT relname FROM pg_class WHERE relname ~ %s AND relkind = 'r'", rf"^{EVENTS}_y\d+m\d+$"):
        run(f"DROP TABLE {name}")


def spread(user: User, offsets: Iterable[int], number: int) -> list[str]:
    """Store so many events in each of the months, and return their ids."""
    events = [
        AnalyticsEvent(
            user=user,
            event_id=f"{offset}:{index}",
            event_time=month(offset) + timedelta(minutes=index),
            received_at=month(offset) + timedelta(minutes=index),
            event_type="tested",
            payload={"text": "x" * 200},
        )
        for offset in offsets
        for index in range(number)
    ]
    AnalyticsEvent.objects.bulk_create(events)
    return [event.event_id for event in events]
