"""`/v1/courses/*`."""

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import ApiViewSet, caller_id, respond, validated
from config.errors import ErrorCode
from config.openapi import operation
from courses import selectors, serializers, services


class CourseViewSet(ApiViewSet):
    @operation(summary="My courses, the newest first", answer=serializers.MyCoursesAnswer, authenticated=True)
    def my(self, request: Request) -> Response:
        enrollments = selectors.list_my_courses(user_id=caller_id(request))
        return respond(serializers.MyCoursesAnswer, {"courses": enrollments})

    @operation(
        summary="Join a course",
        request=serializers.JoinRequest,
        answer=serializers.JoinAnswer,
        errors=[ErrorCode.COURSE_NOT_FOUND, ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.TOO_MANY_REQUESTS],
        authenticated=True,
    )
    def join(self, request: Request) -> Response:
        enrollment = services.join_course(user_id=caller_id(request), **validated(request, serializers.JoinRequest))
        return respond(serializers.JoinAnswer, {"course": enrollment})

    @operation(
        summary="One course",
        answer=serializers.CourseAnswer,
        errors=[ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.COURSE_NOT_FOUND, ErrorCode.NOT_FOUND],
        authenticated=True,
    )
    def retrieve(self, request: Request, course_id: str) -> Response:
        enrollment = selectors.get_enrolled_course(user_id=caller_id(request), course_id=course_id)
        return respond(serializers.CourseAnswer, enrollment)

    @operation(
        summary="The chapters of a course, in order",
        answer=serializers.ChaptersAnswer,
        errors=[ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.COURSE_NOT_FOUND, ErrorCode.NOT_FOUND],
        authenticated=True,
    )
    def chapters(self, request: Request, course_id: str) -> Response:
        enrollment = selectors.get_enrolled_course(user_id=caller_id(request), course_id=course_id)
        chapters = selectors.list_chapters(user_id=caller_id(request), course=enrollment.course)
        return respond(serializers.ChaptersAnswer, {"course_id": enrollment.course_id, "chapters": chapters})
