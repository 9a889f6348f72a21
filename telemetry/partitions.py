"""The partitions of the events, one for each month of `event_time` (UTC): making, filling and dropping them.

Events of a month that has no partition lie in the default partition, where ingest may write at any moment. Moving
them out in batches would hide some: between two batches an event would be in no partition, so that nobody sees it, and
a repetition of it is stored once more. And as long as the default partition might hold events of a month, PostgreSQL
reads all of it under an exclusive lock before it takes in that month. So the default partition is replaced:

1. The mirror is made: a second partitioned table with the missing months and a new default partition. From then on a
   trigger repeats in it every change of the default partition, in the same transaction.
2. What was there before is copied to the mirror, batch by batch.
3. In one transaction of some ten milliseconds the default partition is dropped, and the mirror's partitions take its
   place. Check constraints spare PostgreSQL from reading them.

So every event is in the table at any moment, and under its unique key. The price: all of the default partition is
written once more, also what stays in it, and an insert into it costs twice while that lasts. A run that ends early,
in whatever way, leaves the mirror behind, true to its original, and the next run goes on with it.

What needs a lock that ingest would wait for gives up early and tries again (see the limits).
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, Protocol, TypeVar

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from psycopg import sql

from config import limits
from telemetry.models import AnalyticsEvent

EVENTS: Final = "telemetry_analyticsevent"
MIRROR: Final = f"{EVENTS}_mirror"
"""Name of the mirror, of the trigger that keeps it true, and of that trigger's function."""
NEW_DEFAULT: Final = f"{MIRROR}_default"
"""Name of the mirror's default partition, until it is the events' own."""

_MAINTENANCE_LOCK: Final = 7_205_001
"""Number of the advisory lock under which one process at a time maintains the table."""
_AUTOVACUUM_LEAVES_MILLISECONDS: Final = 5_000
"""How long to wait for autovacuum, which gives way after `deadlock_timeout` (1 s); nobody waits behind us then."""
_BUSY_SQLSTATES: Final = ("55P03", "57014", "40P01")
"""lock_not_available, query_canceled (by `statement_timeout`), deadlock_detected"""
_BOUNDS: Final = re.compile(r"FOR VALUES FROM \((?:MINVALUE|'(.+)')\) TO \((?:MAXVALUE|'(.+)')\)")
_NAMES: Final = {
    "events": EVENTS,
    "mirror": MIRROR,
    "new_default": NEW_DEFAULT,
    "within": "within_month",
    "outside": "outside_months",
}
"""What a statement may name without being told."""

_LIST_PARTITIONS: Final = """
    SELECT namespace.nspname, child.relname, pg_get_expr(child.relpartbound, child.oid)
    FROM pg_inherits AS link
    JOIN pg_class AS child ON child.oid = link.inhrelid
    JOIN pg_namespace AS namespace ON namespace.oid = child.relnamespace
    WHERE link.inhparent = to_regclass(%s)
    ORDER BY child.relname
"""
_LIST_COLUMNS: Final = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attname
"""
_LIST_FOREIGN_KEYS: Final = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f'
"""
_IS_MIRRORED: Final = """
    SELECT FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname = %s AND relname = %s
"""
_LIST_TAKEN_NAMES: Final = """
    SELECT relname FROM pg_class
    WHERE relname = ANY (%s) AND relnamespace = current_schema()::regnamespace
        AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid AND inhparent = to_regclass(%s))
    ORDER BY relname
"""
_COUNT_MIRRORED: Final[LiteralString] = """
    SELECT (SELECT count(*) FROM {default}), (SELECT count(*) FROM {mirror}), (SELECT count(*) FROM {new_default})
"""
# With the rights of whoever maintains the table and owns the mirror: who inserts events needs none on the mirror.
_MIRROR_FUNCTION: Final[LiteralString] = """
    CREATE FUNCTION {mirror}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            DELETE FROM {mirror}
            WHERE user_id = OLD.user_id AND event_id = OLD.event_id AND event_time = OLD.event_time;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO {mirror} ({columns}) VALUES ({new_columns}) ON CONFLICT DO NOTHING;
        END IF;
        RETURN NULL;
    END $$
"""
# FOR SHARE: who deletes an event that is being copied waits, and finds the copy then.
_COPY_BLOCKS: Final[LiteralString] = """
    INSERT INTO {mirror} ({columns}) SELECT {columns} FROM {table}
    WHERE ctid >= {first}::tid AND ctid < {end}::tid FOR SHARE ON CONFLICT DO NOTHING
"""
_DELETE_BLOCKS: Final[LiteralString] = """
    DELETE FROM {table} WHERE ctid >= {first}::tid AND ctid < {end}::tid AND {expired}
"""

T = TypeVar("T")
Part = str | datetime | sql.Composable
Report = Callable[[str], None]


class Progress(Protocol):
    """Shows how far a stage got."""

    def stage(self, name: str, total_bytes: int) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function that has to be told of every number of bytes that was dealt with."""
        ...


class MaintenanceError(Exception):
    """What kept a step from being done, in a sentence."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition and its range, without the end. None is no bound; the default partition has neither."""

    schema: str
    name: str
    is_default: bool
    start: datetime | None = None
    end: datetime | None = None

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def covers(self, month: datetime) -> bool:
        """Return whether any moment of the month lies in the range."""
        return not self.is_default and (
            (self.start is None or self.start < next_month(month)) and (self.end is None or month < self.end)
        )


@contextmanager
def sole_maintainer() -> Iterator[bool]:
    """Yield whether this process may maintain the table: False while another one does. A killed one's right ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_MAINTENANCE_LOCK])
        granted: bool = cursor.fetchone()[0]
    try:
        yield granted
    finally:
        if granted and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_MAINTENANCE_LOCK])


def maintain_events(*, report: Report, progress: Progress) -> list[str]:
    """Delete expired events, make the missing months, and drop expired ones; return what could not be done.

    What was done is told to `report`. Running it again changes nothing. Call it as the `sole_maintainer`, outside of a
    transaction.
    """
    horizon = timezone.now() - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)
    problems: list[str] = []
    for step in (_delete_expired_events, _make_missing_months, _drop_expired_months):
        try:
            problems += step(horizon, report, progress)
        except MaintenanceError as error:
            problems.append(str(error))
    return problems


def discard_mirror() -> None:
    """Give up a move that did not come to its end, if there is one. Waits for those who write events."""
    with transaction.atomic(), connection.cursor() as cursor:
        _drop_mirror(cursor)


# --- What there is ------------------------------------------------------------------------------------------------


def list_partitions(table: str = EVENTS) -> list[Partition]:
    """Return the partitions of the events, or of the mirror, by name.

    Raises:
        MaintenanceError: one has bounds that this code doesn't make and can't read.
    """
    return [_read_partition(*row) for row in _rows(_LIST_PARTITIONS, table)]


def partition_name(month: datetime) -> str:
    return f"{EVENTS}_y{month:%Y}m{month:%m}"


def month_of(moment: datetime) -> datetime:
    """Return the first moment of the month (UTC) that this one lies in."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    return month_of(month + timedelta(days=31))


def _read_partition(schema: str, name: str, bounds: str) -> Partition:
    if bounds == "DEFAULT":
        return Partition(schema, name, is_default=True)
    match = _BOUNDS.fullmatch(bounds)
    try:
        start, end = [datetime.fromisoformat(text) if text else None for text in match.groups()] if match else []
    except ValueError:
        raise MaintenanceError(f"The partition {name} has bounds that are not understood: {bounds}") from None
    return Partition(schema, name, is_default=False, start=start, end=end)


def _default_partition() -> Partition:
    for partition in list_partitions():
        if partition.is_default:
            return partition
    raise MaintenanceError(f"There is no table {EVENTS} with a default partition: see to manage.py migrate.")


def _columns(of: LiteralString = "") -> sql.Composed:
    """Return the names of all columns of an event, for a statement."""
    return sql.SQL(", ").join(sql.SQL(of) + sql.Identifier(name) for name, *_ in _rows(_LIST_COLUMNS, EVENTS))


def _rows(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


# --- What expired -------------------------------------------------------------------------------------------------
# An event is kept as long as its month. But its time may be wrong: what was too old on arrival, and what lies in the
# default partition, where any time occurs, is kept as long as what arrived with it.


def _drop_expired_months(horizon: datetime, report: Report, progress: Progress) -> list[str]:
    expired = [partition for partition in list_partitions() if partition.end is not None and partition.end <= horizon]
    if expired and list_partitions(MIRROR):
        # The checks of the mirror hold what there was when it was made: it would refuse an event of a month that is
        # dropped now, and the event's insert would fail.
        return ["No expired month was dropped: that has to wait until the missing months are made."]
    problems = []
    for partition in expired:
        try:
            _drop_expired_month(partition, horizon, report, progress)
        except MaintenanceError as error:
            problems.append(f"{partition.name} was not dropped: {error}")
    return problems


def _drop_expired_month(partition: Partition, horizon: datetime, report: Report, progress: Progress) -> None:
    if _has_many_late(partition, horizon):
        deleted = _delete_events(partition, _composed("NOT {late}", late=_late(horizon)), progress)
        report(f"{partition.name} stays, because many of its events arrived late. Deleted of the others: {deleted:,}.")
        return
    default = _default_partition()
    moved = _under_short_lock([partition, default], lambda cursor: _drop_month(cursor, partition, horizon))
    kept = f" Kept in the default partition, because they arrived late: {moved:,}." if moved else ""
    report(f"Dropped {partition.name}.{kept}")


def _drop_month(cursor: CursorWrapper, partition: Partition, horizon: datetime) -> int:
    """Drop the partition, and return how many late events went to the default partition."""
    parts = {"partition": partition.table, "columns": _columns(), "late": _late(horizon)}
    _execute(cursor, "LOCK TABLE ONLY {events} IN ACCESS EXCLUSIVE MODE")
    _execute(
        cursor,
        "CREATE TEMPORARY TABLE late_events ON COMMIT DROP AS SELECT {columns} FROM {partition} WHERE {late}",
        **parts,
    )
    _execute(cursor, "DROP TABLE {partition}", **parts)
    _execute(cursor, "INSERT INTO {events} ({columns}) SELECT {columns} FROM late_events", **parts)
    return int(cursor.rowcount)


def _has_many_late(partition: Partition, horizon: datetime) -> bool:
    """Return whether more are late than may be moved while the table is locked."""
    query = _composed(
        "SELECT FROM {partition} WHERE {late} OFFSET {most} LIMIT 1",
        partition=partition.table,
        late=_late(horizon),
        most=sql.Literal(limits.LATE_EVENTS_MOVED_MAX),
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        return bool(cursor.rowcount)


def _late(horizon: datetime) -> sql.Composed:
    mark = sql.Literal(int(AnalyticsEvent.TimeMark.EXPIRED))
    return _composed("(time_mark = {mark} AND received_at >= {horizon})", mark=mark, horizon=horizon)


def _delete_expired_events(horizon: datetime, report: Report, progress: Progress) -> list[str]:
    expired = _composed("received_at < {horizon}", horizon=horizon)
    deleted = _delete_events(_default_partition(), expired, progress)
    if deleted:
        report(f"Expired events deleted from the default partition: {deleted:,}.")
    return []


def _delete_events(partition: Partition, expired: sql.Composable, progress: Progress) -> int:
    return _in_batches("Looking for expired events", _DELETE_BLOCKS, partition, progress, expired=expired)


# --- Making months ------------------------------------------------------------------------------------------------


def _make_missing_months(horizon: datetime, report: Report, progress: Progress) -> list[str]:
    default = _default_partition()
    missing = _missing_months(default, horizon)
    taken = [name for (name,) in _rows(_LIST_TAKEN_NAMES, [partition_name(month) for month in missing], MIRROR)]
    months = [month for month in missing if partition_name(month) not in taken]
    if not _is_mirror_for(months, default):
        _prepare_mirror(months, default)
    if months:
        _in_batches("Copying the default partition", _COPY_BLOCKS, default, progress, columns=_columns())
        moved = _count_moved(default)
        _under_short_lock([default], lambda cursor: _put_in_place(cursor, months, default))
        for month in months:
            report(f"Made {partition_name(month)}.")
        report(f"Events moved there from the default partition: {moved:,}.")
    return [f"{name} was not made: there is another table of that name. Attach, rename or drop it." for name in taken]


def _missing_months(default: Partition, horizon: datetime) -> list[datetime]:
    """Return the months that ought to have a partition and have none: those ahead, and those of stored events."""
    months = [month_of(timezone.now())]
    while len(months) <= limits.EVENT_MONTHS_AHEAD:
        months.append(next_month(months[-1]))
    query = _composed(
        "SELECT DISTINCT date_trunc('month', event_time, 'UTC') FROM {default}"
        " WHERE event_time >= {first} AND event_time < {end}",
        default=default.table,
        first=month_of(horizon),
        end=months[0],
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        wanted = {month_of(month) for (month,) in cursor.fetchall()} | set(months)
    partitions = list_partitions()
    return sorted(month for month in wanted if not any(partition.covers(month) for partition in partitions))


def _is_mirror_for(months: Collection[datetime], default: Partition) -> bool:
    """Return whether the mirror that an earlier run left is what this one needs; none, for no months."""
    mirrored = [partition.start for partition in list_partitions(MIRROR) if not partition.is_default]
    if not mirrored or not months:
        return not mirrored and not months
    return (
        sorted(start for start in mirrored if start) == sorted(months)
        and _rows(_LIST_COLUMNS, MIRROR) == _rows(_LIST_COLUMNS, EVENTS)
        and bool(_rows(_IS_MIRRORED, MIRROR, default.name))
    )


def _prepare_mirror(months: Sequence[datetime], default: Partition) -> None:
    """Make the mirror in place of an earlier one, if there is one, and the trigger that keeps it true."""

    def prepare(cursor: CursorWrapper) -> None:
        _drop_mirror(cursor)
        if months:
            _make_mirror(cursor, months, [*list_partitions(), *map(_month_partition, months)])
            _watch(cursor, default)

    _under_short_lock([default], prepare)


def _make_mirror(cursor: CursorWrapper, months: Sequence[datetime], partitions: Sequence[Partition]) -> None:
    """Make a table like that of the events, with these months; the checks tell what PostgreSQL would read it for.

    Autovacuum keeps away until all is in place: it would have to be waited for.
    """
    _execute(cursor, "CREATE TABLE {mirror} (LIKE {events} INCLUDING ALL) PARTITION BY RANGE (event_time)")
    mark = sql.Literal(int(AnalyticsEvent.TimeMark.EXPIRED))
    _execute(cursor, "CREATE INDEX ON {mirror} (event_time) WHERE time_mark = {mark}", mark=mark)
    for month in months:
        _execute(
            cursor,
            "CREATE TABLE {name} PARTITION OF {mirror}"
            " (CONSTRAINT {within} CHECK (event_time >= {start} AND event_time < {end}))"
            " FOR VALUES FROM ({start}) TO ({end}) WITH (autovacuum_enabled = false)",
            name=partition_name(month),
            start=month,
            end=next_month(month),
        )
    _execute(
        cursor,
        "CREATE TABLE {new_default} PARTITION OF {mirror} (CONSTRAINT {outside} CHECK ({condition}))"
        " DEFAULT WITH (autovacuum_enabled = false)",
        condition=_outside(partitions),
    )
    for (definition,) in _rows(_LIST_FOREIGN_KEYS, EVENTS):
        _execute(cursor, "ALTER TABLE {mirror} ADD {foreign_key}", foreign_key=sql.SQL(definition))


def _watch(cursor: CursorWrapper, default: Partition) -> None:
    """Repeat every change of the default partition from now on; PostgreSQL waits until none is under way."""
    _execute(cursor, _MIRROR_FUNCTION, columns=_columns(), new_columns=_columns("NEW."))
    _execute(
        cursor,
        "CREATE TRIGGER {mirror} AFTER INSERT OR UPDATE OR DELETE ON {default}"
        " FOR EACH ROW EXECUTE FUNCTION {mirror}()",
        default=default.table,
    )


def _drop_mirror(cursor: CursorWrapper) -> None:
    _execute(cursor, "DROP FUNCTION IF EXISTS {mirror}() CASCADE")
    _execute(cursor, "DROP TABLE IF EXISTS {mirror} CASCADE")


def _count_moved(default: Partition) -> int:
    """Return how many events the new months hold, having made sure that the mirror is true.

    Raises:
        MaintenanceError: it isn't; it was dropped.
    """
    with connection.cursor() as cursor:
        _execute(cursor, _COUNT_MIRRORED, default=default.table)
        original, mirrored, staying = cursor.fetchone()
    if original != mirrored:
        _prepare_mirror([], default)
        raise MaintenanceError(
            f"No month was made: the default partition has {original:,} events and its mirror {mirrored:,}, because"
            " something went around the trigger. The mirror was dropped; run the command again."
        )
    return int(mirrored) - int(staying)


def _put_in_place(cursor: CursorWrapper, months: Sequence[datetime], default: Partition) -> None:
    """Let the mirror's partitions take the place of the default partition."""
    _execute(cursor, "LOCK TABLE ONLY {events} IN ACCESS EXCLUSIVE MODE")
    _execute(cursor, "DROP TABLE {default}", default=default.table)
    _execute(cursor, "DROP FUNCTION {mirror}()")
    for name in [*map(partition_name, months), NEW_DEFAULT]:
        _execute(cursor, "ALTER TABLE {mirror} DETACH PARTITION {name}", name=name)
    _execute(cursor, "DROP TABLE {mirror}")
    for month in months:
        start, end, name = month, next_month(month), partition_name(month)
        _execute(
            cursor,
            "ALTER TABLE {events} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})",
            name=name,
            start=start,
            end=end,
        )
        _execute(cursor, "ALTER TABLE {name} DROP CONSTRAINT {within}, RESET (autovacuum_enabled)", name=name)
    _execute(cursor, "ALTER TABLE {events} ATTACH PARTITION {new_default} DEFAULT")
    _execute(cursor, "ALTER TABLE {new_default} DROP CONSTRAINT {outside}, RESET (autovacuum_enabled)")
    _execute(cursor, "ALTER TABLE {new_default} RENAME TO {name}", name=default.name)


def _month_partition(month: datetime) -> Partition:
    return Partition("", partition_name(month), is_default=False, start=month, end=next_month(month))


def _outside(partitions: Sequence[Partition]) -> sql.Composable:
    """Return the condition that a time lies in none of these ranges."""
    conditions = []
    for start, end in _joined_ranges(partitions):
        before = _composed("event_time < {start}", start=start) if start else sql.SQL("false")
        after = _composed("event_time >= {end}", end=end) if end else sql.SQL("false")
        conditions.append(_composed("({before} OR {after})", before=before, after=after))
    return sql.SQL(" AND ").join(conditions)


def _joined_ranges(partitions: Sequence[Partition]) -> list[tuple[datetime | None, datetime | None]]:
    """Return the ranges in order, those that touch joined to one."""
    first = datetime.min.replace(tzinfo=UTC)
    ranges: list[tuple[datetime | None, datetime | None]] = []
    for partition in sorted((p for p in partitions if not p.is_default), key=lambda p: p.start or first):
        if ranges and ranges[-1][1] == partition.start:
            ranges[-1] = (ranges[-1][0], partition.end)
        else:
            ranges.append((partition.start, partition.end))
    return ranges


# --- Locks, batches, statements -----------------------------------------------------------------------------------


def _under_short_lock(partitions: Sequence[Partition], act: Callable[[CursorWrapper], T]) -> T:
    """Act in a transaction that may lock ingest out for a moment, and gives up before the moment gets long."""

    def act_shortly(cursor: CursorWrapper) -> T:
        _set_local(cursor, "lock_timeout", _AUTOVACUUM_LEAVES_MILLISECONDS)
        for partition in partitions:
            # A lock that ingest goes along with: whoever is waited for here keeps no event waiting.
            _execute(cursor, "LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE", table=partition.table)
        _set_local(cursor, "statement_timeout", limits.MAINTENANCE_STATEMENT_MILLISECONDS)
        _set_local(cursor, "lock_timeout", limits.MAINTENANCE_LOCK_WAIT_MILLISECONDS)
        return act(cursor)

    return _with_tries(act_shortly)


def _in_batches(stage: str, statement: LiteralString, partition: Partition, progress: Progress, **parts: Part) -> int:
    """Run the statement for all blocks that the partition has now, a bounded number at a time; return its rows."""
    block_bytes, blocks = _rows(
        "SELECT size, pg_relation_size(format('%%I.%%I', %s::text, %s::text)::regclass) / size"
        " FROM (SELECT current_setting('block_size')::bigint AS size) AS block",
        partition.schema,
        partition.name,
    )[0]
    if not blocks:
        return 0
    rows = 0
    with progress.stage(stage, blocks * block_bytes) as advance:
        for first in range(0, blocks, limits.MAINTENANCE_BATCH_BLOCKS):
            end = min(first + limits.MAINTENANCE_BATCH_BLOCKS, blocks)
            rows += _run_batch(_composed(statement, table=partition.table, **_tids(first, end), **parts))
            advance((end - first) * block_bytes)
    return rows


def _run_batch(statement: sql.Composed) -> int:
    def run(cursor: CursorWrapper) -> int:
        _set_local(cursor, "lock_timeout", limits.MAINTENANCE_LOCK_WAIT_MILLISECONDS)
        cursor.execute(statement)
        return int(cursor.rowcount)

    return _with_tries(run)


def _tids(first: int, end: int) -> dict[str, sql.Literal]:
    return {"first": sql.Literal(f"({first},0)"), "end": sql.Literal(f"({end},0)")}


def _with_tries(act: Callable[[CursorWrapper], T]) -> T:
    """Act in a transaction, again and again while a lock can't be had.

    Raises:
        MaintenanceError: it could not be had in all the tries.
    """
    for tries_left in reversed(range(limits.MAINTENANCE_LOCK_TRIES)):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                return act(cursor)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in _BUSY_SQLSTATES:
                raise
        if tries_left:
            time.sleep(limits.MAINTENANCE_LOCK_PAUSE_SECONDS)
    raise MaintenanceError(
        f"The table was in use at each of {limits.MAINTENANCE_LOCK_TRIES} tries, by a backup or a long query maybe."
    )


def _set_local(cursor: CursorWrapper, name: str, milliseconds: int) -> None:
    cursor.execute("SELECT set_config(%s, %s, true)", [name, str(milliseconds)])


def _execute(cursor: CursorWrapper, template: LiteralString, **parts: Part) -> None:
    cursor.execute(_composed(template, **parts))


def _composed(template: LiteralString, **parts: Part) -> sql.Composed:
    """Put parts into a statement: texts as names, times as values."""
    return sql.SQL(template).format(**{name: _adapted(part) for name, part in (_NAMES | parts).items()})


def _adapted(part: Part) -> sql.Composable:
    if isinstance(part, sql.Composable):
        return part
    return sql.Literal(part) if isinstance(part, datetime) else sql.Identifier(part)
