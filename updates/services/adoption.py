"""Which versions devices have: every check tells it, and what is new is recorded after the check was decided.

A worker remembers what it recorded, so that a device that checks again with nothing new costs no statement. Other
workers may have recorded something else in between; so a memory ends after `limits.ADOPTION_MEMORY_SECONDS`, and with
the day (UTC). A device's record may be wrong for so long; the check's answer never depends on it.

The statement moves the day's counts by exactly what it changed in the device's rows, so that they agree whatever
happens at once. All statements lock in one order: the device's rows by scope, then the counts by key.

"A device" is a learner's session on one device id. When the learner logs in there anew, the new session takes the
scopes over as it checks them. A device that never comes back counts as seen for 30 days.
"""

import hashlib
import logging
import os
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from accounts.models import DeviceSession
from config import limits
from updates.models import DEVICE_SCOPE, FIXED_SCOPES, OTHER_VERSION, AdoptionDay, DeviceBundle

logger = logging.getLogger(__name__)

_SANE_VERSION: Final = re.compile(r"[A-Za-z0-9._+-]{1,64}")

_EVERYBODYS: Final = frozenset({DEVICE_SCOPE[0], *FIXED_SCOPES})
"""Bundle types whose one scope every device checks."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a device said of a scope, and what it was offered there. Make it with `sighting`."""

    bundle_type: str
    scope_id: str
    version: str
    counted_as: str
    offered_version: str


def sighting(
    bundle_type: str, scope_id: str, *, version: str | None, is_released: bool, offered_version: str
) -> Sighting:
    """Note what a device told of a scope that the server resolved.

    Args:
        version: as the client sent it, whatever it is; None when nothing is installed.
        is_released: it was published in this scope at some time.
    """
    text = version or ""
    counted_as = text if is_released or not text else OTHER_VERSION
    return Sighting(bundle_type, scope_id, text if _SANE_VERSION.fullmatch(text) else "", counted_as, offered_version)


# PostgreSQL reads the row under its lock in DO UPDATE, so `previous_…` is what this very statement replaced. `gone` are
# the rows of the device's earlier logins: they were counted, and this session counts instead. The patience is set by a
# statement of its own, sent with the other one: that one's tables are locked before anything of it is executed.
_RECORD: Final = """
    SET LOCAL lock_timeout = %(patience)s;
    WITH seen AS MATERIALIZED (
        SELECT session.id AS session_id, session.user_id, session.device_id, told.*
        FROM accounts_devicesession AS session, unnest(
            %(bundle_types)s::text[], %(scope_ids)s::text[], %(versions)s::text[], %(counted_as)s::text[],
            %(offered_versions)s::text[], %(slots)s::smallint[]
        ) AS told (bundle_type, scope_id, version, counted_as, offered_version, slot)
        WHERE session.id = %(session_id)s AND session.superseded_at IS NULL AND session.revoked_at IS NULL
    ), earlier AS MATERIALIZED (
        SELECT bundle.session_id, bundle.bundle_type, bundle.scope_id, seen.slot
        FROM seen
        JOIN accounts_devicesession AS session
            ON session.user_id = seen.user_id AND session.device_id = seen.device_id AND session.device_id <> ''
            AND session.id <> seen.session_id
            AND (session.superseded_at IS NOT NULL OR session.revoked_at IS NOT NULL)
        JOIN updates_devicebundle AS bundle
            ON bundle.session_id = session.id AND bundle.bundle_type = seen.bundle_type
            AND bundle.scope_id = seen.scope_id
        ORDER BY bundle.bundle_type, bundle.scope_id, bundle.session_id
        FOR UPDATE OF bundle
    ), gone AS (
        DELETE FROM updates_devicebundle AS bundle USING earlier
        WHERE bundle.session_id = earlier.session_id AND bundle.bundle_type = earlier.bundle_type
            AND bundle.scope_id = earlier.scope_id
        RETURNING bundle.bundle_type, bundle.scope_id, bundle.last_seen_on, bundle.counted_as, bundle.offered_version,
            earlier.slot
    ), kept AS (
        INSERT INTO updates_devicebundle AS kept
            (session_id, bundle_type, scope_id, version, counted_as, offered_version, first_seen_on, last_seen_on)
        SELECT session_id, bundle_type, scope_id, version, counted_as, offered_version, %(day)s, %(day)s
        FROM seen ORDER BY bundle_type, scope_id
        ON CONFLICT (session_id, bundle_type, scope_id) DO UPDATE SET
            version = excluded.version, counted_as = excluded.counted_as, offered_version = excluded.offered_version,
            last_seen_on = excluded.last_seen_on, previous_counted_as = kept.counted_as,
            previous_offered_version = kept.offered_version, previous_seen_on = kept.last_seen_on
        WHERE kept.last_seen_on < excluded.last_seen_on OR (
            kept.last_seen_on = excluded.last_seen_on
            AND (kept.version, kept.counted_as, kept.offered_version)
                IS DISTINCT FROM (excluded.version, excluded.counted_as, excluded.offered_version)
        )
        RETURNING bundle_type, scope_id, last_seen_on, counted_as, offered_version,
            previous_seen_on, previous_counted_as, previous_offered_version
    ), change (bundle_type, scope_id, day, version, offered_version, slot, devices, latest, checks) AS (
        SELECT bundle_type, scope_id, kept.last_seen_on, kept.counted_as, kept.offered_version, slot, 1, 1, 0
        FROM kept JOIN seen USING (bundle_type, scope_id)
        UNION ALL
        SELECT bundle_type, scope_id, previous_seen_on, previous_counted_as, previous_offered_version, slot,
            -(previous_seen_on = last_seen_on)::int, -1, 0
        FROM kept JOIN seen USING (bundle_type, scope_id)
        WHERE previous_seen_on IS NOT NULL
        UNION ALL
        SELECT bundle_type, scope_id, last_seen_on, counted_as, offered_version, slot,
            -(last_seen_on = %(day)s)::int, -1, 0
        FROM gone
        UNION ALL
        SELECT %(device_type)s, '', day, '', '', %(device_slot)s, 0, 0, checks
        FROM unnest(%(check_days)s::date[], %(checks)s::int[]) AS counted (day, checks)
    )
    INSERT INTO updates_adoptionday AS total
        (bundle_type, scope_id, day, version, offered_version, slot, devices, latest, checks)
    SELECT bundle_type, scope_id, day, version, offered_version, slot, sum(devices), sum(latest), sum(checks)
    FROM change
    GROUP BY bundle_type, scope_id, day, version, offered_version, slot
    HAVING sum(devices) <> 0 OR sum(latest) <> 0 OR sum(checks) <> 0
    ORDER BY bundle_type, scope_id, day, version, offered_version, slot
    ON CONFLICT (bundle_type, scope_id, day, version, offered_version, slot) DO UPDATE SET
        devices = total.devices + excluded.devices, latest = total.latest + excluded.latest,
        checks = total.checks + excluded.checks
"""


class _Memory:
    """What this worker has recorded lately, and the checks that it has counted and not yet written."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Also for the child of a fork, which inherits the lock as it was, and counts that its parent will write."""
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[bytes, float] | object] = OrderedDict()
        self._checks: Counter[date] = Counter()
        self._checks_written_at = -limits.ADOPTION_CHECKS_SECONDS
        self._warned_at = -limits.ADOPTION_WARNING_SECONDS
        self._failed_at = -limits.ADOPTION_PAUSE_SECONDS

    def count_check(self, day: date) -> None:
        with self._lock:
            self._checks[day] += 1

    def claim(self, key: bytes, state: bytes) -> object | None:
        """Return None when this state is known; otherwise what `settle` wants after recording it."""
        with self._lock:
            known = self._known.get(key)
            if isinstance(known, tuple) and known[0] == state and _age(known[1]) < limits.ADOPTION_MEMORY_SECONDS:
                self._known.move_to_end(key)
                return None
            claim = self._known[key] = object()
            self._known.move_to_end(key)
            if len(self._known) > limits.ADOPTION_MEMORY_MAX:
                self._known.popitem(last=False)
            return claim

    def settle(self, key: bytes, claim: object, state: bytes | None) -> None:
        """Remember the state that was recorded; None: it was not.

        When another check of the same device came in between, nobody knows which was the last: neither is remembered.
        """
        with self._lock:
            if self._known.get(key) is claim and state is not None:
                self._known[key] = (state, time.monotonic())
            else:
                self._known.pop(key, None)

    def take_checks(self) -> Mapping[date, int]:
        """Return the counted checks for writing, every `limits.ADOPTION_CHECKS_SECONDS`; nothing in between."""
        with self._lock:
            if _age(self._checks_written_at) < limits.ADOPTION_CHECKS_SECONDS:
                return {}
            self._checks_written_at = time.monotonic()
            taken, self._checks = self._checks, Counter()
            return taken

    def give_back(self, checks: Mapping[date, int]) -> None:
        with self._lock:
            self._checks.update(checks)

    def is_pausing(self) -> bool:
        with self._lock:
            return _age(self._failed_at) < limits.ADOPTION_PAUSE_SECONDS

    def note_failure(self) -> bool:
        """Begin a pause; say whether the failure is to be logged: one line a check would fill the log."""
        with self._lock:
            self._failed_at = time.monotonic()
            if _age(self._warned_at) < limits.ADOPTION_WARNING_SECONDS:
                return False
            self._warned_at = time.monotonic()
            return True


memory: Final = _Memory()
os.register_at_fork(after_in_child=memory.start_anew)


def note_check(*, session: DeviceSession, sightings: Sequence[Sighting], now: datetime) -> None:
    """Record what a check told of a device, when this worker doesn't know it yet. At most one statement.

    The first sighting says which check it was. It never raises a database error and never waits long for a row: the
    check was decided before, and its answer matters more. After a failure this worker records nothing for
    `limits.ADOPTION_PAUSE_SECONDS`. A session that was superseded is left out, since another one
    speaks for its device.

    Checks are counted in memory and written with the next record, so their number lags behind by what the workers
    hold, and a worker that is killed loses its share.
    """
    day = now.date()
    memory.count_check(day)
    if session.superseded_at is not None or memory.is_pausing():
        return
    key = _digest(session.pk, sightings[0].bundle_type, sightings[0].scope_id)
    state = _digest(day, *map(astuple, sightings))
    claim = memory.claim(key, state)
    if claim is None:
        return
    checks = memory.take_checks()
    try:
        _record(session, sightings, day, checks)
    except (DatabaseError, InterfaceError) as error:
        memory.settle(key, claim, None)
        memory.give_back(checks)
        if memory.note_failure():
            logger.warning("Which versions a device has could not be recorded: %s", str(error).strip().split("\n")[0])
    else:
        memory.settle(key, claim, state)


def _record(session: DeviceSession, sightings: Sequence[Sighting], day: date, checks: Mapping[date, int]) -> None:
    rows = [*sightings, Sighting(*DEVICE_SCOPE, version="", counted_as="", offered_version="")]
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            {
                "patience": f"{limits.ADOPTION_LOCK_WAIT_MILLISECONDS}ms",
                "session_id": session.pk,
                "day": day,
                "bundle_types": [row.bundle_type for row in rows],
                "scope_ids": [row.scope_id for row in rows],
                "versions": [row.version for row in rows],
                "counted_as": [row.counted_as for row in rows],
                "offered_versions": [row.offered_version for row in rows],
                "slots": [_slot(session, row.bundle_type) for row in rows],
                "device_type": DEVICE_SCOPE[0],
                "device_slot": _slot(session, DEVICE_SCOPE[0]),
                "check_days": list(checks),
                "checks": list(checks.values()),
            },
        )


def _slot(session: DeviceSession, bundle_type: str) -> int:
    """Spread the sessions over the slots of a count: their ids are random."""
    slots = limits.ADOPTION_SLOTS_OF_EVERYBODY if bundle_type in _EVERYBODYS else limits.ADOPTION_SLOTS
    return session.pk.bytes[-1] % slots


def _digest(*parts: object) -> bytes:
    """Stand for the parts in a few bytes: a worker remembers tens of thousands."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _age(moment: float) -> float:
    return time.monotonic() - moment


def prune_adoption() -> tuple[int, int]:
    """Delete counts of days, and what devices said, older than `limits.ADOPTION_DAYS`.

    Returns how many of each were deleted.
    """
    before = timezone.now().date() - timedelta(days=limits.ADOPTION_DAYS)
    counts = AdoptionDay.objects.filter(day__lt=before)
    rows = DeviceBundle.objects.filter(last_seen_on__lt=before)
    return counts.delete()[0], rows.delete()[0]
