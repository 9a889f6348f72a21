"""What the formats have in common."""

from collections.abc import Sequence
from typing import Protocol

from telemetry.exports.reading import EventRow


class Encoder(Protocol):
    """Makes bytes of events; what it returns may be empty, and comes later then."""

    def begin(self) -> bytes: ...

    def add(self, rows: Sequence[EventRow]) -> bytes: ...

    def end(self) -> bytes: ...
