"""Wire shapes of the download calls."""

from typing import Any

from rest_framework import serializers

from config import limits
from config.api import StrictCharField


class StrictIntegerField(serializers.IntegerField):
    """Takes JSON's whole numbers only; DRF's own field takes strings as well."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float) or data != data // 1:
            self.fail("invalid")
        return super().to_internal_value(data)


class ResolveRequest(serializers.Serializer[Any]):
    artifact = StrictCharField(
        max_length=limits.ARTIFACT_NAME_MAX_LENGTH,
        trim_whitespace=False,
        help_text="An http(s) URL, an object key, or `oss://bucket/key`.",
    )
    expires_seconds = StrictIntegerField(
        min_value=60, max_value=3600, required=False, allow_null=True, help_text="How long the URL is to be valid."
    )


class ResolveAnswer(serializers.Serializer[Any]):
    artifact_url = serializers.CharField(help_text="Absolute; a plain GET without a token downloads it.")


class CredentialsRequest(serializers.Serializer[Any]):
    duration_seconds = StrictIntegerField(min_value=900, max_value=3600, required=False, allow_null=True)
    allowed_prefixes = serializers.ListField(
        child=StrictCharField(max_length=limits.ARTIFACT_NAME_MAX_LENGTH, allow_blank=True, trim_whitespace=False),
        max_length=limits.ARTIFACT_PREFIXES_MAX,
        required=False,
        allow_null=True,
        help_text="Folders or keys, also as `bundles/{bundle_type}/{scope_id}/{version}/`. None: all you may have.",
    )


class CredentialsAnswer(serializers.Serializer[Any]):
    bucket = serializers.CharField()
    endpoint = serializers.CharField(help_text="With its scheme.")
    region = serializers.CharField(allow_blank=True)
    cdn_domain = serializers.CharField(allow_null=True, help_text="A host without a scheme, or null.")
    allowed_prefixes = serializers.ListField(
        child=serializers.CharField(), help_text="What of the asked is readable; with credentials, what they cover."
    )
    access_key_id = serializers.CharField(allow_null=True)
    access_key_secret = serializers.CharField(allow_null=True)
    security_token = serializers.CharField(allow_null=True)
    expiration = serializers.DateTimeField(allow_null=True)
    issued_at = serializers.DateTimeField()
