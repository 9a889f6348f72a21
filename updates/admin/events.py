"""The audit in the admin, to read only."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from updates.admin.common import label, minute, percent
from updates.models import ReleaseEvent

_REFUSAL_IN_LIST_CHARACTERS: Final = 100
_NAMES: Final = {
    "sha256": "SHA-256",
    "size_bytes": "Size in bytes",
    "rollout_basis_points": "Rollout",
    "is_mandatory": "Mandatory",
    "strict_versions": "Strict",
    "publish_at": "Offered from",
    "cohort_key": "Cohort",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What an entry says of one field, in words. Without `before`: it had no value."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after or 'none'}" if self.before else f"{self.name}: {self.after}"


def describe_changes(event: ReleaseEvent) -> list[Change]:
    """Put an entry's changes into words; what had no value and has none says nothing."""
    changes = (
        Change(_NAMES.get(name, name.replace("_", " ").capitalize()), _words(name, before), _words(name, after))
        for name, (before, after) in event.changes.items()
    )
    return [change for change in changes if change.before or change.after]


def _words(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "rollout_basis_points":
        return percent(value)
    moment = parse_datetime(value) if name.endswith("_at") else None
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else str(value)


class OutcomeFilter(admin.SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("done", "Done"), ("refused", "Refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReleaseEvent]) -> QuerySet[ReleaseEvent]:
        match self.value():
            case "done":
                return queryset.filter(refusal="")
            case "refused":
                return queryset.exclude(refusal="")
            case _:
                return queryset


@admin.register(ReleaseEvent)
class ReleaseEventAdmin(admin.ModelAdmin[ReleaseEvent]):
    list_display = ("when", "what", "subject", "actor_name", "outcome")
    list_display_links = ("when", "what")
    list_filter = ("action", OutcomeFilter, "actor_kind", "bundle_type")
    search_fields = ("scope_id", "version", "actor_name", "release__chapter__course__course_code")
    ordering = ("-pk",)
    fields = (
        "created_at",
        "what",
        "subject_link",
        "outcome_in_full",
        "changed",
        "told",
        "actor_name",
        "actor_kind",
        "act",
    )
    show_full_result_count = False

    class Media:
        css: ClassVar = {"all": ("updates/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReleaseEvent]:
        return super().get_queryset(request).select_related("release__chapter__course").defer("release__manifest")

    @admin.display(description="When (UTC)", ordering="pk")
    def when(self, event: ReleaseEvent) -> str | None:
        return minute(event.created_at)

    @admin.display(description="Action", ordering="action")
    def what(self, event: ReleaseEvent) -> str:
        return f"{event.get_action_display()}{': refused' if event.refusal else ''}"

    @admin.display(description="Release")
    def subject(self, event: ReleaseEvent) -> str:
        """Name what it was about as the audit does, when there is no such release any more."""
        return label(event.release) if event.release else f"{event.bundle_type}/{event.scope_id} {event.version}"

    @admin.display(description="Outcome")
    def outcome(self, event: ReleaseEvent) -> str:
        return f"Refused: {Truncator(event.refusal).chars(_REFUSAL_IN_LIST_CHARACTERS)}" if event.refusal else "Done"

    @admin.display(description="Outcome")
    def outcome_in_full(self, event: ReleaseEvent) -> str:
        return f"Refused: {event.refusal}" if event.refusal else "Done"

    @admin.display(description="Release")
    def subject_link(self, event: ReleaseEvent) -> str:
        if event.release is None:
            return self.subject(event)
        url = reverse("admin:updates_bundlerelease_change", args=[event.release.pk])
        return format_html('<a href="{}">{}</a>', url, self.subject(event))

    @admin.display(description="Changes")
    def changed(self, event: ReleaseEvent) -> str:
        return _lines(map(str, describe_changes(event)))

    @admin.display(description="Told")
    def told(self, event: ReleaseEvent) -> str:
        return _lines(map(str, event.notices))

    @admin.display(description="Done together")
    def act(self, event: ReleaseEvent) -> str:
        """Name the other entries of the act."""
        others = self.model.objects.filter(act_id=event.act_id).exclude(pk=event.pk).order_by("pk")
        return _lines(f"{other.bundle_type}/{other.scope_id} {other.version}" for other in others)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _lines(texts: Iterator[str]) -> str:
    return format_html_join("", "<div>{}</div>", ((text,) for text in texts)) or "none"
