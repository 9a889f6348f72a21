"""Events as xAPI statements, version 1.0.3: https://github.com/adlnet/xAPI-Spec, part two, section 2.

One statement a line, rather than an array: whoever reads them needs to hold one at a time as well, can go on where a
transfer to a learning record store broke off, and can cut the file anywhere between lines into posts of the size that
the store takes.
"""

import functools
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from django.conf import settings

from config.terminal import printable
from telemetry.exports.reading import EventRow, ExportedEvent, Privacy, Titles

_VERSION: Final = "1.0.0"
"""What part two, section 2.4.10 of 1.0.3 demands of whoever makes a statement of any version 1.0.x."""

_VERBS: Final = "http://adlnet.gov/expapi/verbs/"
_COURSE: Final = "http://adlnet.gov/expapi/activities/course"
_CHAPTER: Final = "http://adlnet.gov/expapi/activities/module"
_LANGUAGE: Final = "und"
"""RFC 5646 for a language that nobody knows: that of titles."""

_REASONS_MAX: Final = 100
"""Event types that are told apart of those that are left out; clients may send any."""
_OTHERS: Final = "other types"
_REMEMBERED: Final = 2_048
"""Activities, each about 1 KiB, that are not made anew."""

Json = dict[str, Any]


class Verb(NamedTuple):
    """A verb of ADL's registry, https://registry.tincanapi.com/#home/verbs, and what it says of the outcome."""

    name: str
    result: Mapping[str, bool] | None = None


VERBS_OF_ACTS: Final[Mapping[str, Verb]] = {
    # Clients send `opened` at every opening, so it begins no attempt; `started` does.
    "opened": Verb("experienced"),
    "started": Verb("initialized"),
    "completed": Verb("completed", {"completion": True}),
    "passed": Verb("passed", {"success": True}),
    "failed": Verb("failed", {"success": False}),
    "paused": Verb("suspended"),
    "resumed": Verb("resumed"),
    "closed": Verb("exited"),
}
"""By what an event type says after `chapter_` or `course_`."""


class XapiEncoder:
    """Makes statements of events on chapters and courses; others are left out and counted."""

    def __init__(self, privacy: Privacy, left_out: Counter[str]) -> None:
        self._identify = privacy.identify
        self._left_out = left_out
        self._encoder = msgspec.json.Encoder()
        self._base = settings.XAPI_BASE_URL
        # A store refuses another statement under an id that it has: what is shown of learners is part of the id.
        variant = f"{self._base}/xapi/statements/{int(privacy.identify)}{int(privacy.with_payload)}"
        self._namespace = uuid.uuid5(uuid.NAMESPACE_URL, variant)
        self._course = functools.lru_cache(_REMEMBERED)(self._make_course)
        self._chapter = functools.lru_cache(_REMEMBERED)(self._make_chapter)

    def begin(self) -> bytes:
        return b""

    def add(self, rows: Sequence[EventRow]) -> bytes:
        statements = [self._statement(event, titles) for event, titles, _ in rows]
        return self._encoder.encode_lines([statement for statement in statements if statement])

    def end(self) -> bytes:
        return b""

    def _statement(self, event: ExportedEvent, titles: Titles) -> Json | None:
        place, _, act = event.event_type.partition("_")
        verb = VERBS_OF_ACTS.get(act)
        if verb is None or place not in ("chapter", "course"):
            self._leave_out(printable(event.event_type))
            return None
        if event.course_id is None or (place == "chapter" and not event.chapter_id):
            self._leave_out(f"{event.event_type} without a {'chapter' if event.course_id else 'course'}")
            return None
        course = self._course(event.course_id, titles.course)
        context: Json = {"platform": settings.APP_NAME, "extensions": self._extensions(event)}
        if place == "chapter":
            context["contextActivities"] = {"parent": [course]}
            chapter_id = titles.chapter_id or event.chapter_id
            activity = self._chapter(event.course_id, chapter_id, titles.chapter)
        else:
            activity = course
        statement: Json = {
            "id": str(uuid.uuid5(self._namespace, f"{event.learner}\n{event.event_id}\n{event.event_time}")),
            "actor": self._actor(event),
            "verb": {"id": f"{_VERBS}{verb.name}", "display": {"en": verb.name}},
            "object": activity,
            "context": context,
            "timestamp": event.event_time,
            "stored": event.received_at,
            "version": _VERSION,
        }
        return statement | {"result": verb.result} if verb.result else statement

    def _leave_out(self, reason: str) -> None:
        known = reason in self._left_out or len(self._left_out) < _REASONS_MAX
        self._left_out[reason if known else _OTHERS] += 1

    def _actor(self, event: ExportedEvent) -> Json:
        if self._identify:
            return {"objectType": "Agent", "mbox": f"mailto:{event.email}"}
        return {"objectType": "Agent", "account": {"homePage": self._base, "name": event.learner}}

    def _extensions(self, event: ExportedEvent) -> Json:
        extensions: Json = {"event-type": event.event_type}
        if self._identify:
            extensions["user-id"] = event.user_id
        if event.session_id:
            extensions["session-id"] = event.session_id
        if isinstance(event.payload, msgspec.Raw):
            extensions["payload"] = event.payload
        if event.time_mark != "plain":
            extensions["time-mark"] = event.time_mark
        return {f"{self._base}/xapi/extensions/{name}": value for name, value in extensions.items()}

    def _make_course(self, course_id: str, title: str | None) -> Json:
        return _activity(f"{self._base}/xapi/courses/{course_id}", _COURSE, title)

    def _make_chapter(self, course_id: str, chapter_id: str, title: str | None) -> Json:
        place = f"{self._base}/xapi/courses/{course_id}/chapters/{quote(chapter_id, safe='')}"
        return _activity(place, _CHAPTER, title)


def _activity(activity_id: str, kind: str, title: str | None) -> Json:
    names = {"name": {_LANGUAGE: title}} if title else {}
    return {"objectType": "Activity", "id": activity_id, "definition": {"type": kind} | names}
