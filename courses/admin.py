"""Courses, chapters and enrolments in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from psycopg.errors import RestrictViolation

from courses import services
from courses.models import Chapter, Course, Enrollment

COURSE_FIELDS = (
    "course_code",
    "title",
    "description",
    "instructor",
    "semester",
    "progression",
    "is_active",
)
MADE_BY_US = ("id", "invite_code", "created_at")


def _without_delete(actions: dict[str, Any]) -> dict[str, Any]:
    return {name: action for name, action in actions.items() if name != "delete_selected"}


class ChapterForm(forms.ModelForm[Chapter]):
    """Clients file what they installed under a chapter's code: once the chapter has a release, its code stays."""

    class Meta:
        help_texts = {"chapter_code": "It can't change any more once the chapter has a release."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.instance, "has_releases", False):
            code = self.fields["chapter_code"]
            code.disabled = True
            code.widget.attrs |= {"title": "The chapter has releases.", "style": "opacity: 0.6"}


class ChapterInline(admin.TabularInline[Chapter, Course]):
    model = Chapter
    form = ChapterForm
    extra = 0
    fields = ("order", "chapter_code", "title", "is_active")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        released = Chapter.objects.filter(pk=OuterRef("pk"), releases__isnull=False)
        return super().get_queryset(request).select_related("course").annotate(has_releases=Exists(released))


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin[Course]):
    list_display = ("course_code", "title", "instructor", "semester", "invite_code", "progression", "is_active")
    list_filter = ("is_active", "progression")
    search_fields = ("course_code", "title", "instructor")
    ordering = ("course_code",)
    inlines = (ChapterInline,)
    actions = ("renew_invite_codes",)
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: Course | None = None) -> list[Any]:
        """A new course gets its id and invite code when it is saved: shown before, they would be others."""
        return [*COURSE_FIELDS, *(MADE_BY_US if obj else ())]

    def get_readonly_fields(self, request: HttpRequest, obj: Course | None = None) -> tuple[str, ...]:
        return MADE_BY_US if obj else ()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return _without_delete(super().get_actions(request))

    def has_delete_permission(self, request: HttpRequest, obj: Course | None = None) -> bool:
        """A course that somebody joined or that has releases is switched off, not deleted."""
        used = obj is not None and (obj.enrollments.exists() or obj.chapters.exclude(releases=None).exists())
        return super().has_delete_permission(request, obj) and not used

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form holds a released chapter's code; the database does, when a release was made since it was opened."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError as error:
            if not isinstance(error.__cause__, RestrictViolation):
                raise
            message = "Nothing was saved: the code of a chapter that has releases can't change."
            self.message_user(request, message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    @admin.action(description="Renew the invite code (the old one stops at once)", permissions=["change"])
    def renew_invite_codes(self, request: HttpRequest, courses: QuerySet[Course]) -> None:
        for course in courses:
            code = services.renew_invite_code(course=course)
            self.log_change(request, course, "Renewed the invite code.")
            self.message_user(request, f"The invite code of {course.course_code} is now {code}.", messages.SUCCESS)


@admin.register(Chapter)
class ChapterAdmin(admin.ModelAdmin[Chapter]):
    """For the search in other forms; chapters are edited on the page of their course."""

    search_fields = ("chapter_code", "title", "course__course_code")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        return super().get_queryset(request).select_related("course")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Chapter | None = None) -> bool:
        return False


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

    # A deleted enrolment would let a removed learner join again. The permission stays, since deleting a user asks
    # for it; the ways to delete an enrolment alone are closed.

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return _without_delete(super().get_actions(request))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        raise PermissionDenied

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "show_delete": False})

    def _apply(self, request: HttpRequest, enrollments: QuerySet[Enrollment], service: Any, verb: str) -> None:
        chosen = list(enrollments)
        changed = service(enrollment_ids=[enrollment.pk for enrollment in chosen])
        for enrollment in chosen:
            self.log_change(request, enrollment, f"{verb}.")
        self.message_user(request, f"{verb} {changed} of {len(chosen)}.", messages.SUCCESS)
