from typing import Any

from django.db import connection
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import ApiViewSet
from config.errors import ApiError, ErrorCode
from config.openapi import operation


class HealthAnswer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok"])


class HealthViewSet(ApiViewSet):
    """Whether this server can work: it answers, and its database answers and has our tables."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(summary="Is the server able to work?", answer=HealthAnswer, tags=["health"])
    def retrieve(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('config_counter') IS NOT NULL")
            if cursor.fetchone() != (True,):
                raise ApiError(ErrorCode.SERVICE_UNAVAILABLE, "The database is not migrated: run manage.py migrate.")
        return Response({"status": "ok"})
