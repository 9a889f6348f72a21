"""One analytics event: from what a client sent to the row that is stored, or why it can't be.

A call brings up to 1,000 events, so each is decoded and validated by compiled code, and what few looks at its text can
rule out (a secret, what `jsonb` can't hold) is not searched for value by value. A fault concerns one event only:
clients drop an event at the 200 that refuses it, so what can be read is read.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from config import limits
from config.errors import ErrorCode
from config.jsonvalues import is_surely_storable, json_fault, text_fault
from config.redaction import may_hold_secret, redact, redact_text
from courses.models import UUID_PATTERN

EventId = Annotated[str, Meta(max_length=limits.EVENT_ID_MAX_LENGTH)]
EventType = Annotated[str, Meta(min_length=1, max_length=limits.EVENT_TYPE_MAX_LENGTH)]
Reference = Annotated[str, Meta(max_length=limits.REFERENCE_MAX_LENGTH)]


class SentEvent(msgspec.Struct, gc=False):
    """An event as a client sends it. Further fields are ignored."""

    event_type: EventType
    event_time: Annotated[str, Meta(description="RFC 3339; UTC without an offset.")]
    event_id: Annotated[EventId | None, Meta(description="Absent, null or empty: derived from the content.")] = None
    course_id: Annotated[str | None, Meta(description="UUID of a course of the learner.")] = None
    chapter_id: Reference | None = None
    session_id: Reference | None = None
    payload: dict[str, Any] | None = None


class Event(msgspec.Struct, gc=False):
    """An event that can be stored: redacted, within the limits, its time in UTC.

    It holds no containers: those of 1,000 events would keep the garbage collector busy.

    `index` is its place in the call, and `payload` is canonical JSON text.
    """

    index: int
    event_id: str
    event_time: datetime
    event_type: str
    course_id: str | None
    chapter_id: str
    session_id: str
    payload: str


@dataclass(eq=False)
class EventRefusedError(Exception):
    """Why an event can't be stored. The message never repeats what was sent."""

    code: ErrorCode
    message: str


Refusals = dict[int, EventRefusedError]
"""By the event's index in its call."""

_decoder: Final = msgspec.json.Decoder(SentEvent)
_canonical: Final = msgspec.json.Encoder(order="deterministic")

_TOO_DEEP: Final = f"Values may be nested at most {limits.JSON_MAX_DEPTH} deep."


def read_events(events: Iterable[msgspec.Raw]) -> tuple[list[Event], Refusals]:
    """Read the events of a call, each a JSON object as sent; the courses' enrolments are not looked at.

    Return those that can be stored, and for each other one VALIDATION_ERROR, or COURSE_ACCESS_DENIED for a course id
    that is none.
    """
    read: list[Event] = []
    texts: list[str] = []
    refusals: Refusals = {}
    for index, raw in enumerate(events):
        try:
            event, text = _read_event(index, raw)
        except EventRefusedError as refusal:
            refusals[index] = refusal
        else:
            read.append(event)
            texts.append(text)
    # Of a call without a secret, one look at everything takes half the time of a look at each event.
    if may_hold_secret("\n".join(texts)):
        for event, text in zip(read, texts, strict=True):
            if may_hold_secret(text):
                _redact(event)
    for event in read:
        event.event_id = event.event_id or derive_event_id(event)
    return read, refusals


def _read_event(index: int, raw: msgspec.Raw) -> tuple[Event, str]:
    """Return the event as sent, without an id if it has none, and all that its client could write anything into.

    Raises:
        EventRefusedError.
    """
    sent = _decode(raw)
    event_time = _read_time(sent.event_time)
    course_id = _read_course_id(sent.course_id)
    payload = _encode_payload(sent.payload)
    event_id, chapter_id, session_id = sent.event_id or "", sent.chapter_id or "", sent.session_id or ""
    texts = f"{sent.event_type}\n{event_id}\n{chapter_id}\n{session_id}"
    if fault := text_fault(texts):
        raise _invalid(str(fault))
    event = Event(
        index=index,
        event_id=event_id,
        event_time=event_time,
        event_type=sent.event_type,
        course_id=course_id,
        chapter_id=chapter_id,
        session_id=session_id,
        payload=payload,
    )
    return event, f"{texts}\n{payload}"


def derive_event_id(event: Event) -> str:
    """Return `sha256:` and the hex digest of the content as canonical JSON: the same for a blind retry.

    It is made from the redacted content: an unkeyed hash of a short password, with everything else of the event
    beside it, would be guessed in no time. The price is that an event that held a secret is stored twice when it is
    sent again after an upgrade that changed the rules of redaction.
    """
    # The same as `isoformat`, which takes five times as long, but for the `Z` of UTC.
    time = f"{_canonical.encode(event.event_time)[1:-2].decode()}+00:00"
    content = [
        event.event_type,
        time,
        event.course_id,
        event.chapter_id,
        event.session_id,
        msgspec.Raw(event.payload),
    ]
    return f"sha256:{hashlib.sha256(_canonical.encode(content)).hexdigest()}"


def shown_event_id(raw: msgspec.Raw) -> str | None:
    """Return the id under which an error tells of this event; None when it has none that can be shown."""
    try:
        event_id = json.loads(bytes(raw), parse_int=float).get("event_id")
    except RecursionError:
        return None
    if not isinstance(event_id, str) or len(event_id) > limits.EVENT_ID_MAX_LENGTH or text_fault(event_id):
        return None
    return redact_text(event_id) or None


def _decode(raw: msgspec.Raw) -> SentEvent:
    if memoryview(raw).nbytes > limits.EVENT_MAX_BYTES:
        raise _invalid(f"An event may have at most {limits.EVENT_MAX_BYTES:,} bytes.")
    try:
        return _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(f"{error}.") from None
    except (msgspec.DecodeError, RecursionError):
        raise _invalid(_undecodable(raw)) from None


def _undecodable(raw: msgspec.Raw) -> str:
    """Say what the decoder refuses, by Python's own, which takes NaN and lone surrogates."""
    try:
        return str(json_fault(json.loads(bytes(raw), parse_int=float)) or "The event could not be read.")
    except RecursionError:
        return _TOO_DEEP


def _encode_payload(payload: dict[str, Any] | None) -> str:
    """Return the payload as canonical JSON."""
    try:
        text = _canonical.encode(payload or {}).decode()
    except RecursionError:
        raise _invalid(f"payload: {_TOO_DEEP}") from None
    if not is_surely_storable(text, names_max=limits.EVENT_PAYLOAD_NAMES_MAX) and (
        fault := json_fault(payload, names_max=limits.EVENT_PAYLOAD_NAMES_MAX)
    ):
        raise _invalid(f"payload: {fault}")
    return text


def _redact(event: Event) -> None:
    """Take the secrets out of every field. A text that this made longer than its column is cut."""
    event.event_type = redact_text(event.event_type)[: limits.EVENT_TYPE_MAX_LENGTH]
    event.chapter_id = redact_text(event.chapter_id)[: limits.REFERENCE_MAX_LENGTH]
    event.session_id = redact_text(event.session_id)[: limits.REFERENCE_MAX_LENGTH]
    if redact_text(event.event_id) != event.event_id:
        event.event_id = ""
    event.payload = _canonical.encode(redact(msgspec.json.decode(event.payload))).decode()


def _read_time(value: str) -> datetime:
    if fault := text_fault(value):  # Python reads past a NUL at the end
        raise _invalid(f"event_time: {fault}")
    try:
        # RFC 3339, section 5.6, allows a lower-case `t` and `z`.
        moment = datetime.fromisoformat(value.upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid("event_time is no time by RFC 3339, or out of range.") from None


def _read_course_id(value: str | None) -> str | None:
    """Return the UUID in its canonical form (RFC 9562): text again, since it travels on as text."""
    if not value:
        return None
    if not UUID_PATTERN.fullmatch(value):
        raise EventRefusedError(ErrorCode.COURSE_ACCESS_DENIED, str(ErrorCode.COURSE_ACCESS_DENIED.message))
    return value.lower()


def _invalid(message: str) -> EventRefusedError:
    return EventRefusedError(ErrorCode.VALIDATION_ERROR, message)
