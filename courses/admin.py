"""Courses, chapters and enrolments in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from courses import services
from courses.models import Chapter, Course, Enrollment


class ChapterInline(admin.TabularInline[Chapter, Course]):
    model = Chapter
    extra = 0
    fields = ("order", "chapter_code", "title", "is_active")


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin[Course]):
    list_display = ("course_code", "title", "instructor", "semester", "invite_code", "progression", "is_active")
    list_filter = ("is_active", "progression")
    search_fields = ("course_code", "title", "instructor")
    readonly_fields = ("id", "invite_code", "created_at")
    inlines = (ChapterInline,)
    actions = ("renew_invite_codes",)
    show_full_result_count = False

    @admin.action(description="Renew the invite code (the old one stops at once)", permissions=["change"])
    def renew_invite_codes(self, request: HttpRequest, courses: QuerySet[Course]) -> None:
        for course in courses:
            code = services.renew_invite_code(course=course)
            self.log_change(request, course, "Renewed the invite code.")
            self.message_user(request, f"The invite code of {course.course_code} is now {code}.", messages.SUCCESS)


@admin.register(Enrollment)
class EnrollmentAdmin(admin.ModelAdmin[Enrollment]):
    list_display = ("user", "course", "joined_at", "removed_at")
    list_filter = (("removed_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user", "course")
    search_fields = ("user__email", "course__course_code")
    autocomplete_fields = ("user", "course")
    readonly_fields = ("joined_at", "removed_at")
    actions = ("remove", "restore")
    show_full_result_count = False

    @admin.action(description="Remove from the course (they can't join again)", permissions=["change"])
    def remove(self, request: HttpRequest, enrollments: QuerySet[Enrollment]) -> None:
        self._apply(request, enrollments, services.remove_enrollments, "Removed")

    @admin.action(description="Let in again", permissions=["change"])
    def restore(self, request: HttpRequest, enrollments: QuerySet[Enrollment]) -> None:
        self._apply(request, enrollments, services.restore_enrollments, "Let in")

    def has_delete_permission(self, request: HttpRequest, obj: Enrollment | None = None) -> bool:
        """A deleted enrolment would let a removed learner join again."""
        return False

    def _apply(self, request: HttpRequest, enrollments: QuerySet[Enrollment], service: Any, verb: str) -> None:
        chosen = list(enrollments)
        changed = service(enrollment_ids=[enrollment.pk for enrollment in chosen])
        for enrollment in chosen:
            self.log_change(request, enrollment, f"{verb}.")
        self.message_user(request, f"{verb} {changed} of {len(chosen)}.", messages.SUCCESS)
