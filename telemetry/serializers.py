"""Wire shapes of progress and events."""

from typing import Any, Final

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config import limits
from config.api import StorableJSONObjectField, StrictCharField
from config.errors import ErrorCode
from courses.progress import ChapterStatus
from telemetry.events import SentEvent


class ReferenceField(StrictCharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=limits.REFERENCE_MAX_LENGTH, **kwargs)


class ChapterProgressRequest(serializers.Serializer[Any]):
    course_id = ReferenceField()
    chapter_id = ReferenceField(help_text="The chapter's code or its UUID.")
    session_id = ReferenceField(required=False, allow_null=True, allow_blank=True)
    status = serializers.ChoiceField(
        choices=[status.value for status in ChapterStatus],
        # DRF's own message repeats the value, which could be anything.
        error_messages={"invalid_choice": "This must be LOCKED, IN_PROGRESS or COMPLETED."},
    )
    task_snapshot = StorableJSONObjectField(
        required=False, allow_null=True, help_text="Absent or null: the earlier one is kept. Secrets are redacted."
    )


class ChapterProgressAnswer(serializers.Serializer[Any]):
    accepted = serializers.BooleanField(help_text="Also for a report that would have lowered the status.")
    applied = serializers.BooleanField(help_text="False when it would have lowered the status: nothing was changed.")
    status = serializers.ChoiceField(
        choices=[status.value for status in ChapterStatus], help_text="What the chapter has now."
    )
    server_time = serializers.DateTimeField()


def _event_schema() -> dict[str, Any]:
    """Return the JSON schema of the type that events are decoded to: the document can't say anything else."""
    schema: dict[str, Any] = msgspec.json.schema(SentEvent)["$defs"][SentEvent.__name__]
    return {
        **schema,
        "description": (
            f"At most {limits.EVENT_MAX_BYTES:,} bytes; a payload at most {limits.JSON_MAX_DEPTH} deep with at most "
            f"{limits.EVENT_PAYLOAD_NAMES_MAX:,} names in all. Integers within 64 bits; no NUL characters and no lone "
            "surrogates. Further fields are ignored. Secrets are redacted."
        ),
    }


_EVENTS_SCHEMA: Final = {
    "type": "array",
    "description": f"At most {limits.EVENTS_PER_CALL_MAX:,}; more are 413.",
    "items": {
        "anyOf": [
            _event_schema(),
            {"type": "object", "description": "Anything else counts as `failed`, and doesn't hinder the others."},
        ]
    },
}


@extend_schema_field(_EVENTS_SCHEMA)
class EventListField(serializers.Field[Any, Any, Any, Any]):
    """For the document only: `telemetry.parsers` reads the list, and `telemetry.events` each event."""


class EventsRequest(serializers.Serializer[Any]):
    events = EventListField()


class EventErrorAnswer(serializers.Serializer[Any]):
    index = serializers.IntegerField(min_value=0, help_text="The event's place in the list that was sent.")
    event_id = serializers.CharField(allow_null=True)
    code = serializers.ChoiceField(
        choices=[str(ErrorCode.VALIDATION_ERROR), str(ErrorCode.COURSE_ACCESS_DENIED), str(ErrorCode.EVENT_CONFLICT)]
    )
    message = serializers.CharField()


class EventsAnswer(serializers.Serializer[Any]):
    """`accepted` and `failed` add up to the number of events sent."""

    accepted = serializers.IntegerField(min_value=0, help_text="Stored now or before.")
    failed = serializers.IntegerField(min_value=0)
    duplicates = serializers.IntegerField(min_value=0, help_text="Those of the accepted ones that were stored before.")
    errors = EventErrorAnswer(many=True)  # type: ignore[assignment]  # DRF takes the field out of the class
