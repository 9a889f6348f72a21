"""Courses: their list and their page, with the chapters and the button that renews the invite code."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from psycopg.errors import RestrictViolation, UniqueViolation
from unfold.contrib.filters.admin import FieldTextFilter

from accounts.people import LearnersInHistoryMixin, said
from config.admin import ModelAdmin
from config.admin_pages import (
    BoundedDeletionMixin,
    ChangedFieldsMixin,
    PanelsMixin,
    RowActionsMixin,
    action,
    admin_url,
    ask,
    display,
    is_confirmed,
)
from courses import services
from courses.admin.chapters import ChapterInline
from courses.admin.common import STATE_LABELS
from courses.admin.history import HistoryMixin
from courses.admin.instructors import InstructorInline
from courses.models import Course

INSTRUCTOR_CONSTRAINT = "courses_instructor_once_per_course"
MADE_BY_US = ("id", "invite_code", "created_at")
RENEWED = said(gettext_noop("the invite code"))


@admin.register(Course)
class CourseAdmin(
    ChangedFieldsMixin,
    PanelsMixin,
    HistoryMixin,
    LearnersInHistoryMixin,
    BoundedDeletionMixin,
    RowActionsMixin,
    ModelAdmin[Course],
):
    list_display = ("course", "semester", "instructor", "state", "chapters_open", "joining", "invite_code")
    list_display_links = ("course",)
    deletes_from_list = False
    list_filter = ("is_active", "progression", ("semester", FieldTextFilter))
    list_filter_submit = True
    search_fields = ("course_code", "title", "instructor", "semester", "invite_code")
    search_help_text = gettext_lazy("Part of the code, title, instructor, semester or invite code.")
    ordering = ("course_code",)
    inlines = (ChapterInline, InstructorInline)
    actions = ("renew_invite_codes",)
    actions_detail: tuple[str, ...] = ("renew_invite_code",)

    @display(description=gettext_lazy("course"), header=True)
    def course(self, course: Course) -> list[str]:
        return [course.course_code, course.title]

    course.admin_order_field = "course_code"  # type: ignore[attr-defined]

    @display(description=gettext_lazy("state"), label=STATE_LABELS)
    def state(self, course: Course) -> tuple[str, str]:
        return ("on", _("Active")) if course.is_active else ("off", _("Inactive"))

    @admin.display(description=gettext_lazy("chapters open"))
    def chapters_open(self, course: Course) -> str:
        return _("One by one") if course.progression == Course.Progression.SEQUENTIAL else _("All at once")

    @admin.display(description=gettext_lazy("joining by"))
    def joining(self, course: Course) -> str:
        return _("Course or invite code") if course.joinable_by_code else _("Invite code only")

    def get_fieldsets(self, request: HttpRequest, obj: Course | None = None) -> Any:
        """A new course gets its id and invite code when it is saved: shown before, they would be others."""
        shown = [
            (None, {"fields": ("course_code", "title", "description", "instructor", "semester")}),
            (_("For learners"), {"fields": ("progression", "joinable_by_code", "is_active")}),
        ]
        return [*shown, (_("Made by this server"), {"fields": self._made_by_us(request)})] if obj else shown

    def get_inlines(self, request: HttpRequest, obj: Course | None) -> Any:
        """A new course gets its instructors when it is there."""
        return self.inlines if obj else (ChapterInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Course | None = None) -> tuple[str, ...]:
        return self._made_by_us(request) if obj else ()

    # Whoever has the invite code can let anybody in: it is for those who may change the course.

    def _made_by_us(self, request: HttpRequest) -> tuple[str, ...]:
        return _without_invite_code(request, MADE_BY_US)

    def get_list_display(self, request: HttpRequest) -> Any:
        return _without_invite_code(request, super().get_list_display(request))

    def get_search_fields(self, request: HttpRequest) -> Any:
        return _without_invite_code(request, super().get_search_fields(request))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        if not _may_see_invite_code(request):
            changelist.search_help_text = _("Part of the code, title, instructor or semester.")
        return changelist

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Nor does anybody find it out, letter by letter, by filters that they type into the address."""
        hidden = lookup.startswith("invite_code") and not _may_see_invite_code(request)
        return not hidden and super().lookup_allowed(lookup, value, request)

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
        """The form refuses what can't be; the database does, when it came to be since the form was opened."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError as error:
            if isinstance(error.__cause__, RestrictViolation):
                message = _("Nothing was saved: the code of a chapter that has releases can't change.")
            elif _broken_constraint(error) == INSTRUCTOR_CONSTRAINT:
                message = _("Nothing was saved: somebody added this instructor a moment ago.")
            elif isinstance(error.__cause__, UniqueViolation):
                message = _("Nothing was saved: somebody took one of these codes a moment ago.")
            else:
                raise
            self.message_user(request, message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    # --- The invite code ---

    @admin.action(description=gettext_lazy("Renew the invite code"), permissions=["change"])
    def renew_invite_codes(self, request: HttpRequest, courses: QuerySet[Course]) -> HttpResponse | None:
        chosen = self.chosen(request, courses)
        if chosen and not is_confirmed(request):
            return self.ask_for_rows(
                request,
                chosen,
                action="renew_invite_codes",
                title=_("Renew the invite code"),
                consequences=[_consequence_of_renewing(course) for course in chosen],
            )
        for course in chosen:
            self._renew(request, course)
        return None

    @action(description=gettext_lazy("Renew invite code"), permissions=["change"], icon="autorenew")
    def renew_invite_code(self, request: HttpRequest, object_id: str) -> HttpResponse:
        course = self.get_object(request, object_id)
        if course is None:
            raise PermissionDenied
        page = admin_url(Course, "change", course.pk)
        if is_confirmed(request):
            self._renew(request, course)
            return HttpResponseRedirect(page)
        return ask(
            self,
            request,
            title=_("Renew the invite code of %(course)s") % {"course": course.course_code},
            consequences=[_consequence_of_renewing(course)],
            submit_text=_("Renew the invite code"),
            cancel_url=page,
            obj=course,
        )

    def _renew(self, request: HttpRequest, course: Course) -> None:
        code = services.renew_invite_code(course=course)
        self.log_change(request, course, RENEWED)
        done = _("The invite code of %(course)s is now %(code)s.") % {"course": course.course_code, "code": code}
        self.message_user(request, done, messages.SUCCESS)


def _broken_constraint(error: IntegrityError) -> str | None:
    name: str | None = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    return name


def _may_see_invite_code(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("courses.change_course"))


def _without_invite_code(request: HttpRequest, names: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(name for name in names if name != "invite_code" or _may_see_invite_code(request))


def _consequence_of_renewing(course: Course) -> str:
    text = _("%(course)s: the old code %(code)s stops at once. Learners who joined stay.")
    return text % {"course": course.course_code, "code": course.invite_code}
