"""One analytics event: from what a client sent to the row that is stored, or why it can't be.

Plain functions over dicts, since a call brings up to 1,000 events and a serializer for each would cost more than the
insert. A fault concerns one event only: clients drop an event at the 200 that refuses it, so what can be read is read.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from config import limits
from config.errors import ErrorCode
from config.jsonvalues import json_fault, text_fault
from config.redaction import redact, redact_text
from courses.selectors import canonical_uuid


@dataclass(frozen=True, slots=True)
class Event:
    """An event that can be stored: redacted, within the limits, its time in UTC. `payload` is JSON text."""

    event_id: str
    event_time: datetime
    event_type: str
    course_id: uuid.UUID | None
    chapter_id: str
    session_id: str
    payload: str


@dataclass(eq=False)
class EventRefusedError(Exception):
    """Why an event can't be stored. The message never repeats what was sent."""

    code: ErrorCode
    message: str


def read_event(raw: Mapping[str, Any]) -> Event:
    """Read one event as sent; the course's enrolment is not looked at.

    Raises:
        EventRefusedError: VALIDATION_ERROR; COURSE_ACCESS_DENIED for a course id that is none.
    """
    event_id = _text(raw, "event_id", limits.EVENT_ID_MAX_LENGTH)
    event_type = _redacted_text(raw, "event_type", limits.EVENT_TYPE_MAX_LENGTH)
    if not event_type:
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, "event_type is missing.")
    event_time = _time(raw.get("event_time"))
    course_id = _course_id(raw.get("course_id"))
    chapter_id = _redacted_text(raw, "chapter_id", limits.REFERENCE_MAX_LENGTH)
    session_id = _redacted_text(raw, "session_id", limits.REFERENCE_MAX_LENGTH)
    payload = _payload(raw.get("payload"))
    if not event_id or redact_text(event_id) != event_id:
        event_id = derive_event_id(event_type, event_time, course_id, chapter_id, session_id, payload)
    return Event(event_id, event_time, event_type, course_id, chapter_id, session_id, payload)


def derive_event_id(
    event_type: str, event_time: datetime, course_id: uuid.UUID | None, chapter_id: str, session_id: str, payload: str
) -> str:
    """Return `sha256:` and the hex digest of the content as canonical JSON: the same for a blind retry.

    It is made from the redacted content: an unkeyed hash of a short password, with everything else of the event
    beside it, would be guessed in no time. The price is that an event that held a secret is stored twice when it is
    sent again after an upgrade that changed the rules of redaction.
    """
    # The payload is canonical JSON text already, so it is put into the list rather than dumped a second time.
    head = _canonical_json(
        [event_type, event_time.isoformat(), str(course_id) if course_id else None, chapter_id, session_id]
    )
    content = f"{head[:-1]},{payload}]"
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def shown_event_id(raw: Mapping[str, Any]) -> str | None:
    """Return the id under which an error tells of this event; None when it has none that can be shown."""
    event_id = raw.get("event_id")
    if not isinstance(event_id, str) or len(event_id) > limits.EVENT_ID_MAX_LENGTH or text_fault(event_id):
        return None
    return redact_text(event_id) or None


def _text(raw: Mapping[str, Any], name: str, max_length: int) -> str:
    """Return the field as sent; absent and null are the empty text."""
    value = raw.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, f"{name} must be a string.")
    if len(value) > max_length:
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, f"{name} may have at most {max_length} characters.")
    if fault := text_fault(value):
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, f"{name}: {fault}")
    return value


def _redacted_text(raw: Mapping[str, Any], name: str, max_length: int) -> str:
    """Like `_text`, redacted, and cut when that made it longer than its column."""
    return redact_text(_text(raw, name, max_length))[:max_length]


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or not value:
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, "event_time is missing, or no string.")
    if fault := text_fault(value):  # Python reads past a NUL at the end
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, f"event_time: {fault}")
    try:
        # RFC 3339, section 5.6, allows a lower-case `t` and `z`.
        moment = datetime.fromisoformat(value.upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise EventRefusedError(
            ErrorCode.VALIDATION_ERROR, "event_time is no time by RFC 3339, or out of range."
        ) from None


def _course_id(value: Any) -> uuid.UUID | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, "course_id must be a string.")
    course_id = canonical_uuid(value)
    if course_id is None:
        raise EventRefusedError(ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.COURSE_ACCESS_DENIED.message)
    return course_id


def _payload(value: Any) -> str:
    """Return the payload, redacted, as canonical JSON text."""
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, "payload must be an object.")
    if fault := json_fault(value):
        raise EventRefusedError(ErrorCode.VALIDATION_ERROR, f"payload: {fault}")
    return _canonical_json(redact(value))


def _canonical_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
