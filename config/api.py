"""The base of every viewset."""

from typing import Any, cast

from rest_framework import exceptions, serializers, viewsets
from rest_framework.request import Request

from config.jsonvalues import json_fault


class ApiViewSet(viewsets.ViewSet):
    """A viewset whose wrong methods are 405 for everybody, before anything is asked about the caller."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.action is None:
            raise exceptions.MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)


def validated(request: Request, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return the request's body as the serializer's typed fields.

    Raises:
        ValidationError: answered as 422 with a list of fields.
    """
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return cast(dict[str, Any], serializer.validated_data)


class JSONObjectField(serializers.JSONField):
    """A JSON object that `jsonb` can hold; anything else is a field error."""

    default_error_messages = {"object": "This must be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("object")
        if fault := json_fault(data):
            raise serializers.ValidationError(fault)
        return cast(dict[str, Any], data)
