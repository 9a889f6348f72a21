"""Reads of accounts and sessions."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Count, Q, Value
from django.utils import timezone

from accounts.models import LAST_SEEN, DeviceSession, User
from config import limits

SEARCHED_MIN_CHARACTERS: Final = 2
"""Of a text that is looked for in the middle of names and emails; one letter begins a word in too many of them."""

SEARCHED_MAX_CHARACTERS: Final = 254
"""Of such a text: as long as an email may be. PostgreSQL refuses words of 2,047 bytes."""

FOUND_MAX_USERS: Final = 200
"""Users that a search finds by their email, and by words: whoever looks for one types more."""

_SESSION_COLUMNS: Final = DeviceSession._meta.concrete_fields
_USER_COLUMNS: Final = User._meta.concrete_fields

# What `DeviceSession.objects.select_related("user").filter(…)` runs, written once: making the same SQL anew for each
# call took 0.5 ms of the processor, a third of a small call.
_SESSION_OF_TOKEN: Final = f"""
    SELECT {", ".join(f'session."{field.column}"' for field in _SESSION_COLUMNS)},
        {", ".join(f'account."{field.column}"' for field in _USER_COLUMNS)}
    FROM {DeviceSession._meta.db_table} AS session JOIN {User._meta.db_table} AS account ON account.id = session.user_id
    WHERE session.id = %s AND session.user_id = %s
"""  # noqa: S608  names of tables and columns only


def get_session_of_token(*, session_id: uuid.UUID, user_id: uuid.UUID) -> DeviceSession | None:
    """Return the session with its user joined, by primary key. One query, on every protected call."""
    row = _fetch_first(_SESSION_OF_TOKEN, [session_id, user_id])
    if row is None:
        return None
    of_session, of_user = row[: len(_SESSION_COLUMNS)], row[len(_SESSION_COLUMNS) :]
    session = DeviceSession.from_db(connection.alias, [field.attname for field in _SESSION_COLUMNS], of_session)
    user = User.from_db(connection.alias, [field.attname for field in _USER_COLUMNS], of_user)
    DeviceSession._meta.get_field("user").set_cached_value(session, user)
    return session


def _fetch_first(sql: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the first row of a request's first query, which also finds out whether the kept connection still stands.

    Django would ask that by one more query in each call (`CONN_HEALTH_CHECKS`). A connection that was cut off meanwhile
    is replaced, and the query run again.
    """
    kept = connection.connection is not None and not connection.in_atomic_block
    connection.health_check_done = True  # type: ignore[attr-defined]  # the stubs lack it
    try:
        return _fetch(sql, parameters)
    except (OperationalError, InterfaceError):
        if not (kept and connection.connection.closed):
            raise  # the database refuses the query itself, or it takes too long
        connection.close()
        return _fetch(sql, parameters)


def _fetch(sql: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def get_session_of_refresh_digest(*, digest: str) -> DeviceSession | None:
    """Return the session of a refresh token with its user joined. One query."""
    return DeviceSession.objects.select_related("user").filter(refresh_digest=digest).first()


def get_user_by_email(*, email: str) -> User | None:
    return User.objects.filter(email=email).first()


def user_exists(*, user_id: uuid.UUID) -> bool:
    return User.objects.filter(pk=user_id).exists()


def find_users(*, text: str, limit: int = FOUND_MAX_USERS) -> list[uuid.UUID]:
    """Return whose email begins so, and of whose name and email each of the words begins a word: the id of each.

    At most `limit` of either kind, in no order. A text with an @ is the beginning of an email only. One query, which
    is quick whatever the text is (see the migration of `accounts_find_users`).
    """
    text = text.strip().lower()[:SEARCHED_MAX_CHARACTERS]
    words = re.findall(r"[^\W_]+", text)[: limits.ADMIN_SEARCH_WORDS_MAX]  # as the index splits them
    if "@" in text or len(text) < SEARCHED_MIN_CHARACTERS:
        words = []
    return _find_users(text, " & ".join(f"'{word}':*" for word in words), limit)


def find_users_by_email(*, prefix: str, limit: int = FOUND_MAX_USERS) -> list[uuid.UUID]:
    """Return the ids of those whose email begins so, the first `limit` by email. One query."""
    return _find_users(prefix.strip().lower(), "", limit)


def _find_users(prefix: str, query: str, limit: int) -> list[uuid.UUID]:
    if not prefix or "\x00" in prefix:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT accounts_find_users(%s, nullif(%s, '')::tsquery, %s)", [prefix, query, limit])
        return [row[0] for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class ActiveDevices:
    """How many devices were active, and how many of them have ever said what they run."""

    total: int
    with_desktop_version: int
    with_sidecar_version: int


def count_active_devices(*, days: int) -> ActiveDevices:
    """Count sessions that stand and that logged in or refreshed in the last `days`. One query, of one index."""
    since = timezone.now() - timedelta(days=days)
    active = DeviceSession.objects.alias(last_seen=LAST_SEEN).filter(
        last_seen__gte=since, superseded_at=None, revoked_at=None
    )
    return ActiveDevices(
        **active.aggregate(
            total=Count(Value(1)),
            with_desktop_version=Count(Value(1), filter=~Q(desktop_version="")),
            with_sidecar_version=Count(Value(1), filter=~Q(sidecar_version="")),
        )
    )


def count_standing_sessions(*, user: User) -> int:
    """Count the devices on which somebody is logged in. One query."""
    return user.device_sessions.filter(superseded_at=None, revoked_at=None).count()


def find_sessions(*, text: str, by_email: bool = True) -> list[uuid.UUID]:
    """Return the sessions of devices whose id begins so, and of users whose email does: the id of each.

    At most FOUND_MAX_USERS of either kind. Three queries. Without `by_email`, devices only: two queries less.
    """
    text = text.strip()
    if not text or "\x00" in text:
        return []
    users = find_users_by_email(prefix=text) if by_email else []
    of_users = DeviceSession.objects.filter(user_id__in=users).values_list("pk", flat=True)[:FOUND_MAX_USERS]
    by_device = DeviceSession.objects.filter(device_id__startswith=text).values_list("pk", flat=True)[:FOUND_MAX_USERS]
    return [*of_users, *by_device]
