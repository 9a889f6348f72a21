"""Wire shapes of progress and events."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config import limits
from config.api import StorableJSONObjectField, StrictCharField
from config.errors import ErrorCode
from courses.progress import ChapterStatus


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
    server_time = serializers.DateTimeField()


_EVENTS_SCHEMA: Final = {
    "type": "array",
    "description": (
        f"At most {limits.EVENTS_PER_CALL_MAX:,}; more are 413. An event is an object with `event_type` (string of 1 "
        f"to {limits.EVENT_TYPE_MAX_LENGTH} characters), `event_time` (RFC 3339; UTC without an offset) and, optional "
        f"or null, `event_id` (string of at most {limits.EVENT_ID_MAX_LENGTH} characters; absent: derived from the "
        "content), `course_id` (UUID of a course of the learner), `chapter_id` and `session_id` (strings of at most "
        f"{limits.REFERENCE_MAX_LENGTH} characters) and `payload` (object, at most {limits.JSON_MAX_DEPTH} deep, "
        "integers within 64 bits, no NUL characters or lone surrogates). An event that is otherwise counts as `failed` "
        "in the answer, and doesn't hinder the others. Further fields are ignored. Secrets are redacted."
    ),
    "items": {"type": "object", "additionalProperties": {}},
}


@extend_schema_field(_EVENTS_SCHEMA)
class EventListField(serializers.Field[list[dict[str, Any]], Any, Any, Any]):
    """A list of objects, whatever is in them: each event is judged by itself, not by a 422 for all."""

    default_error_messages = {"invalid": "This must be a list of objects."}

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            self.fail("invalid")
        return data


class EventsRequest(serializers.Serializer[Any]):
    events = EventListField()


class EventErrorAnswer(serializers.Serializer[Any]):
    index = serializers.IntegerField(min_value=0, help_text="The event's place in the list that was sent.")
    event_id = serializers.CharField(allow_null=True)
    code = serializers.ChoiceField(choices=[str(ErrorCode.VALIDATION_ERROR), str(ErrorCode.COURSE_ACCESS_DENIED)])
    message = serializers.CharField()


class EventsAnswer(serializers.Serializer[Any]):
    """`accepted` and `failed` add up to the number of events sent."""

    accepted = serializers.IntegerField(min_value=0, help_text="Stored now or before.")
    failed = serializers.IntegerField(min_value=0)
    duplicates = serializers.IntegerField(min_value=0, help_text="Those of the accepted ones that were stored before.")
    errors = EventErrorAnswer(many=True)  # type: ignore[assignment]  # DRF takes the field out of the class
