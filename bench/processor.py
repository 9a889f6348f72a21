"""What processes have had of the processor, by /proc (Linux): a figure that neighbours at work change less."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.db import connection

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

Seconds = dict[int, float]
"""By the process's id."""


def server_seconds() -> Seconds:
    """Return what the processes that this one has started, and theirs, have used so far."""
    return _seconds(_descendants(os.getpid()))


def database_seconds() -> Seconds:
    """Return what PostgreSQL's processes for the other connections to the database have used so far.

    There are none to see when it runs on another machine.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return _seconds(pid for (pid,) in cursor.fetchall())


class Meter:
    """Adds up what some processes use from the start to the stop; those that end in between don't count."""

    def __init__(self, look: Callable[[], Seconds]) -> None:
        self._look = look
        self._before = look()

    def stop(self) -> float:
        """Return seconds."""
        return sum(seconds - self._before.get(pid, 0.0) for pid, seconds in self._look().items())


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _seconds(pids: Iterable[int]) -> Seconds:
    found: Seconds = {}
    for pid in pids:
        with suppress(OSError):
            # The name, which may hold anything, ends with the last bracket; see proc(5), fields 14 and 15.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
    return found
