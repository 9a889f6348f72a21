"""Courses, chapters and enrolments in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from psycopg.errors import RestrictViolation, UniqueViolation
from unfold.contrib.filters.admin import AutocompleteSelectFilter, FieldTextFilter
from unfold.enums import ActionVariant

from accounts.models import User
from config import limits
from config.admin import ModelAdmin, TabularInline
from config.admin_pages import (
    BoundedDeletionMixin,
    Cell,
    ChangedFieldsMixin,
    PageActionsMixin,
    Panel,
    PanelsMixin,
    RowActionsMixin,
    action,
    admin_url,
    ask,
    back_url,
    display,
    is_confirmed,
    shown_on,
)
from courses import services
from courses.models import Chapter, Course, Enrollment
from courses.selectors import count_learners, find_enrollments

PANEL_ROWS = 10
"""Rows of what belongs to an object on its page; the lists have the rest."""

MADE_BY_US = ("id", "invite_code", "created_at")
STATE_LABELS = {"on": "success", "off": "danger"}


# --- Chapters -----------------------------------------------------------------------------------------------------


class ChapterForm(forms.ModelForm[Chapter]):
    """Clients file what they installed under a chapter's code: once the chapter has a release, its code stays."""

    class Meta:
        help_texts = {
            "chapter_code": gettext_lazy("It can't change any more once the chapter has a release."),
            "order": gettext_lazy("Lower numbers come first. Drag a row, or type a number."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.instance, "has_releases", False):
            code = self.fields["chapter_code"]
            code.disabled = True
            code.widget.attrs |= {"title": _("The chapter has releases."), "style": "opacity: 0.6"}


class KnownRowField(forms.ModelChoiceField[Chapter]):
    """The hidden key of a row that the formset has read already: Django's own field reads each row once more."""

    known: Chapter

    def to_python(self, value: Any) -> Chapter | None:
        return self.known if str(value) == str(self.known.pk) else super().to_python(value)


class ChapterFormSet(forms.BaseInlineFormSet[Chapter, Course, forms.ModelForm[Chapter]]):
    def add_fields(self, form: Any, index: int | None) -> None:
        """Offer to delete only what nothing hangs on. The others are switched off."""
        super().add_fields(form, index)
        if not form.instance._state.adding:
            key = form.fields["id"]
            form.fields["id"] = KnownRowField(key.queryset, initial=key.initial, required=False, widget=key.widget)
            form.fields["id"].known = form.instance
        field = form.fields.get(forms.formsets.DELETION_FIELD_NAME)
        if field is None:
            return
        field.widget.attrs["aria-label"] = _("Delete %(chapter)s") % {"chapter": form.instance.chapter_code}
        if getattr(form.instance, "is_used", False):
            field.disabled = True
            field.widget.attrs |= {"title": _("The chapter has releases or progress: switch it off instead.")}

    def clean(self) -> None:
        """Refuse two chapters of one code: all of the course's are here, so that it takes no query."""
        super().clean()
        seen: set[str] = set()
        for form in self.forms:
            code = str(form.cleaned_data.get("chapter_code", "") if form.is_valid() else "").lower()
            if not code or form in self.deleted_forms:
                continue
            if code in seen:
                form.add_error("chapter_code", _("The course has a chapter with this code already."))
            seen.add(code)


class ChapterInline(TabularInline[Chapter, Course]):
    model = Chapter
    form = ChapterForm
    formset = ChapterFormSet
    extra = 0
    fields = ("order", "chapter_code", "title", "is_active")
    ordering_field = "order"
    hide_title = True
    add_text = gettext_lazy("Add a chapter")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        own = Chapter.objects.filter(pk=OuterRef("pk"))
        released, begun = Exists(own.filter(releases__isnull=False)), Exists(own.filter(progress__isnull=False))
        chapters = super().get_queryset(request).select_related("course")
        return chapters.annotate(has_releases=released, is_used=Q(released) | Q(begun))


@admin.register(Chapter)
class ChapterAdmin(BoundedDeletionMixin, ModelAdmin[Chapter]):
    """For the search in other forms; chapters are edited on the page of their course."""

    search_fields = ("chapter_code", "title", "course__course_code")
    ordering = ("course__course_code", "order", "chapter_code")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Chapter]:
        return super().get_queryset(request).select_related("course")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Chapter | None = None) -> bool:
        return False


# --- Courses ------------------------------------------------------------------------------------------------------


@admin.register(Course)
class CourseAdmin(ChangedFieldsMixin, PanelsMixin, BoundedDeletionMixin, RowActionsMixin, ModelAdmin[Course]):
    list_display = ("course", "semester", "instructor", "state", "chapters_open", "joining", "invite_code")
    list_display_links = ("course",)
    deletes_from_list = False
    list_filter = ("is_active", "progression", ("semester", FieldTextFilter))
    list_filter_submit = True
    search_fields = ("course_code", "title", "instructor", "semester", "invite_code")
    search_help_text = gettext_lazy("Part of the code, title, instructor, semester or invite code.")
    ordering = ("course_code",)
    inlines = (ChapterInline,)
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
        return [*shown, (_("Made by this server"), {"fields": MADE_BY_US})] if obj else shown

    def get_readonly_fields(self, request: HttpRequest, obj: Course | None = None) -> tuple[str, ...]:
        return MADE_BY_US if obj else ()

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
        self.log_change(request, course, "Renewed the invite code.")
        done = _("The invite code of %(course)s is now %(code)s.") % {"course": course.course_code, "code": code}
        self.message_user(request, done, messages.SUCCESS)


def _consequence_of_renewing(course: Course) -> str:
    text = _("%(course)s: the old code %(code)s stops at once. Learners who joined stay.")
    return text % {"course": course.course_code, "code": course.invite_code}


# --- Enrolments ---------------------------------------------------------------------------------------------------


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


def _button(enrollment: Enrollment) -> tuple[str, str]:
    """Return the text and the page of what can be done to an enrolment."""
    return (_("Let in again"), "restore_one") if enrollment.removed_at else (_("Remove"), "remove_one")


@admin.register(Enrollment)
class EnrollmentAdmin(PageActionsMixin, RowActionsMixin, ModelAdmin[Enrollment]):
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
        return *_button(obj), str(obj)

    def get_fields(self, request: HttpRequest, obj: Enrollment | None = None) -> list[Any]:
        return ["user", "course", *(("joined_at", "removed_at") if obj else ())]

    def get_readonly_fields(self, request: HttpRequest, obj: Enrollment | None = None) -> list[str]:
        """Somebody else's place, or one in another course, is another enrolment."""
        return ["user", "course", "joined_at", "removed_at"] if obj else []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Enrollment], search_term: str
    ) -> tuple[QuerySet[Enrollment], bool]:
        found = find_enrollments(text=search_term) if search_term.strip() else None
        return (queryset if found is None else queryset.filter(found)), False

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
        self._tell(request, chosen, _("Removed %(changed)s of %(count)s."), changed, "Removed.")

    def _restore(self, request: HttpRequest, chosen: list[Enrollment]) -> None:
        changed = services.restore_enrollments(enrollment_ids=[enrollment.pk for enrollment in chosen])
        self._tell(request, chosen, _("Let in %(changed)s of %(count)s."), changed, "Let in.")

    def _tell(self, request: HttpRequest, chosen: list[Enrollment], text: str, changed: int, logged: str) -> None:
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
        hidden = {"show_delete": False, "show_save": False, "show_save_and_continue": False}
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


# --- On the pages of courses and users ----------------------------------------------------------------------------


@shown_on(Course)
def learners_of_course(request: HttpRequest, course: Course) -> Panel | None:
    """How many learners a course has, and who joined last. Two queries."""
    if not request.user.has_perm("courses.view_enrollment"):
        return None
    count = count_learners(course=course, most=limits.ADMIN_RELATED_COUNTED_MAX_ROWS)
    if count > limits.ADMIN_RELATED_COUNTED_MAX_ROWS:
        told = _("More than %(count)s learners.") % {"count": f"{limits.ADMIN_RELATED_COUNTED_MAX_ROWS:,}"}
    else:
        told = ngettext("%(count)s learner.", "%(count)s learners.", count) % {"count": f"{count:,}"}
    newest = course.enrollments.select_related("user").order_by("-pk")[:PANEL_ROWS]
    links = [(_("All enrolments"), admin_url(Enrollment, "changelist", course__id__exact=course.pk))]
    if request.user.has_perm("courses.add_enrollment"):
        links.append((_("Add an enrolment"), admin_url(Enrollment, "add", course=course.pk)))
    return Panel(
        title=_("Learners"),
        sentences=[told],
        headings=[_("Joined last"), _("On (UTC)"), _("State")],
        rows=[
            [
                Cell(enrollment.user.email, href=admin_url(Enrollment, "change", enrollment.pk)),
                Cell(f"{enrollment.joined_at:%Y-%m-%d}"),
                _state_cell(enrollment),
            ]
            for enrollment in newest
        ],
        links=links,
    )


@shown_on(User)
def enrollments_of_user(request: HttpRequest, user: User) -> Panel | None:
    """The courses that the user joined, the newest first. One query."""
    if not request.user.has_perm("courses.view_enrollment"):
        return None
    may_change = request.user.has_perm("courses.change_enrollment")
    newest = user.enrollments.select_related("course").order_by("-pk")[:PANEL_ROWS]
    links = [(_("All enrolments"), admin_url(Enrollment, "changelist", user__id__exact=user.pk))]
    if request.user.has_perm("courses.add_enrollment"):
        links.append((_("Add an enrolment"), admin_url(Enrollment, "add", user=user.pk)))
    return Panel(
        title=_("Enrolments"),
        headings=[_("Course"), _("Joined (UTC)"), _("State"), *([""] if may_change else [])],
        rows=[_enrollment_row(enrollment, back=request.path if may_change else "") for enrollment in newest],
        empty=_("None."),
        links=links,
    )


def _enrollment_row(enrollment: Enrollment, *, back: str) -> list[Cell]:
    """Return the cells; with the button, which leads back, where there is a `back`."""
    row = [
        Cell(enrollment.course.course_code, href=admin_url(Enrollment, "change", enrollment.pk)),
        Cell(f"{enrollment.joined_at:%Y-%m-%d}"),
        _state_cell(enrollment),
    ]
    if back:
        text, page = _button(enrollment)
        href = admin_url(Enrollment, page, enrollment.pk, back=back)
        row.append(Cell(text, href=href, button_of=enrollment.course.course_code))
    return row


def _state_cell(enrollment: Enrollment) -> Cell:
    key, text = enrollment_state(enrollment)
    return Cell(text, label=STATE_LABELS[key])
