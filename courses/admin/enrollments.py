"""Enrolments: who is in which course, removing learners and letting them in again."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.enums import ActionVariant

from accounts.people import ConcealedPeopleMixin, may_see_people, said
from config.admin import ModelAdmin
from config.admin_pages import (
    PageActionsMixin,
    RowActionsMixin,
    action,
    admin_url,
    ask,
    back_url,
    display,
    is_confirmed,
)
from courses import services
from courses.admin.common import STATE_LABELS
from courses.models import Enrollment
from courses.selectors import find_enrollments

REMOVED = said(gettext_noop("the state to “Removed”"))
LET_IN = said(gettext_noop("the state to “In the course”"))


class EnrollmentStateFilter(admin.SimpleListFilter):
    """The few that were removed have an index of their own."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("in", _("In the course")), ("removed", _("Removed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Enrollment]) -> QuerySet[Enrollment]:
        if self.value() not in ("in", "removed"):
            return queryset
        return queryset.filter(removed_at__isnull=self.value() == "in")


def enrollment_state(enrollment: Enrollment) -> tuple[str, str]:
    """Return the key and the name of an enrolment's state."""
    return ("off", _("Removed")) if enrollment.removed_at else ("on", _("In the course"))


def enrollment_button(enrollment: Enrollment) -> tuple[str, str]:
    """Return the text and the page of what can be done to an enrolment."""
    return (_("Let in again"), "restore_one") if enrollment.removed_at else (_("Remove"), "remove_one")


@admin.register(Enrollment)
class EnrollmentAdmin(ConcealedPeopleMixin, PageActionsMixin, RowActionsMixin, ModelAdmin[Enrollment]):
    list_display = ("learner", "of_course", "state", "joined", "removed")
    row_permission = "change"
    list_display_links = ("learner",)
    sortable_by = ()
    ordering = ("-pk",)
    list_filter = (EnrollmentStateFilter, ("course", AutocompleteSelectFilter), ("user", AutocompleteSelectFilter))
    list_filter_submit = True
    list_select_related = ("user", "course")
    search_fields = ("user__email", "course__course_code")
    search_help_text = gettext_lazy("The beginning of the learner's email or of the course code.")
    neutral_search_help_text = gettext_lazy("The beginning of the course code.")
    autocomplete_fields = ("user", "course")
    actions = ("remove", "restore")
    actions_detail = ("remove_one", "restore_one")

    @admin.display(description=gettext_lazy("learner"))
    def learner(self, enrollment: Enrollment) -> str:
        return enrollment.user.email

    @admin.display(description=gettext_lazy("course"))
    def of_course(self, enrollment: Enrollment) -> str:
        return enrollment.course.course_code

    @display(description=gettext_lazy("state"), label=STATE_LABELS)
    def state(self, enrollment: Enrollment) -> tuple[str, str]:
        return enrollment_state(enrollment)

    @admin.display(description=gettext_lazy("joined (UTC)"))
    def joined(self, enrollment: Enrollment) -> str:
        return f"{enrollment.joined_at:%Y-%m-%d %H:%M}"

    @admin.display(description=gettext_lazy("removed (UTC)"))
    def removed(self, enrollment: Enrollment) -> str:
        return f"{enrollment.removed_at:%Y-%m-%d %H:%M}" if enrollment.removed_at else ""

    def row_button(self, obj: Enrollment) -> tuple[str, str, str]:
        return *enrollment_button(obj), str(obj)

    def get_fields(self, request: HttpRequest, obj: Enrollment | None = None) -> list[Any]:
        """The user leads to their page, for those who may open it."""
        if obj is None:
            return ["user", "course"]
        return ["user" if may_see_people(request.user) else "learner", "course", "joined_at", "removed_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Enrollment | None = None) -> list[str]:
        """Somebody else's place, or one in another course, is another enrolment."""
        return ["user", "learner", "course", "joined_at", "removed_at"] if obj else []

    def get_search_fields(self, request: HttpRequest) -> Any:
        return self.search_fields if may_see_people(request.user) else ("course__course_code",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody enrols somebody whom they can't look for."""
        return super().has_add_permission(request) and may_see_people(request.user)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Enrollment], search_term: str
    ) -> tuple[QuerySet[Enrollment], bool]:
        if not search_term.strip():
            return queryset, False
        return queryset.filter(find_enrollments(text=search_term, by_email=may_see_people(request.user))), False

    # --- Removing, and letting in again ---

    @admin.action(description=gettext_lazy("Remove from the course"), permissions=["change"])
    def remove(self, request: HttpRequest, enrollments: QuerySet[Enrollment]) -> HttpResponse | None:
        chosen = self.chosen(request, enrollments)
        if chosen and not is_confirmed(request):
            return self.ask_for_rows(
                request,
                chosen,
                action="remove",
                title=_("Remove from the course"),
                consequences=[_consequence_of_removing(chosen)],
                variant="danger",
            )
        if chosen:
            self._remove(request, chosen)
        return None

    @admin.action(description=gettext_lazy("Let in again"), permissions=["change"])
    def restore(self, request: HttpRequest, enrollments: QuerySet[Enrollment]) -> HttpResponse | None:
        chosen = self.chosen(request, enrollments)
        if chosen and not is_confirmed(request):
            return self.ask_for_rows(
                request,
                chosen,
                action="restore",
                title=_("Let in again"),
                consequences=[_consequence_of_restoring(chosen)],
            )
        if chosen:
            self._restore(request, chosen)
        return None

    @action(
        description=gettext_lazy("Remove from the course"),
        permissions=["change"],
        icon="person_remove",
        variant=ActionVariant.DANGER,
    )
    def remove_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        enrollment = self._existing(request, object_id)
        page = back_url(request, admin_url(Enrollment, "change", enrollment.pk))
        if is_confirmed(request):
            self._remove(request, [enrollment])
            return HttpResponseRedirect(page)
        return ask(
            self,
            request,
            title=_("Remove %(learner)s from %(course)s") % _names(enrollment),
            consequences=[_consequence_of_removing([enrollment])],
            submit_text=_("Remove from the course"),
            variant="danger",
            obj=enrollment,
            cancel_url=page,
        )

    @action(
        description=gettext_lazy("Let in again"),
        permissions=["change"],
        icon="person_add",
        variant=ActionVariant.PRIMARY,
    )
    def restore_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        enrollment = self._existing(request, object_id)
        page = back_url(request, admin_url(Enrollment, "change", enrollment.pk))
        if is_confirmed(request):
            self._restore(request, [enrollment])
            return HttpResponseRedirect(page)
        return ask(
            self,
            request,
            title=_("Let %(learner)s into %(course)s again") % _names(enrollment),
            consequences=[_consequence_of_restoring([enrollment])],
            submit_text=_("Let in again"),
            obj=enrollment,
            cancel_url=page,
        )

    def possible_actions(self, request: HttpRequest, obj: Enrollment) -> tuple[str, ...]:
        return ("restore_one",) if obj.removed_at else ("remove_one",)

    def _existing(self, request: HttpRequest, object_id: str) -> Enrollment:
        enrollment: Enrollment | None = self.get_object(request, object_id)
        if enrollment is None:
            raise PermissionDenied
        return enrollment

    def _remove(self, request: HttpRequest, chosen: list[Enrollment]) -> None:
        changed = services.remove_enrollments(enrollment_ids=[enrollment.pk for enrollment in chosen])
        self._tell(request, chosen, _("Removed %(changed)s of %(count)s."), changed, REMOVED)

    def _restore(self, request: HttpRequest, chosen: list[Enrollment]) -> None:
        changed = services.restore_enrollments(enrollment_ids=[enrollment.pk for enrollment in chosen])
        self._tell(request, chosen, _("Let in %(changed)s of %(count)s."), changed, LET_IN)

    def _tell(self, request: HttpRequest, chosen: list[Enrollment], text: str, changed: int, logged: Any) -> None:
        for enrollment in chosen:
            self.log_change(request, enrollment, logged)
        self.message_user(request, text % {"changed": changed, "count": len(chosen)}, messages.SUCCESS)

    # A deleted enrolment would let a removed learner join again. The permission stays, since deleting a user asks
    # for it; the ways to delete an enrolment alone are closed.

    deletes_from_list = False

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        raise PermissionDenied

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is nothing to save: what can be done to an enrolment are its buttons."""
        buttons = ("show_delete", "show_save", "show_save_and_continue", "show_save_and_add_another")
        hidden = dict.fromkeys(buttons, False)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **hidden})


def _names(enrollment: Enrollment) -> dict[str, str]:
    return {"learner": enrollment.user.email, "course": enrollment.course.course_code}


def _consequence_of_removing(chosen: list[Enrollment]) -> str:
    return ngettext(
        "%(count)s learner loses the course at once, and can't join again by any code. Progress is kept.",
        "%(count)s learners lose their course at once, and can't join again by any code. Progress is kept.",
        len(chosen),
    ) % {"count": len(chosen)}


def _consequence_of_restoring(chosen: list[Enrollment]) -> str:
    return ngettext(
        "%(count)s learner has the course again at once, with the progress from before.",
        "%(count)s learners have their course again at once, with the progress from before.",
        len(chosen),
    ) % {"count": len(chosen)}
