"""The base of every viewset."""

import uuid
from functools import cache
from typing import Any, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import exceptions, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from config.jsonvalues import json_fault


class ApiViewSet(viewsets.ViewSet):
    """A viewset whose wrong methods are 405 for everybody, before anything is asked about the caller."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.action is None:
            raise exceptions.MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)


def caller_id(request: Request) -> uuid.UUID:
    """Return the id of the user whose token came along."""
    return cast(uuid.UUID, request.user.pk)


def validated(request: Request, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return the request's body as the serializer's typed fields.

    Raises:
        ValidationError: answered as 422 with a list of fields.
    """
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return cast(dict[str, Any], serializer.validated_data)


def respond(serializer_class: type[serializers.Serializer[Any]], value: Any) -> Response:
    """Answer 200 with the value as the serializer shows it, which must not need a context."""
    return Response(_shared(serializer_class).to_representation(value))


@cache
def _shared(serializer_class: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """Return one serializer for all answers: a new one copies all of its fields, which takes 20 times as long."""
    return serializer_class()


class StrictCharField(serializers.CharField):
    """A JSON string, as the schema says; DRF's own field reads numbers as well."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


# Without the annotation `allow_null` is described as "anything or null", of which null is both and so neither.
@extend_schema_field({"type": "object", "additionalProperties": {}})
class JSONObjectField(serializers.JSONField):
    """A JSON object with anything in it; anything else is a field error."""

    default_error_messages = {"object": "This must be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("object")
        return cast(dict[str, Any], data)


class StorableJSONObjectField(JSONObjectField):
    """A JSON object that `jsonb` can hold."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value = super().to_internal_value(data)
        if fault := json_fault(value):
            raise serializers.ValidationError(fault)
        return value
