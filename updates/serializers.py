"""Wire shapes of the update calls.

The requests are lenient where a client could be stopped by a refusal: a version that can't be read is an unknown
one, and an installed bundle that can't be read is none.
"""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config import limits
from config.api import JSONObjectField, StrictCharField


class TextField(StrictCharField):
    """Text as it was sent: not trimmed, and maybe empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, allow_blank=True, **kwargs)


class ReferenceField(TextField):
    """The id of a course or chapter, as sent; whether it is one is for the selector to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=limits.REFERENCE_MAX_LENGTH, **kwargs)


class InstalledAppField(JSONObjectField):
    """Version by bundle family; null is an empty object. Only versions of bundles that the server knows are stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, **kwargs)


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "chapter_bundle": {"description": "Version of the installed chapter bundle; null or absent when none is."},
            "experts": {"description": "An object: version by expert id."},
        },
    }
)
class InstalledChapterField(InstalledAppField):
    """What is installed for one chapter."""


class CheckAppRequest(serializers.Serializer[Any]):
    desktop_version = TextField(required=False, allow_null=True, help_text="`0.1.0` says nothing.")
    sidecar_version = TextField(required=False, allow_null=True, help_text="`0.1.0` says nothing.")
    installed = InstalledAppField(
        help_text="Version by bundle family (`app_agents`, `experts_shared`, …). Anything but text counts as nothing."
    )
    platform_scope = TextField(required=False, allow_null=True)


class CheckChapterRequest(serializers.Serializer[Any]):
    course_id = ReferenceField()
    chapter_id = ReferenceField(help_text="The chapter's code or UUID.")
    installed = InstalledChapterField()


class DescriptorAnswer(serializers.Serializer[Any]):
    """A bundle to install."""

    bundle_type = serializers.CharField()
    scope_id = serializers.CharField()
    version = serializers.CharField()
    artifact_url = serializers.URLField(help_text="Downloads by a plain GET, for at least 15 minutes.")
    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$")
    size_bytes = serializers.IntegerField(min_value=0)
    mandatory = serializers.BooleanField()


class BlockedAnswer(serializers.Serializer[Any]):
    """A release that the device would be offered, were its app or sidecar new enough: the minimums that it misses."""

    bundle_type = serializers.CharField()
    scope_id = serializers.CharField()
    version = serializers.CharField()
    min_desktop_version = serializers.CharField(required=False, help_text="Absent when the device's is new enough.")
    min_sidecar_version = serializers.CharField(required=False, help_text="Absent when the device's is new enough.")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {name: value for name, value in super().to_representation(instance).items() if value is not None}


class CheckAppAnswer(serializers.Serializer[Any]):
    required = DescriptorAnswer(many=True)  # type: ignore[assignment]  # the metaclass takes fields out of the class
    optional = DescriptorAnswer(many=True)
    blocked = BlockedAnswer(many=True)


class ResolvedChapterAnswer(serializers.Serializer[Any]):
    course_id = serializers.CharField(help_text="As sent.")
    chapter_id = serializers.CharField(help_text="As sent.")
    required_experts = serializers.ListField(child=serializers.CharField())


class CheckChapterAnswer(serializers.Serializer[Any]):
    required = DescriptorAnswer(many=True)  # type: ignore[assignment]  # the metaclass takes fields out of the class
    resolved_chapter = ResolvedChapterAnswer()
    blocked = BlockedAnswer(many=True)
