"""Wire shapes of the pipeline's calls.

What decides whether a release can be (scope, version, experts) is checked by the services; here is what only the wire
knows: types, formats, and names that differ from the model's.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from config import limits
from config.api import StrictCharField
from config.jsonvalues import json_fault
from storage.artifacts import artifact_url
from updates.bundles.base import BundleError
from updates.bundles.manifest import required_experts_of
from updates.models import BundleRelease, BundleType

_HUNDREDTHS: Final = 100
_SHA256: Final = r"^[0-9a-fA-F]{64}$"


# --- Fields ---------------------------------------------------------------------------------------------------------


class StrictBooleanField(serializers.BooleanField):
    """JSON's true or false. DRF's own field takes numbers and words as well, and absence from a form for false."""

    default_empty_html = empty

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 100})
class PercentField(serializers.DecimalField):
    """A share of the devices with at most two decimals, as basis points."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=5, decimal_places=2, min_value=Decimal(0), max_value=Decimal(100), **kwargs)

    def run_validation(self, data: Any = empty) -> Any:
        percent = super().run_validation(data)
        return None if percent is None else int(percent * _HUNDREDTHS)


class JSONPercentField(PercentField):
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class MomentField(serializers.DateTimeField):
    """A time by RFC 3339. Without its offset it would mean another moment in each office."""

    def to_internal_value(self, value: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else None
            if moment is None or moment.tzinfo is None:
                raise ValueError
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise serializers.ValidationError(
                "This must be a time with its offset, such as 2026-03-01T08:00:00Z."
            ) from None


class SizeField(serializers.IntegerField):
    """Bytes, as a JSON number."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return data


class Sha256Field(serializers.RegexField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(_SHA256, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data).lower()


class ArtifactUrlField(serializers.URLField):
    """Where strangers fetch the bundle: https, and no name or password in it."""

    def run_validation(self, data: Any = empty) -> Any:
        if data is not empty and not isinstance(data, str):
            self.fail("invalid")
        value = super().run_validation(data)
        address = urlsplit(value)
        if address.scheme.lower() != "https" or "@" in address.netloc:
            raise serializers.ValidationError("This must be an https URL without a name or password in it.")
        return value


@extend_schema_field({"type": ["object", "string"], "additionalProperties": {}})
class ManifestField(serializers.JSONField):
    """A `bundle.manifest.json`: the object, or its text."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            manifest = json.loads(data) if isinstance(data, str) else data
        except (ValueError, RecursionError):
            raise serializers.ValidationError("This is not valid JSON.") from None
        if not isinstance(manifest, dict):
            raise serializers.ValidationError("This must be an object, or the text of one.")
        if fault := json_fault(manifest):
            raise serializers.ValidationError(fault)
        try:
            required_experts_of(manifest)
        except BundleError as error:
            raise serializers.ValidationError(str(error)) from None
        return manifest


class ExpertsField(serializers.ListField):
    child = StrictCharField(max_length=160)


@extend_schema_field({"type": "string", "format": "binary"})
class ArchiveField(serializers.FileField):
    """An uploaded archive."""


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class FormExpertsField(ExpertsField):
    """Experts in a form: the field repeated, or once with a JSON list."""

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, str) and data.startswith("["):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                raise serializers.ValidationError("This is not valid JSON.") from None
        return super().to_internal_value([data] if isinstance(data, str) else data)


# --- Requests -------------------------------------------------------------------------------------------------------


class StrictRequest(serializers.Serializer[Any]):
    """A request without unknown fields: an option that is misspelt would be no option, and publish to everybody."""

    def run_validation(self, data: Any = empty) -> Any:
        unknown = [name for name in data if name not in self.fields] if isinstance(data, Mapping | QueryDict) else []
        if unknown:
            shown = (str(name)[: limits.BUNDLE_EXCERPT_MAX_CHARACTERS] for name in unknown[: limits.BUNDLE_FAULTS_MAX])
            raise serializers.ValidationError({name: ["There is no such field."] for name in shown})
        return super().run_validation(data)


class _IdentityRequest(StrictRequest):
    bundle_type = serializers.ChoiceField(BundleType.choices)
    scope_id = StrictCharField(
        max_length=160,
        help_text="`core` for app agents, `shared` for shared experts, the expert's id, or "
        "`{course_id}/{chapter_code}` for a chapter.",
    )
    version = StrictCharField(max_length=64, help_text="A semantic version.")


_EXPERTS_HELP: Final = "Ids of the experts that a chapter needs. Default: those that the manifest names."
_STRICT_HELP: Final = "A device of unknown version doesn't get it. Default: false."
_MANDATORY_HELP: Final = "Default: true."
_PERCENT_HELP: Final = "Share of the devices, in percent with at most two decimals."
_MOMENT_HELP: Final = "Offered from this time on. Default: as soon as it is published."
_MINIMUM_HELP: Final = "A semantic version; older apps keep the release before."


class UploadRequest(_IdentityRequest):
    file = ArchiveField(help_text="The archive, bundle.tar.gz.")
    is_mandatory = serializers.BooleanField(required=False, help_text=_MANDATORY_HELP)
    required_experts = FormExpertsField(
        required=False, help_text=f"{_EXPERTS_HELP} Repeat the field, or send a JSON list."
    )
    min_desktop_version = StrictCharField(max_length=64, required=False, help_text=_MINIMUM_HELP)
    min_sidecar_version = StrictCharField(max_length=64, required=False, help_text=_MINIMUM_HELP)
    strict_versions = serializers.BooleanField(required=False, help_text=_STRICT_HELP)
    rollout_percent = PercentField(required=False, help_text=f"{_PERCENT_HELP} Default: 100.")
    publish_at = MomentField(required=False, help_text=_MOMENT_HELP)
    publish = serializers.BooleanField(
        required=False, help_text="Publish it at once. Default: false, which makes a draft."
    )
    sha256 = Sha256Field(required=False, help_text="Of the archive; another one is refused.")

    def to_internal_value(self, data: Any) -> Any:
        """Take a field that is empty, as unset variables of a script make them, for one that is absent.

        In a plain dictionary an absent boolean is absent; in a form DRF takes it for an unticked box, and false.
        """
        if isinstance(data, QueryDict):
            lists = ((name, [value for value in values if value != ""]) for name, values in data.lists())
            data = {name: values if len(values) > 1 else values[0] for name, values in lists if values}
        return super().to_internal_value(data)


class RegisterBundleRequest(_IdentityRequest):
    artifact_url = ArtifactUrlField(
        max_length=1024, help_text="Where the archive lies: https, for a plain GET without credentials."
    )
    sha256 = Sha256Field(help_text="Of the archive.")
    size_bytes = SizeField(min_value=1, max_value=limits.BUNDLE_ARCHIVE_MAX_BYTES)
    manifest_json = ManifestField(
        required=False, allow_null=True, help_text="The archive's `bundle.manifest.json`, or its text."
    )
    is_mandatory = StrictBooleanField(required=False, help_text=_MANDATORY_HELP)
    required_experts = ExpertsField(required=False, allow_null=True, help_text=_EXPERTS_HELP)
    min_desktop_version = StrictCharField(max_length=64, required=False, allow_blank=True, help_text=_MINIMUM_HELP)
    min_sidecar_version = StrictCharField(max_length=64, required=False, allow_blank=True, help_text=_MINIMUM_HELP)
    strict_versions = StrictBooleanField(required=False, help_text=_STRICT_HELP)
    rollout_percent = JSONPercentField(required=False, allow_null=True, help_text=f"{_PERCENT_HELP} Default: 100.")
    publish_at = MomentField(required=False, allow_null=True, help_text=_MOMENT_HELP)
    verify = StrictBooleanField(
        required=False, help_text="Fetch and check the archive before it is published. Default: false."
    )


class PublishRequest(StrictRequest):
    rollout_percent = JSONPercentField(
        required=False, allow_null=True, help_text=f"{_PERCENT_HELP} Default: as the draft says."
    )
    publish_at = MomentField(
        required=False, allow_null=True, help_text="Offered from this time on. Default: as the draft says."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = super().get_fields()
        fields["with"] = serializers.ListField(  # no name that Python has for an attribute
            child=serializers.UUIDField(),
            max_length=limits.RELEASES_PER_ACT_MAX - 1,
            required=False,
            help_text="Ids of releases that are published in the same act, and share its cohort: a chapter's experts.",
        )
        return fields


class WithdrawRequest(StrictRequest):
    together = StrictBooleanField(
        required=False, help_text="With it go the releases that were published in the same act. Default: true."
    )


class RescheduleRequest(StrictRequest):
    publish_at = MomentField(required=False, help_text="The new time, which is yet to come.")
    now = StrictBooleanField(required=False, help_text="true, in place of a time: offer it at once. Default: false.")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Want it said that it is for now: an unset variable of a script must not publish."""
        if fields.get("now", False) == ("publish_at" in fields):
            raise serializers.ValidationError({"publish_at": ["Send either a time or `now`: true."]})
        return fields


class RolloutRequest(StrictRequest):
    rollout_percent = JSONPercentField(help_text=f"{_PERCENT_HELP} It can only become larger.")


class ListRequest(StrictRequest):
    """An empty filter is none."""

    bundle_type = serializers.ChoiceField(BundleType.choices, required=False, allow_blank=True)
    scope_id = serializers.CharField(max_length=160, required=False, allow_blank=True)
    state = serializers.ChoiceField(BundleRelease.State.choices, required=False, allow_blank=True)
    limit = serializers.IntegerField(
        min_value=1, max_value=limits.BUNDLES_PER_PAGE_MAX, default=limits.BUNDLES_PER_PAGE_DEFAULT
    )
    offset = serializers.IntegerField(min_value=0, max_value=limits.BUNDLES_OFFSET_MAX, default=0)


WIRE_NAMES: Final = {
    "is_mandatory": "is_mandatory",
    "required_experts": "required_experts",
    "min_desktop_version": "min_desktop_version",
    "min_sidecar_version": "min_sidecar_version",
    "strict_versions": "strict_versions",
    "rollout_basis_points": "rollout_percent",
    "publish_at": "publish_at",
}
"""The options of a release, and what requests call them."""


def stated_options(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a request states, those of `ReleaseOptions`; null states nothing."""
    return {option: fields[name] for option, name in WIRE_NAMES.items() if fields.get(name) is not None}


# --- Answers --------------------------------------------------------------------------------------------------------


class ArtifactAddressField(serializers.CharField):
    """Where a release's archive is downloaded; needs `base_url` in the context."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(source="*", help_text="Downloads by a plain GET, for at least 15 minutes.", **kwargs)

    def to_representation(self, value: Any) -> str:
        release: BundleRelease = value
        return release.external_url or artifact_url(key=release.artifact_key, base_url=self.context["base_url"])


class ReleaseAnswer(serializers.Serializer[BundleRelease]):
    """Needs `base_url` in its context."""

    id = serializers.UUIDField()
    bundle_type = serializers.CharField()
    scope_id = serializers.CharField()
    version = serializers.CharField()
    artifact_url = ArtifactAddressField()
    state = serializers.ChoiceField(BundleRelease.State.choices)
    created_at = serializers.DateTimeField()
    sha256 = serializers.CharField()
    size_bytes = serializers.IntegerField()
    is_mandatory = serializers.BooleanField()
    rollout_percent = serializers.SerializerMethodField()
    publish_at = serializers.DateTimeField(allow_null=True)
    published_at = serializers.DateTimeField(allow_null=True)

    def get_rollout_percent(self, release: BundleRelease) -> float:
        return release.rollout_basis_points / _HUNDREDTHS


class MadeAnswer(ReleaseAnswer):
    """A release that was made, or that was there already."""

    required_experts = serializers.ListField(child=serializers.CharField())
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What is odd about the archive or about what was asked for."
    )
    notices = serializers.ListField(child=serializers.CharField(), help_text="What its publication means.")


class DetailAnswer(ReleaseAnswer):
    first_published_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)
    verified_at = serializers.DateTimeField(
        allow_null=True, help_text="When the bytes were last fetched from where they lie, and found right."
    )
    required_experts = serializers.ListField(child=serializers.CharField())
    min_desktop_version = serializers.CharField(help_text="Empty: any.")
    min_sidecar_version = serializers.CharField(help_text="Empty: any.")
    strict_versions = serializers.BooleanField()
    manifest_json = serializers.DictField(source="manifest")


class CheckedAnswer(DetailAnswer):
    """A release after an act; without `may_read` in the context neither its archive nor its manifest is told."""

    artifact_url = ArtifactAddressField(required=False)
    manifest_json = serializers.DictField(source="manifest", required=False, help_text="For whoever may read releases.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = super().get_fields()
        if not self.context.get("may_read", True):
            del fields["artifact_url"], fields["manifest_json"]
        return fields


class ChangedRelease(serializers.Serializer[BundleRelease]):
    """A release that an act changed."""

    id = serializers.UUIDField()
    bundle_type = serializers.CharField()
    scope_id = serializers.CharField()
    version = serializers.CharField()
    state = serializers.ChoiceField(BundleRelease.State.choices)


class ActAnswer(CheckedAnswer):
    """A release that was published, rescheduled, widened or withdrawn."""

    notices = serializers.ListField(child=serializers.CharField(), help_text="What it means for devices.")
    together = ChangedRelease(many=True, help_text="All releases that the act was about, this one among them.")


class ListAnswer(serializers.Serializer[Any]):
    bundles = ReleaseAnswer(many=True)
    total = serializers.IntegerField(help_text="How many there are, on all pages.")
