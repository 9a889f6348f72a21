"""Progress in the admin. Events have a composite key, which the admin can't register."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminRadioSelectWidget

from accounts.models import User
from accounts.people import ConcealedPeopleMixin, may_see_people
from config import limits
from config.admin import ModelAdmin, Search
from config.admin_pages import Cell, Panel, action, admin_url, ask, display, shown_on
from courses.models import Chapter, Enrollment
from courses.selectors import following_chapter
from telemetry import (
    insights_admin,  # noqa: F401  registers them
    services,
)
from telemetry.models import ChapterProgress
from telemetry.selectors import count_learners, find_progress

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

_HISTORY_PER_PAGE: Final = 100
_PANEL_ROWS: Final = 10

Status = ChapterProgress.Status
STATUS_LABELS: Final = {Status.LOCKED: "warning", Status.IN_PROGRESS: "info", Status.COMPLETED: "success"}
STATUS_NAMES: Final = {
    Status.LOCKED: gettext_lazy("Locked"),
    Status.IN_PROGRESS: gettext_lazy("In progress"),
    Status.COMPLETED: gettext_lazy("Completed"),
}
"""What staff read; the labels of the model's choices are words of the API."""


# --- What staff can set -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A chapter, and the learners whose progress in it is set; None is everybody in the course."""

    chapter: Chapter
    user_ids: Collection[uuid.UUID] | None

    def count(self, status: ChapterProgress.Status, *, has: bool) -> int:
        """Count those who have at least this status, or those who don't."""
        return count_learners(chapter=self.chapter, user_ids=self.user_ids, has_at_least=status, has=has)

    def who(self, count: int) -> str:
        text = ngettext("%(count)s learner of %(course)s", "%(count)s learners of %(course)s", count)
        return text % {"count": f"{count:,}", "course": self.chapter.course.course_code}


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done to progress: its title, the service that does it, and what follows, in a sentence."""

    title: "StrOrPromise"
    perform: Callable[..., int]
    consequence: Callable[[Target], str]


def _after_completing(target: Target) -> str:
    named = {"who": target.who(target.count(Status.COMPLETED, has=False)), "chapter": target.chapter.chapter_code}
    following = following_chapter(chapter=target.chapter)
    if following is None:
        return _("%(who)s will have %(chapter)s completed.") % named
    text = _("%(who)s will have %(chapter)s completed; %(following)s opens for them.")
    return text % {**named, "following": following.chapter_code}


def _after_unlocking(target: Target) -> str:
    who = target.who(target.count(Status.IN_PROGRESS, has=False))
    return _("%(who)s will have %(chapter)s open.") % {"who": who, "chapter": target.chapter.chapter_code}


def _after_resetting(target: Target) -> str:
    named = {"who": target.who(target.count(Status.LOCKED, has=True)), "chapter": target.chapter.chapter_code}
    text = _("%(who)s will lose their progress in %(chapter)s: the next report of a device starts anew.") % named
    following = following_chapter(chapter=target.chapter)
    if following is None:
        return text
    locks = _("Those who have not begun %(following)s find it locked.") % {"following": following.chapter_code}
    return pgettext("two sentences", "%(first)s %(second)s") % {"first": text, "second": locks}


ACTS: Final = {
    "complete": Act(gettext_lazy("Complete"), services.complete_chapter, _after_completing),
    "unlock": Act(gettext_lazy("Unlock"), services.unlock_chapter, _after_unlocking),
    "reset": Act(gettext_lazy("Reset"), services.reset_chapter, _after_resetting),
}


class SetProgressForm(forms.Form):
    """For learners who have no row that could be chosen in the list, and for all of a course at once."""

    act = forms.ChoiceField(
        label=gettext_lazy("What"),
        choices=[
            ("complete", gettext_lazy("Complete: in a sequential course, the next chapter opens")),
            ("unlock", gettext_lazy("Unlock")),
            ("reset", gettext_lazy("Reset: begin anew")),
        ],
        widget=UnfoldAdminRadioSelectWidget(radio_style=admin.VERTICAL),
    )
    chapter = forms.ModelChoiceField(
        label=gettext_lazy("Chapter"),
        queryset=Chapter.objects.select_related("course"),
        widget=Search(ChapterProgress._meta.get_field("chapter"), admin.site),
    )
    learner = forms.ModelChoiceField(
        label=gettext_lazy("Learner"),
        queryset=User.objects.all(),
        required=False,
        widget=Search(ChapterProgress._meta.get_field("user"), admin.site),
        help_text=gettext_lazy("Empty: all learners of the course."),
    )

    def __init__(self, *args: Any, viewer: Any, **kwargs: Any) -> None:
        """Leave a single learner to those who may look for one."""
        super().__init__(*args, **kwargs)
        if not may_see_people(viewer):
            del self.fields["learner"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        chapter, learner = cleaned.get("chapter"), cleaned.get("learner")
        if chapter and learner:
            places = Enrollment.objects.filter(course_id=chapter.course_id, user=learner, removed_at=None)
            if not places.exists():
                named = {"learner": learner.email, "course": chapter.course.course_code}
                self.add_error("learner", _("%(learner)s is not in %(course)s.") % named)
        return cleaned

    @property
    def target(self) -> Target:
        learner = self.cleaned_data.get("learner")
        return Target(self.cleaned_data["chapter"], [learner.pk] if learner else None)


class StatusFilter(admin.ChoicesFieldListFilter):
    def choices(self, changelist: Any) -> Any:
        names = {status.label: STATUS_NAMES[status] for status in Status}
        for choice in super().choices(changelist):
            yield {**choice, "display": names.get(str(choice["display"]), choice["display"])}


@admin.register(ChapterProgress)
class ChapterProgressAdmin(ConcealedPeopleMixin, ModelAdmin[ChapterProgress]):
    """To look at, and to complete, unlock or reset chapters. Clients report progress; a deletion is a reset."""

    list_display = ("learner", "course", "chapter_code", "state", "updated", "completed")
    sortable_by = ()
    deletes_from_list = False
    list_filter = (
        ("status", StatusFilter),
        "reported_while_locked",
        ("user", AutocompleteSelectFilter),
        ("chapter", AutocompleteSelectFilter),
    )
    list_filter_submit = True
    list_select_related = ("user", "chapter__course")
    search_fields = ("user__email", "chapter__course__course_code")
    search_help_text = gettext_lazy("The beginning of the learner's email or of the course code.")
    neutral_search_help_text = gettext_lazy("The beginning of the course code.")
    ordering = ("-pk",)
    actions = ("complete", "unlock", "reset")
    actions_list = ("set",)
    facts = (
        "chapter",
        "status_name",
        "created_at",
        "updated_at",
        "completed_at",
        "reported_while_locked",
        "session_id",
    )
    readonly_fields = ("learner", "status_name", "no_tasks")

    def get_fields(self, request: HttpRequest, obj: ChapterProgress | None = None) -> list[Any]:
        """The learner leads to their page, for those who may open it."""
        learner = "user" if may_see_people(request.user) else "learner"
        return [learner, *self.facts, "task_snapshot" if obj and obj.task_snapshot else "no_tasks"]

    @admin.display(description=gettext_lazy("task snapshot"))
    def no_tasks(self, progress: ChapterProgress) -> str:
        """An empty one says nothing, least of all `null` or `{}`."""
        return "-"

    @admin.display(description=gettext_lazy("learner"))
    def learner(self, progress: ChapterProgress) -> str:
        return progress.user.email

    @admin.display(description=gettext_lazy("course"))
    def course(self, progress: ChapterProgress) -> str:
        return progress.chapter.course.course_code

    @admin.display(description=gettext_lazy("chapter"))
    def chapter_code(self, progress: ChapterProgress) -> str:
        return progress.chapter.chapter_code

    @display(description=gettext_lazy("status"), label=STATUS_LABELS)
    def state(self, progress: ChapterProgress) -> tuple[int, "StrOrPromise"]:
        return progress.status, STATUS_NAMES[Status(progress.status)]

    @admin.display(description=gettext_lazy("status"))
    def status_name(self, progress: ChapterProgress) -> "StrOrPromise":
        return STATUS_NAMES[Status(progress.status)]

    @admin.display(description=gettext_lazy("updated (UTC)"))
    def updated(self, progress: ChapterProgress) -> str:
        return f"{progress.updated_at:%Y-%m-%d %H:%M}"

    @admin.display(description=gettext_lazy("completed (UTC)"))
    def completed(self, progress: ChapterProgress) -> str:
        return f"{progress.completed_at:%Y-%m-%d %H:%M}" if progress.completed_at else ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ChapterProgress], search_term: str
    ) -> tuple[QuerySet[ChapterProgress], bool]:
        if not search_term.strip():
            return queryset, False
        return queryset.filter(find_progress(text=search_term, by_email=may_see_people(request.user))), False

    def get_search_fields(self, request: HttpRequest) -> Any:
        return self.search_fields if may_see_people(request.user) else ("chapter__course__course_code",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChapterProgress]:
        """Snapshots may be large, and only the page of one row shows its own."""
        return super().get_queryset(request).defer("task_snapshot")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_set_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("telemetry.change_chapterprogress"))

    # --- Completing, unlocking, resetting ---

    @action(description=gettext_lazy("Set progress"), permissions=["set"], icon="edit_note")
    def set(self, request: HttpRequest) -> HttpResponse:
        """Ask for chapter and learner, say what will follow, and do it when that was confirmed."""
        form = SetProgressForm(request.POST or None, viewer=request.user, initial={"act": "complete"})
        if not form.is_valid():
            return self._page(request, _("Set progress"), form=form, submit_text=_("Continue"))
        act = ACTS[form.cleaned_data["act"]]
        if "confirmed" in request.POST:
            self._perform(request, act, [form.target])
            return HttpResponseRedirect(admin_url(ChapterProgress, "changelist"))
        hidden = [(name, request.POST.get(name, "")) for name in form.fields]
        return self._page(request, str(act.title), consequences=[act.consequence(form.target)], hidden=hidden)

    @admin.action(description=gettext_lazy("Complete the chapter"), permissions=["set"])
    def complete(self, request: HttpRequest, rows: QuerySet[ChapterProgress]) -> HttpResponse | None:
        return self._act_on_rows(request, rows, "complete")

    @admin.action(description=gettext_lazy("Unlock the chapter"), permissions=["set"])
    def unlock(self, request: HttpRequest, rows: QuerySet[ChapterProgress]) -> HttpResponse | None:
        return self._act_on_rows(request, rows, "unlock")

    @admin.action(description=gettext_lazy("Reset the chapter: begin anew"), permissions=["set"])
    def reset(self, request: HttpRequest, rows: QuerySet[ChapterProgress]) -> HttpResponse | None:
        return self._act_on_rows(request, rows, "reset")

    def _act_on_rows(self, request: HttpRequest, rows: QuerySet[ChapterProgress], name: str) -> HttpResponse | None:
        chosen = list(
            rows.order_by("chapter__course__course_code", "chapter__order", "pk")[
                : limits.PROGRESS_ROWS_PER_ACT_MAX + 1
            ]
        )
        if len(chosen) > limits.PROGRESS_ROWS_PER_ACT_MAX:
            most = f"{limits.PROGRESS_ROWS_PER_ACT_MAX:,}"
            text = _("At most %(most)s can be changed together. For all of a course there is the page “Set progress”.")
            self.message_user(request, text % {"most": most}, messages.ERROR)
            return None
        act, targets = ACTS[name], _targets(chosen)
        if "confirmed" in request.POST:
            self._perform(request, act, targets)
            return None
        hidden = [("action", name), *((ACTION_CHECKBOX_NAME, str(row.pk)) for row in chosen)]
        consequences = list(map(act.consequence, targets))
        title, back = str(act.title), request.get_full_path()
        return self._page(request, title, consequences=consequences, hidden=hidden, cancel_url=back)

    def _perform(self, request: HttpRequest, act: Act, targets: Sequence[Target]) -> None:
        assert isinstance(request.user, User)
        with transaction.atomic():
            changes = [
                act.perform(chapter=target.chapter, user_ids=target.user_ids, actor=request.user) for target in targets
            ]
        for target, changed in zip(targets, changes, strict=True):
            text = _("%(act)s %(chapter)s: changed for %(who)s.")
            text %= {"act": act.title, "chapter": target.chapter.chapter_code, "who": target.who(changed)}
            self.message_user(request, text, messages.SUCCESS if changed else messages.WARNING)

    def _page(self, request: HttpRequest, title: str, *, cancel_url: str = "", **context: Any) -> HttpResponse:
        """Show the page; without consequences it only asks, and nothing is confirmed by it."""
        back = cancel_url or admin_url(ChapterProgress, "changelist")
        return ask(self, request, title=title, cancel_url=back, asks_only="consequences" not in context, **context)

    # --- The audit ---

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show also what was done to the learner's earlier rows of this chapter, which resets took away."""
        progress = self.get_object(request, unquote(object_id))
        shown = self._history(request, progress) if progress else {}
        return super().history_view(request, object_id, {**shown, **(extra_context or {})})

    def _history(self, request: HttpRequest, progress: ChapterProgress) -> dict[str, Any]:
        email = User.objects.values_list("email", flat=True).get(pk=progress.user_id)  # the row may have a neutral name
        label = services.progress_label(email, progress.chapter)
        entries = (
            LogEntry.objects.filter(content_type=get_content_type_for_model(ChapterProgress))
            .filter(Q(object_id=str(progress.pk)) | Q(object_repr=label))
            .select_related("user")
        )
        page = self.get_paginator(request, entries, _HISTORY_PER_PAGE).get_page(request.GET.get(PAGE_VAR, 1))
        return {
            "action_list": page,
            "page_range": page.paginator.get_elided_page_range(page.number),
            "pagination_required": page.has_other_pages(),
        }


def _targets(rows: Sequence[ChapterProgress]) -> list[Target]:
    """Return each chapter of these rows with its learners."""
    by_chapter: dict[Chapter, list[uuid.UUID]] = {}
    for row in rows:
        by_chapter.setdefault(row.chapter, []).append(row.user_id)
    return [Target(chapter, user_ids) for chapter, user_ids in by_chapter.items()]


# --- On the pages of users and courses ----------------------------------------------------------------------------


@shown_on(User)
def progress_of_user(request: HttpRequest, user: User) -> Panel | None:
    """The chapters that the user began last. One query."""
    if not request.user.has_perm("telemetry.view_chapterprogress"):
        return None
    rows = user.chapter_progress.select_related("chapter__course").defer("task_snapshot").order_by("-pk")
    return Panel(
        title=_("Progress"),
        headings=[_("Chapter"), _("Status"), _("Updated (UTC)")],
        rows=[
            [
                Cell(
                    f"{row.chapter.course.course_code} {row.chapter.chapter_code}",
                    href=admin_url(ChapterProgress, "change", row.pk),
                ),
                Cell(STATUS_NAMES[Status(row.status)], label=STATUS_LABELS[Status(row.status)]),
                Cell(f"{row.updated_at:%Y-%m-%d %H:%M}"),
            ]
            for row in rows[:_PANEL_ROWS]
        ],
        empty=_("None."),
        links=[(_("All progress"), admin_url(ChapterProgress, "changelist", user__id__exact=user.pk))],
    )
