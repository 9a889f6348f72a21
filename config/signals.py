"""SIGTERM as commands take it that must not leave anything half written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

TERMINATED: Final = 143
"""Exit status after SIGTERM, as shells have it: 128 + 15."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. What ends well at Ctrl-C does so now: half a file goes, and the database's work is cancelled."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let neither Ctrl-C nor SIGTERM end what proves that something was done: SIGKILL still does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM would end the process at once. Other threads than the main one get no signals.

    Raises:
        Terminated: SIGTERM came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
