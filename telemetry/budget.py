"""How many events a learner may send: `limits.EVENTS_PER_USER`, in windows that begin with a call.

They are counted by the statement that stores them (see `telemetry.ingest`), which alone decides. What it refused is
remembered in this process until the window ends, so that whoever goes on sending is refused before anything is read:
reading a call takes far longer than refusing it.
"""

import math
import uuid
from time import monotonic
from typing import Any, Final

from django.db import connection
from django.db.backends.utils import CursorWrapper

from config import limits, ratelimit

# A call that would spend more than is left changes no row, and then nothing else is stored: counted and stored are one
# transaction. The time is the database's, which all servers share; if it is set back, nobody waits for longer than one
# window.
SPEND: Final = """
    INSERT INTO telemetry_eventbudget AS kept (user_id, spent, ends_at)
    SELECT %(user_id)s, %(sent)s, now() + make_interval(secs => %(window)s) WHERE %(sent)s <= %(budget)s
    ON CONFLICT (user_id) DO UPDATE SET
        spent = excluded.spent + CASE WHEN kept.ends_at > now() THEN kept.spent ELSE 0 END,
        ends_at = CASE WHEN kept.ends_at > now() THEN least(kept.ends_at, excluded.ends_at) ELSE excluded.ends_at END
    WHERE kept.ends_at <= now() OR kept.spent + excluded.spent <= %(budget)s
    RETURNING true
"""
_FIND: Final = "SELECT spent, extract(epoch FROM ends_at - now()) FROM telemetry_eventbudget WHERE user_id = %s"
# Past the rows that a call is just renewing: that call may be waiting for whoever deletes.
_ERASE: Final = """
    DELETE FROM telemetry_eventbudget WHERE user_id IN (
        SELECT user_id FROM telemetry_eventbudget WHERE user_id = %s FOR UPDATE SKIP LOCKED
    )
"""
_PRUNE: Final = """
    DELETE FROM telemetry_eventbudget WHERE user_id IN (
        SELECT user_id FROM telemetry_eventbudget WHERE ends_at < now() - interval '1 day'
        LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""
_PRUNED_AT_ONCE: Final = 10_000

_REMEMBERED_MAX: Final = 10_000
_refused: dict[uuid.UUID, tuple[int, float]] = {}
"""By learner: how many events were left when a call was refused, and when the window ends, by the monotonic clock."""


def refuse_spent(*, user_id: uuid.UUID, sent: int) -> None:
    """Refuse a call of `sent` events that surely is too large, without asking the database.

    Raises:
        ApiError: TOO_MANY_REQUESTS with the seconds until the learner may send again.
    """
    budget, window = limits.EVENTS_PER_USER
    if sent > budget:
        raise ratelimit.too_many_requests(window)
    left, ends = _refused.get(user_id, (budget, 0.0))
    seconds = ends - monotonic()
    if seconds <= 0:
        _refused.pop(user_id, None)
    elif sent > left:
        raise ratelimit.too_many_requests(math.ceil(seconds))


def refuse(*, cursor: CursorWrapper, user_id: uuid.UUID) -> None:
    """Refuse a call that SPEND did not let through, and remember that.

    Raises:
        ApiError: TOO_MANY_REQUESTS with the seconds until the learner may send again.
    """
    budget, window = limits.EVENTS_PER_USER
    cursor.execute(_FIND, [user_id])
    spent, left_seconds = cursor.fetchone() or (budget, 0)
    seconds = min(float(left_seconds), window)
    if len(_refused) >= _REMEMBERED_MAX:
        _refused.clear()  # the database refuses them once more
    _refused[user_id] = (budget - spent, monotonic() + seconds)
    raise ratelimit.too_many_requests(math.ceil(seconds))


def spending(*, user_id: uuid.UUID, sent: int) -> dict[str, Any]:
    """Return what SPEND is executed with."""
    budget, window = limits.EVENTS_PER_USER
    return {"user_id": user_id, "sent": sent, "budget": budget, "window": window}


def erase(*, user_id: uuid.UUID) -> int:
    """Delete a learner's row, unless a call is just renewing it; return how many that were."""
    with connection.cursor() as cursor:
        cursor.execute(_ERASE, [user_id])
        return int(cursor.rowcount)


def prune() -> int:
    """Delete the rows of windows that ended more than a day ago; return how many."""
    pruned = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_PRUNE, [_PRUNED_AT_ONCE])
            deleted = int(cursor.rowcount)
            pruned += deleted
            if deleted < _PRUNED_AT_ONCE:
                return pruned
