"""Progress in the admin. Events have a composite key, which the admin can't register."""

from typing import Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from telemetry.models import ChapterProgress

_COUNTED_MAX_ROWS: Final = 10_000
"""The list pages through so many rows; an exact count of millions would take longer than the page."""


class BoundedPaginator(Paginator[ChapterProgress]):
    """Counts up to a bound, and shows no page beyond it: searching is quicker than paging there."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return rows.order_by()[:_COUNTED_MAX_ROWS].count()


@admin.register(ChapterProgress)
class ChapterProgressAdmin(admin.ModelAdmin[ChapterProgress]):
    """To look at. Clients report progress; a deletion makes the chapter's next report start anew."""

    list_display = ("learner", "course", "chapter_code", "status", "updated_at", "completed_at")
    list_filter = ("status",)
    list_select_related = ("user", "chapter__course")
    search_fields = ("user__email", "chapter__course__course_code")
    search_help_text = "Email of the learner or code of the course."
    ordering = ("-pk",)
    paginator = BoundedPaginator
    show_full_result_count = False
    actions = None

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
