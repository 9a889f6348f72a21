"""Progress in the admin. Events have a composite key, which the admin can't register."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property

from accounts.models import User
from config import limits
from courses.models import Chapter, Enrollment
from courses.selectors import canonical_uuid, following_chapter
from telemetry import services
from telemetry.models import ChapterProgress
from telemetry.selectors import count_learners

_COUNTED_MAX_ROWS: Final = 10_000
"""The list pages through so many rows; an exact count of millions would take longer than the page."""
_HISTORY_PER_PAGE: Final = 100

Status = ChapterProgress.Status


class BoundedPaginator(Paginator[Any]):
    """Counts up to a bound, and shows no page beyond it: searching is quicker than paging there."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return rows.order_by()[:_COUNTED_MAX_ROWS].count()


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
        return f"{count:,} learner{'' if count == 1 else 's'} of {self.chapter.course.course_code}"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done to progress: its title, the service that does it, and what follows, in a sentence."""

    title: str
    perform: Callable[..., int]
    consequence: Callable[[Target], str]


def _after_completing(target: Target) -> str:
    who = target.who(target.count(Status.COMPLETED, has=False))
    following = following_chapter(chapter=target.chapter)
    opens = f"; {following.chapter_code} opens for them" if following else ""
    return f"{who} will have {target.chapter.chapter_code} completed{opens}."


def _after_unlocking(target: Target) -> str:
    who = target.who(target.count(Status.IN_PROGRESS, has=False))
    return f"{who} will have {target.chapter.chapter_code} open."


def _after_resetting(target: Target) -> str:
    who = target.who(target.count(Status.LOCKED, has=True))
    following = following_chapter(chapter=target.chapter)
    locks = f" Those who have not begun {following.chapter_code} find it locked." if following else ""
    code = target.chapter.chapter_code
    return f"{who} will lose their progress in {code}: the next report of a device starts anew.{locks}"


ACTS: Final = {
    "complete": Act("Complete", services.complete_chapter, _after_completing),
    "unlock": Act("Unlock", services.unlock_chapter, _after_unlocking),
    "reset": Act("Reset", services.reset_chapter, _after_resetting),
}


class Search(AutocompleteSelect):
    """Django's, for keys that are UUIDs: it fails when it shows again what somebody sent that is none."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [key for key in value if canonical_uuid(str(key))], attr)


class SetProgressForm(forms.Form):
    """For learners who have no row that could be chosen in the list, and for all of a course at once."""

    act = forms.ChoiceField(
        label="What",
        choices=[
            ("complete", "Complete: in a sequential course, the next chapter opens"),
            ("unlock", "Unlock"),
            ("reset", "Reset: begin anew"),
        ],
        widget=forms.RadioSelect,
    )
    chapter = forms.ModelChoiceField(
        queryset=Chapter.objects.select_related("course"),
        widget=Search(ChapterProgress._meta.get_field("chapter"), admin.site),
    )
    learner = forms.ModelChoiceField(
        queryset=User.objects.all(),
        required=False,
        widget=Search(ChapterProgress._meta.get_field("user"), admin.site),
        help_text="Empty: all learners of the course.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        chapter, learner = cleaned.get("chapter"), cleaned.get("learner")
        if chapter and learner:
            places = Enrollment.objects.filter(course_id=chapter.course_id, user=learner, removed_at=None)
            if not places.exists():
                self.add_error("learner", f"{learner.email} is not in {chapter.course.course_code}.")
        return cleaned

    @property
    def target(self) -> Target:
        learner = self.cleaned_data["learner"]
        return Target(self.cleaned_data["chapter"], [learner.pk] if learner else None)


@admin.register(ChapterProgress)
class ChapterProgressAdmin(admin.ModelAdmin[ChapterProgress]):
    """To look at, and to complete, unlock or reset chapters. Clients report progress; a deletion is a reset."""

    list_display = ("learner", "course", "chapter_code", "status", "updated_at", "completed_at")
    list_filter = ("status", "reported_while_locked")
    list_select_related = ("user", "chapter__course")
    search_fields = ("user__email", "chapter__course__course_code")
    search_help_text = "Email of the learner or code of the course."
    ordering = ("-pk",)
    paginator = BoundedPaginator
    show_full_result_count = False
    actions = ("complete", "unlock", "reset")

    @admin.display(description="learner")
    def learner(self, progress: ChapterProgress) -> str:
        return progress.user.email

    @admin.display(description="course")
    def course(self, progress: ChapterProgress) -> str:
        return progress.chapter.course.course_code

    @admin.display(description="chapter")
    def chapter_code(self, progress: ChapterProgress) -> str:
        return progress.chapter.chapter_code

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChapterProgress]:
        """Snapshots may be large, and only the page of one row shows its own."""
        return super().get_queryset(request).defer("task_snapshot")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_set_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("telemetry.change_chapterprogress"))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        offered = {"has_set_permission": self.has_set_permission(request)}
        return super().changelist_view(request, {**offered, **(extra_context or {})})

    # --- Completing, unlocking, resetting ---

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.set_view)
        return [path("set/", view, name="telemetry_chapterprogress_set"), *super().get_urls()]

    def set_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for chapter and learner, say what will follow, and do it when that was confirmed."""
        if not self.has_set_permission(request):
            raise PermissionDenied
        form = SetProgressForm(request.POST or None, initial={"act": "complete"})
        if not form.is_valid():
            return self._page(request, "Set progress", form=form)
        act = ACTS[form.cleaned_data["act"]]
        if "confirmed" in request.POST:
            self._perform(request, act, [form.target])
            return HttpResponseRedirect(reverse("admin:telemetry_chapterprogress_changelist"))
        hidden = [(name, request.POST.get(name, "")) for name in form.fields]
        return self._page(request, act.title, consequences=[act.consequence(form.target)], hidden=hidden)

    @admin.action(description="Complete the chapter", permissions=["set"])
    def complete(self, request: HttpRequest, rows: QuerySet[ChapterProgress]) -> HttpResponse | None:
        return self._act_on_rows(request, rows, "complete")

    @admin.action(description="Unlock the chapter", permissions=["set"])
    def unlock(self, request: HttpRequest, rows: QuerySet[ChapterProgress]) -> HttpResponse | None:
        return self._act_on_rows(request, rows, "unlock")

    @admin.action(description="Reset the chapter: begin anew", permissions=["set"])
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
            text = f"At most {most} can be changed together. For all of a course there is the page “Set progress”."
            self.message_user(request, text, messages.ERROR)
            return None
        act, targets = ACTS[name], _targets(chosen)
        if "confirmed" in request.POST:
            self._perform(request, act, targets)
            return None
        hidden = [("action", name), *((ACTION_CHECKBOX_NAME, str(row.pk)) for row in chosen)]
        return self._page(request, act.title, consequences=list(map(act.consequence, targets)), hidden=hidden)

    def _perform(self, request: HttpRequest, act: Act, targets: Sequence[Target]) -> None:
        assert isinstance(request.user, User)
        with transaction.atomic():
            changes = [
                act.perform(chapter=target.chapter, user_ids=target.user_ids, actor=request.user) for target in targets
            ]
        for target, changed in zip(targets, changes, strict=True):
            text = f"{act.title} {target.chapter.chapter_code}: changed for {target.who(changed)}."
            self.message_user(request, text, messages.SUCCESS if changed else messages.WARNING)

    def _page(self, request: HttpRequest, title: str, **context: Any) -> HttpResponse:
        context |= {**self.admin_site.each_context(request), "title": title, "opts": self.opts}
        return TemplateResponse(request, "admin/telemetry/chapterprogress/set_progress.html", context)

    # --- The audit ---

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show also what was done to the learner's earlier rows of this chapter, which resets took away."""
        progress = self.get_object(request, unquote(object_id))
        shown = self._history(request, progress) if progress else {}
        return super().history_view(request, object_id, {**shown, **(extra_context or {})})

    def _history(self, request: HttpRequest, progress: ChapterProgress) -> dict[str, Any]:
        label = services.progress_label(progress.user.email, progress.chapter)
        entries = (
            LogEntry.objects.filter(content_type=get_content_type_for_model(ChapterProgress))
            .filter(Q(object_id=str(progress.pk)) | Q(object_repr=label))
            .select_related("user")
            .order_by("action_time")
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
