"""Wire shapes of the course calls."""

from typing import Any

from rest_framework import serializers

from config.api import StrictCharField
from courses.progress import ChapterStatus


class JoinRequest(serializers.Serializer[Any]):
    """G1 sends `course_code`, G2 `invite_code`; exactly one of them."""

    course_code = StrictCharField(max_length=64, required=False, allow_null=True)
    invite_code = StrictCharField(max_length=64, required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in attrs.items() if value is not None}
        if len(given) != 1:
            raise serializers.ValidationError("Send either course_code or invite_code.")
        return given


class MyCourse(serializers.Serializer[Any]):
    """An enrolment, as the list of one's courses shows it."""

    id = serializers.UUIDField(source="course.id")
    title = serializers.CharField(source="course.title")
    course_code = serializers.CharField(source="course.course_code")
    instructor = serializers.CharField(source="course.instructor")
    semester = serializers.CharField(source="course.semester")
    joined_at = serializers.DateTimeField()
    description = serializers.CharField(source="course.description")


class MyCoursesAnswer(serializers.Serializer[Any]):
    courses = MyCourse(many=True)


class JoinAnswer(serializers.Serializer[Any]):
    course = MyCourse()


class CourseAnswer(MyCourse):
    """A course in full."""

    progression = serializers.CharField(source="course.progression")


class ChapterItem(serializers.Serializer[Any]):
    id = serializers.UUIDField(source="chapter.id")
    chapter_code = serializers.CharField(source="chapter.chapter_code")
    title = serializers.CharField(source="chapter.title")
    status = serializers.ChoiceField(choices=[status.value for status in ChapterStatus])
    locked = serializers.BooleanField()
    order = serializers.IntegerField(source="chapter.order")


class ChaptersAnswer(serializers.Serializer[Any]):
    course_id = serializers.UUIDField()
    chapters = ChapterItem(many=True)
