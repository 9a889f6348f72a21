"""Wire shapes of the account calls."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import normalize_email
from config import limits
from config.api import StrictCharField


class NormalizedEmailField(serializers.EmailField):
    """An address in its one spelling (`normalize_email`); at most 254 characters (RFC 5321, errata 1690)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        email = normalize_email(super().to_internal_value(data))
        if not email.isascii():
            self.fail("invalid")
        return email


class DeviceIdField(StrictCharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=limits.DEVICE_ID_MAX_LENGTH, **kwargs)


@extend_schema_field({})
class AnythingField(serializers.JSONField):
    """Any JSON value. Null too, which `allow_null` would describe as a second branch of the schema."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, None) if data is None else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        return data


class EmailCodeRequest(serializers.Serializer[Any]):
    email = NormalizedEmailField()
    purpose = StrictCharField(allow_blank=True, help_text="`register`")


class EmailCodeAnswer(serializers.Serializer[Any]):
    sent = serializers.BooleanField()
    expires_in_seconds = serializers.IntegerField(min_value=1)
    dev_code = serializers.CharField(allow_null=True, help_text="The code itself outside production, else null.")


class RegisterRequest(serializers.Serializer[Any]):
    email = NormalizedEmailField()
    verification_code = StrictCharField(min_length=4, max_length=12)
    password = StrictCharField(min_length=8, max_length=128, trim_whitespace=False)
    display_name = StrictCharField(
        max_length=120, required=False, allow_null=True, help_text="Default: the part before the @."
    )
    device_id = DeviceIdField()


class LoginRequest(serializers.Serializer[Any]):
    email = NormalizedEmailField()
    password = StrictCharField(max_length=128, trim_whitespace=False)
    device_id = DeviceIdField()


class RefreshRequest(serializers.Serializer[Any]):
    refresh_token = StrictCharField(max_length=1024)
    device_id = DeviceIdField()


class LogoutRequest(serializers.Serializer[Any]):
    """Lenient: a client that is refused here stays on its logged-in page."""

    refresh_token = AnythingField(required=False, help_text="What is no refresh token is no error.")


class UserAnswer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    display_name = serializers.CharField()


class SessionAnswer(serializers.Serializer[Any]):
    user = UserAnswer()
    access_token = serializers.CharField()
    access_token_expires_in = serializers.IntegerField(min_value=1, help_text="Seconds.")
    refresh_token = serializers.CharField()


class RefreshAnswer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    access_token_expires_in = serializers.IntegerField(min_value=1, help_text="Seconds.")


class LogoutAnswer(serializers.Serializer[Any]):
    success = serializers.BooleanField()
