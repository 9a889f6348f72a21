"""A cache of counters in PostgreSQL: what rate limits need, when there is no Redis.

Django's own DatabaseCache loses counts, since its `incr` reads and then writes. Here each call is one statement,
so counts are exact however many workers call at once. Values are integers only.
"""

import random
import time
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connections, router

_FOREVER_SECONDS: Final = 10 * 365 * 86_400
_CLEAN_ONE_IN: Final = 200
_CLEAN_ROWS: Final = 1_000

_ADD: Final = """
    INSERT INTO config_counter AS c (key, value, expires_at)
    VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    WHERE c.expires_at <= clock_timestamp()
"""
_SET: Final = """
    INSERT INTO config_counter (key, value, expires_at)
    VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
"""
_GET: Final = "SELECT value FROM config_counter WHERE key = %s AND expires_at > clock_timestamp()"
_INCR: Final = """
    UPDATE config_counter SET value = value + %s WHERE key = %s AND expires_at > clock_timestamp() RETURNING value
"""
_TOUCH: Final = """
    UPDATE config_counter SET expires_at = clock_timestamp() + make_interval(secs => %s)
    WHERE key = %s AND expires_at > clock_timestamp()
"""
_DELETE: Final = "DELETE FROM config_counter WHERE key = %s AND expires_at > clock_timestamp()"
_CLEAN: Final = """
    DELETE FROM config_counter WHERE key IN (
        SELECT key FROM config_counter WHERE expires_at <= clock_timestamp() LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""


class PostgresCounterCache(BaseCache):
    """A Django cache backend on the table of `config.models.Counter`.

    Raises:
        TypeError: a value that is no integer.
        ValueError: `incr` and `decr` of a key that is absent or has expired.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        if random.randrange(_CLEAN_ONE_IN) == 0:  # noqa: S311  it only spreads the cleaning
            self._run(_CLEAN, [_CLEAN_ROWS])
        return self._run(_ADD, [self._key(key, version), _integer(value), self._seconds(timeout)])[0] == 1

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        row = self._run(_GET, [self._key(key, version)])[1]
        return default if row is None else row[0]

    def set(self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._run(_SET, [self._key(key, version), _integer(value), self._seconds(timeout)])

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        row = self._run(_INCR, [delta, self._key(key, version)])[1]
        if row is None:
            raise ValueError(f"Key {key!r} not found")
        return int(row[0])

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        return self._run(_TOUCH, [self._seconds(timeout), self._key(key, version)])[0] == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._run(_DELETE, [self._key(key, version)])[0] == 1

    def clear(self) -> None:
        self._run("DELETE FROM config_counter", [])

    def _key(self, key: str, version: int | None) -> str:
        return self.make_and_validate_key(key, version=version)

    def _seconds(self, timeout: float | None) -> float:
        """Turn Django's absolute time-out (None: never) into seconds from now; 0 or less is expired at once."""
        expires = self.get_backend_timeout(timeout)
        return _FOREVER_SECONDS if expires is None else max(0.0, expires - time.time())

    def _run(self, sql: str, parameters: list[Any]) -> tuple[int, tuple[Any, ...] | None]:
        """Run one statement; return its row count and first row, if it returns rows."""
        from config.models import Counter

        with connections[router.db_for_write(Counter)].cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.rowcount, cursor.fetchone() if cursor.description else None


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError("This cache holds integers only.")
    return int(value)
