"""Reading events in order, a few at a time, as they were at one moment.

All is read in one read-only transaction of REPEATABLE READ, on a connection of its own: what comes in meanwhile is not
seen, and a request's own transaction is not touched. PostgreSQL sorts, one partition after the other: a month at a
time where `maintain_telemetry` runs, everything in one go where it never did, on its disk if need be. Rows travel as
they are sent (libpq's chunked mode), so neither a cursor nor an idle transaction is held between them.

While the transaction lasts, the partitions can't be changed: `maintain_telemetry` waits, gives up, and does it the next
day. So whoever hands an export to somebody's network bounds how long it may take.
"""

import functools
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from msgspec import UNSET, Raw, Struct, UnsetType
from psycopg.rows import args_row

from config.pseudonyms import keyed_hasher, pseudonym
from telemetry.exports.selection import Selection
from telemetry.models import AnalyticsEvent
from telemetry.partitions import MaintenanceError, list_partitions

_ROWS_AT_A_TIME: Final = 8
"""More is hardly quicker, and a payload of 32 KiB may unfold to 1.6 MiB: `1e308` is stored with all its zeros."""

_REMEMBERED: Final = 2_048
"""Learners, and sessions, whose hashes are not made anew; each takes about 0.3 KiB."""

_TIME: Final = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_COLUMNS: Final = f"""
    event.user_id::text, {{email}}, event.event_id, {_TIME.format("event.event_time")},
    {_TIME.format("event.received_at")}, event.event_type, event.course_id::text, course.course_code,
    event.chapter_id, event.session_id, {{payload}}, event.time_mark, {{titles}}
"""
_TABLES: Final = """
    telemetry_analyticsevent AS event LEFT JOIN courses_course AS course ON course.id = event.course_id
"""
_EMAIL_TABLE: Final = "LEFT JOIN accounts_user AS learner ON learner.id = event.user_id"
# Clients name a chapter by its code or by its id.
_TITLES: Final = """
    course.title, coalesce(by_code.id, by_id.id)::text, coalesce(by_code.title, by_id.title)
"""
_TITLE_TABLES: Final = """
    LEFT JOIN courses_chapter AS by_code
        ON by_code.course_id = event.course_id AND by_code.chapter_code = event.chapter_id
    LEFT JOIN courses_chapter AS by_id ON by_id.course_id = event.course_id AND by_id.id::text = lower(event.chapter_id)
"""
_MARKS: Final = {mark.value: mark.name.lower() for mark in AnalyticsEvent.TimeMark}
_NO_TIMEOUTS: Final = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    # A lock takes no snapshot: it is that of the first query, when the partitions can't change any more.
    "LOCK TABLE telemetry_analyticsevent IN ACCESS SHARE MODE",
)
_TRANSACTION_TIMEOUT_SINCE: Final = 170_000


class ExportedEvent(Struct, frozen=True, gc=False):
    """An event as it leaves the server. The order of the fields is that of the columns; UNSET: there is none."""

    learner: str
    user_id: str | UnsetType
    email: str | UnsetType | None
    event_id: str
    event_time: str
    received_at: str
    event_type: str
    course_id: str | None
    course_code: str | None
    chapter_id: str
    session_id: str
    payload: Raw | UnsetType
    time_mark: str


class Titles(NamedTuple):
    """What the server knows of the course and chapter that an event names."""

    course: str | None
    chapter_id: str | None
    chapter: str | None


_NO_TITLES: Final = Titles(None, None, None)

EventRow = tuple[ExportedEvent, Titles, int]
"""The event, its titles, and how many characters its payload has."""


class Privacy(NamedTuple):
    """What of learners is shown."""

    identify: bool
    with_payload: bool

    def columns(self) -> tuple[str, ...]:
        """Return the names of the fields that an exported event has."""
        absent = set[str]()
        if not self.identify:
            absent |= {"user_id", "email"}
        if not self.with_payload:
            absent.add("payload")
        return tuple(name for name in ExportedEvent.__struct_fields__ if name not in absent)


def read_events(selection: Selection, privacy: Privacy, *, with_titles: bool) -> Generator[EventRow]:
    """Yield the events in order of `event_time`, then of learner and event id.

    Raises:
        django.db.Error: what the database refuses.
    """
    windows = list(_windows(selection))
    with _snapshot() as (wrapper, raw):
        cursor = psycopg.Cursor(raw, row_factory=args_row(_row_maker(privacy, with_titles=with_titles)))
        for first, end in windows:
            query, parameters = _query(selection, privacy, with_titles=with_titles, first=first, end=end)
            with wrapper.wrap_database_errors:
                yield from cursor.stream(query.encode(), parameters, size=_ROWS_AT_A_TIME)


def estimate_rows(selection: Selection) -> int:
    """Return about how many events there are, as PostgreSQL's planner sees it: nothing is counted."""
    rows = 0
    with connection.cursor() as cursor:
        for first, end in _windows(selection):
            query, parameters = _query(selection, Privacy(False, False), with_titles=False, first=first, end=end)
            cursor.execute(f"EXPLAIN (FORMAT JSON) {query}", parameters)
            plan = cursor.fetchone()[0]
            rows += int(plan[0]["Plan"]["Plan Rows"])
    return rows


@contextmanager
def _snapshot() -> Iterator[tuple[BaseDatabaseWrapper, "psycopg.Connection[Any]"]]:
    """Open a connection and a transaction that no timeout for short requests ends."""
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    # Whoever drops a half-read export, the garbage collector for one, may be another thread.
    wrapper.inc_thread_sharing()
    try:
        wrapper.connect()
        raw: psycopg.Connection[Any] = wrapper.connection
        with wrapper.wrap_database_errors:
            raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for statement in _NO_TIMEOUTS:
                raw.execute(statement)
            if raw.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
                raw.execute("SET LOCAL transaction_timeout = 0")
        yield wrapper, raw
    finally:
        wrapper.close()


def _windows(selection: Selection) -> Iterator[tuple[datetime | None, datetime | None]]:
    """Yield spans of time, one after the other, each of which lies in one partition; None: from ever, for ever."""
    try:
        partitions = list_partitions()
    except MaintenanceError:  # an odd partition, made by hand: slower, and still right
        partitions = []
    borders = {border for partition in partitions for border in (partition.start, partition.end) if border}
    since, until = selection.since, selection.until
    inner = [time for time in sorted(borders) if (not since or time > since) and (not until or time < until)]
    yield from zip([since, *inner], [*inner, until], strict=True)


def _query(
    selection: Selection, privacy: Privacy, *, with_titles: bool, first: datetime | None, end: datetime | None
) -> tuple[str, list[Any]]:
    conditions, parameters = selection.conditions()
    if first:
        conditions.append("event.event_time >= %s")
        parameters.append(first)
    if end:
        conditions.append("event.event_time < %s")
        parameters.append(end)
    columns = _COLUMNS.format(
        email="learner.email" if privacy.identify else "NULL",
        payload="event.payload::text" if privacy.with_payload else "NULL",
        titles=_TITLES if with_titles else "NULL, NULL, NULL",
    )
    tables = " ".join([_TABLES, _EMAIL_TABLE * privacy.identify, _TITLE_TABLES * with_titles])
    where = " AND ".join(conditions) or "true"
    order = "event.event_time, event.user_id, event.event_id"
    return f"SELECT {columns} FROM {tables} WHERE {where} ORDER BY {order}", parameters  # noqa: S608  constants only


def _row_maker(privacy: Privacy, *, with_titles: bool) -> Callable[..., EventRow]:
    """Return what makes an event of a row, and hides whose it is unless that shall be seen."""
    learner_of = functools.lru_cache(_REMEMBERED)(lambda user_id: pseudonym(uuid.UUID(user_id)))
    hash_session, hash_event = keyed_hasher("session"), keyed_hasher("event")
    session_of = functools.lru_cache(_REMEMBERED)(lambda user_id, text: f"s{hash_session(f'{user_id} {text}')}")

    def make(
        user_id: str,
        email: str | None,
        event_id: str,
        event_time: str,
        received_at: str,
        event_type: str,
        course_id: str | None,
        course_code: str | None,
        chapter_id: str,
        session_id: str,
        payload: str | None,
        time_mark: int,
        *titles: str | None,
    ) -> EventRow:
        # Clients choose the ids of events and sessions: they may tell of the learner, or link to what others know.
        hides = not privacy.identify
        return (
            ExportedEvent(
                learner=learner_of(user_id),
                user_id=UNSET if hides else user_id,
                email=UNSET if hides else email,
                event_id=f"e{hash_event(f'{user_id} {event_time} {event_id}')}" if hides else event_id,
                event_time=event_time,
                received_at=received_at,
                event_type=event_type,
                course_id=course_id,
                course_code=course_code,
                chapter_id=chapter_id,
                session_id=session_of(user_id, session_id) if hides and session_id else session_id,
                payload=UNSET if payload is None else Raw(payload),
                time_mark=_MARKS[time_mark],
            ),
            Titles(*titles) if with_titles else _NO_TITLES,
            len(payload) if payload else 0,
        )

    return make
