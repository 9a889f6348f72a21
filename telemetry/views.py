"""`/v1/progress/*` and `/v1/analytics/*`."""

from rest_framework.request import Request
from rest_framework.response import Response

from config import limits
from config.api import ApiViewSet, caller_id, respond, validated
from config.errors import ErrorCode
from config.openapi import operation
from telemetry import ingest, serializers, services
from telemetry.parsers import CompressibleJSONParser, EventsParser, sent_events


class ProgressViewSet(ApiViewSet):
    parser_classes = (CompressibleJSONParser,)

    @operation(
        summary="Report progress in a chapter",
        request=serializers.ChapterProgressRequest,
        answer=serializers.ChapterProgressAnswer,
        errors=[ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.CHAPTER_NOT_FOUND],
        authenticated=True,
    )
    def record(self, request: Request) -> Response:
        fields = validated(request, serializers.ChapterProgressRequest)
        report = services.record_chapter_progress(user_id=caller_id(request), **fields)
        return respond(serializers.ChapterProgressAnswer, report)


class AnalyticsViewSet(ApiViewSet):
    parser_classes = (EventsParser,)

    @operation(
        summary="Send analytics events",
        description=(
            f"A body has at most {limits.EVENTS_BODY_MAX_BYTES:,} bytes, also when decompressed: `Content-Encoding: "
            f"gzip` is welcome. A learner may send {limits.EVENTS_PER_USER[0]:,} events in each window of "
            f"{limits.EVENTS_PER_USER[1]} seconds, which begins with a call; of a call that is refused by 429, none is "
            "stored or counted."
        ),
        request=serializers.EventsRequest,
        answer=serializers.EventsAnswer,
        errors=[ErrorCode.TOO_MANY_REQUESTS],
        authenticated=True,
        operation_id="analytics_events_ingest",
    )
    def ingest(self, request: Request) -> Response:
        result = ingest.ingest_events(user_id=caller_id(request), events=sent_events(request))
        return respond(serializers.EventsAnswer, result)
