"""Threads with a database connection of their own, and a way to know that one waits for another's lock."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from django.db import connection, connections

WAIT_SECONDS = 60


def in_thread(function: Callable[[], Any]) -> "Future[Any]":
    """Run the function in a thread; the future's `result` is what it returns or raises."""

    def run() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(run)
    finally:
        pool.shutdown(wait=False)


def run_at_once(*functions: Callable[[], Any]) -> list[Any]:
    """Run the functions in threads that start together, and return what they return."""
    barrier = threading.Barrier(len(functions), timeout=WAIT_SECONDS)

    def start_together(function: Callable[[], Any]) -> Any:
        barrier.wait()
        return function()

    futures = [in_thread(partial(start_together, function)) for function in functions]
    return [future.result(WAIT_SECONDS) for future in futures]


def in_parallel(number: int, call: Callable[[int], Any]) -> list[Any]:
    """Make `number` calls that start together, each with its index, and return what they return."""
    return run_at_once(*(partial(call, index) for index in range(number)))


def wait_until_blocked() -> None:
    """Wait until another connection waits for a lock that this one holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
            if cursor.rowcount:
                return
            time.sleep(0.01)
    raise AssertionError("Nothing waits for a lock of this connection.")
