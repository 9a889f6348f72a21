"""What the tests of exports share: events to export, and exports read back."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from accounts.models import User
from courses.models import Course
from telemetry.exports import Format
from telemetry.exports.text import unescape_cell
from telemetry.models import AnalyticsEvent
from telemetry.tests.partitioned import run

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)

HOSTILE_TEXTS: Final = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "'=1",
    "''",
    "'",
    'a"b',
    'a,"b";c',
    "two\nlines\r\nand more",
    "\N{SNOWMAN} \N{PILE OF POO}",
    "\u202eright to left \u05d0\u05d1",
    "\ufeffmarked",
    "x" * 255,
    " ",
)


def make_event(user: User, event_id: str, *, course: Course | None = None, **fields: Any) -> AnalyticsEvent:
    """Store an event of a chapter, at noon unless it says otherwise."""
    event = AnalyticsEvent(
        user=user,
        event_id=event_id,
        **{
            "event_time": NOON,
            "received_at": NOON + timedelta(seconds=5),
            "event_type": "chapter_opened",
            "course_id": course and course.pk,
            "chapter_id": "ch1_intro",
            "session_id": "session-1",
            **fields,
        },
    )
    AnalyticsEvent.objects.bulk_create([event])
    return event


def make_hostile_events(user: User, course: Course) -> list[AnalyticsEvent]:
    """Store events whose every field is as bad as ingest lets it be."""
    texts = [
        make_event(
            user,
            f"{number:02} {text}"[:128] if number % 2 else f"{text[:100]} {number:02}",
            event_time=NOON + timedelta(microseconds=number),
            event_type=text[:128],
            chapter_id=text,
            session_id=text,
            payload={text: text, "list": [text, None, True, {}]},
            course=course if number % 3 else None,
        )
        for number, text in enumerate(HOSTILE_TEXTS)
    ]
    others = [
        make_event(user, "integers", payload={"most": 2**63 - 1, "least": -(2**63), "exact": 9_007_199_254_740_993}),
        make_event(user, "floats", payload={"huge": 1e308, "tiny": 5e-324, "minus": -0.1}),
        make_event(user, "huge", payload={"text": "\N{PILE OF POO}" * 8_000}, course=course),
        make_event(user, "empty", chapter_id="", session_id="", payload={}),
        make_event(user, "early", event_time=datetime(1, 1, 1, tzinfo=UTC), course=course),
        make_event(user, "late", event_time=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), time_mark=1),
    ]
    return texts + others


def fill(user: User, course: Course, number: int) -> None:
    """Store many events of a few hundred bytes, a second apart."""
    run(
        """
        INSERT INTO telemetry_analyticsevent
            (user_id, event_id, event_time, received_at, event_type, course_id, chapter_id, session_id, payload)
        SELECT %s, 'filled ' || n, %s + n * interval '1 second', %s, 'chapter_opened', %s, 'ch1_intro',
            'session ' || n / 20, jsonb_build_object('n', n, 'text', repeat(md5(n::text), 10))
        FROM generate_series(1, %s) AS n
        """,
        user.pk,
        NOON,
        NOON,
        course.pk,
        number,
    )


def read_back(content: bytes, chosen: Format) -> list[dict[str, Any]]:
    """Return the events of an export in one form: times as such, payloads as JSON values, null as None."""
    rows = list(_READERS[chosen](content))
    for row in rows:
        for name in ("event_time", "received_at"):
            if isinstance(row[name], str):
                assert row[name].endswith("Z")
                row[name] = datetime.fromisoformat(row[name])
        if isinstance(row.get("payload"), str):
            row["payload"] = json.loads(row["payload"])
    return rows


def read_file(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _from_ndjson(content: bytes) -> Iterator[dict[str, Any]]:
    assert content == b"" or content.endswith(b"\n")
    return map(json.loads, content.decode().split("\n")[:-1])


def _from_csv(content: bytes) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True):
        cells = {name: unescape_cell(cell) for name, cell in row.items()}
        yield cells | {name: cells[name] or None for name in ("course_id", "course_code", "email") if name in cells}


def _from_parquet(content: bytes) -> Iterator[dict[str, Any]]:
    table = pq.read_table(io.BytesIO(content))
    table.validate(full=True)
    for row in table.to_pylist():
        yield {name: value.replace(tzinfo=UTC) if name.endswith("_at") else value for name, value in row.items()}


_READERS: Final = {
    Format.NDJSON: _from_ndjson,
    Format.CSV: _from_csv,
    Format.PARQUET: _from_parquet,
    Format.XAPI: _from_ndjson,
}
