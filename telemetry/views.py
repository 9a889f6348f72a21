"""`/v1/progress/*` and `/v1/analytics/*`."""

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import ApiViewSet, caller_id, validated
from config.errors import ErrorCode
from config.openapi import operation
from telemetry import serializers, services


class ProgressViewSet(ApiViewSet):
    @operation(
        summary="Report progress in a chapter",
        request=serializers.ChapterProgressRequest,
        answer=serializers.ChapterProgressAnswer,
        errors=[ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.CHAPTER_NOT_FOUND],
        authenticated=True,
    )
    def record(self, request: Request) -> Response:
        fields = validated(request, serializers.ChapterProgressRequest)
        server_time = services.record_chapter_progress(user_id=caller_id(request), **fields)
        return Response(serializers.ChapterProgressAnswer({"accepted": True, "server_time": server_time}).data)


class AnalyticsViewSet(ApiViewSet):
    @operation(
        summary="Send analytics events",
        request=serializers.EventsRequest,
        answer=serializers.EventsAnswer,
        authenticated=True,
        operation_id="analytics_events_ingest",
    )
    def ingest(self, request: Request) -> Response:
        fields = validated(request, serializers.EventsRequest)
        result = services.ingest_events(user_id=caller_id(request), events=fields["events"])
        return Response(serializers.EventsAnswer(result).data)
