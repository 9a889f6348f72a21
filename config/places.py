"""Places for slow work: how much of it one process takes on, so that its other threads stay free."""

import queue
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress

from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import ApiError, ErrorCode

GiveBack = Callable[[], object]


class Places:
    """Places for work that holds its thread for as long as somebody's network takes.

    Of those who are counted, nobody gets more than half.

    A place may be given back by the garbage collector, in the middle of taking one: giving back takes no lock, and of
    what the standard library has, only a SimpleQueue allows that.
    """

    def __init__(self, number: int) -> None:
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _place in range(number):
            self._free.put(None)
        self._each = max(1, number // 2)
        self._holders: dict[int, Hashable] = {}
        self._taking = threading.Lock()

    def qsize(self) -> int:
        """Return how many are free, as queues call it."""
        return self._free.qsize()

    def take(self, holder: Hashable | None = None) -> GiveBack:
        """Take a place and return what gives it back, once however often it is called.

        Args:
            holder: for whom it is. None: for somebody who isn't counted.

        Raises:
            ApiError: SERVICE_UNAVAILABLE at once when none is free, or none for this holder.
        """
        held = [None]
        with self._taking:
            if holder is not None and tuple(self._holders.values()).count(holder) >= self._each:
                raise busy(_("Other uploads of yours are under way. Please try again in a moment."))
            try:
                self._free.get_nowait()
            except queue.Empty:
                raise busy() from None
            if holder is not None:
                self._holders[id(held)] = holder

        def give_back() -> None:
            with suppress(IndexError):
                place = held.pop()
                self._holders.pop(id(held), None)
                self._free.put(place)

        return give_back


def busy(message: StrOrPromise = "") -> ApiError:
    """Make the refusal of slow work that there is no place for at the moment."""
    return ApiError(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=limits.RETRY_AFTER_BUSY_SECONDS)
