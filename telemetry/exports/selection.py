"""Which events are exported."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A choice of events; None: no matter which. An empty choice of courses or types has no event at all.

    Attributes:
        course_ids: events of these courses; those without a course belong to none.
        event_types: events of these types.
        since: events at this time and after it, by `event_time`.
        until: events before this time.
    """

    course_ids: frozenset[uuid.UUID] | None = None
    event_types: frozenset[str] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def limited_to(self, course_ids: Collection[uuid.UUID]) -> "Selection":
        """Return what of it lies in these courses: all that somebody may see who has these only."""
        allowed = frozenset(course_ids)
        return replace(self, course_ids=allowed if self.course_ids is None else self.course_ids & allowed)

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Return SQL conditions on an `event`, but for the time, and their parameters."""
        conditions: list[str] = []
        parameters: list[Any] = []
        if self.course_ids is not None:
            conditions.append("event.course_id = ANY (%s::uuid[])")
            parameters.append(sorted(self.course_ids))
        if self.event_types is not None:
            conditions.append("event.event_type = ANY (%s::text[])")
            parameters.append(sorted(self.event_types))
        return conditions, parameters
