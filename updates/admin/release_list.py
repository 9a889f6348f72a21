"""The list of releases: each scope's together, the one that changed last on top."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from django.contrib.admin.views.main import ORDER_VAR
from django.db.models import F, Max, Q, QuerySet, Window
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.views import ChangeList
from unfold.widgets import CHECKBOX_CLASSES

from config.search import Query
from courses.models import Chapter
from updates.admin.common import age, bundle_label, percent, state_of
from updates.admin.release_page import scope_url
from updates.models import BundleRelease
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import list_current, offered_by

State = BundleRelease.State

PRESERVED: Final = "_changelist_filters"
"""Django's name for the query of the list in the address of a page that it leads to."""

_SHA256_PREFIX_MIN: Final = 6
"""Hexadecimal digits from which on a word may be the beginning of a checksum."""


@dataclass(frozen=True, slots=True)
class Item:
    """A release in the list."""

    release: BundleRelease
    is_current: bool
    """It is what all devices are offered now; those that are too old for it aside."""

    @property
    def state(self) -> str:
        return state_of(self.release)

    @property
    def was_offered(self) -> bool:
        return self.release.offered_since is not None

    @property
    def is_partial(self) -> bool:
        return self.release.state == State.PUBLISHED and self.release.rollout_basis_points < WHOLE_ROLLOUT

    @property
    def rollout(self) -> str:
        return percent(self.release.rollout_basis_points)

    @property
    def share(self) -> str:
        """The rollout in percent, as style sheets have it."""
        return f"{self.release.rollout_basis_points / 100:.2f}"

    @property
    def age(self) -> str:
        return age(self.release.offered_since or self.release.created_at)


@dataclass(frozen=True, slots=True)
class ScopeGroup:
    """Releases of one scope that stand together."""

    first: BundleRelease
    items: Sequence[Item]

    @property
    def name(self) -> str:
        chapter = self.first.chapter
        return f"{chapter.course.course_code}/{chapter.chapter_code}" if chapter else self.first.scope_id

    @property
    def label(self) -> str:
        return bundle_label(self.first)

    @property
    def scope_url(self) -> str:
        return scope_url(self.first)


class ReleaseList(ChangeList):
    """Orders the scopes by what was made, published or withdrawn in them last, unless a column's order is asked for."""

    checkbox_classes: Final = " ".join(CHECKBOX_CLASSES)

    @property
    def has_checkboxes(self) -> bool:
        return "action_checkbox" in self.list_display

    @property
    def preserved_query(self) -> str:
        """What a link to a release carries along, so that saving leads back to the list as it is."""
        query = self.get_query_string()
        return f"?{urlencode({PRESERVED: query.removeprefix('?')})}" if query != "?" else ""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[BundleRelease]) -> list[Any]:
        if self.params.get(ORDER_VAR):
            chosen: list[Any] = super().get_ordering(request, queryset)
            return chosen
        changed = Window(
            Max(Greatest("created_at", "published_at", "withdrawn_at")), partition_by=[F("bundle_type"), F("scope_id")]
        )
        # PostgreSQL puts what was never published on top.
        return [changed.desc(), "bundle_type", "scope_id", "-published_at", "-created_at", "-pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Find the page's keys first: to order whole rows of all releases takes a multiple of the time."""
        super().get_results(request)
        keys = list(self.result_list.values_list("pk", flat=True))
        rows = self.root_queryset.in_bulk(keys)
        self.result_list = [rows[key] for key in keys if key in rows]

    def groups(self) -> Iterator[ScopeGroup]:
        """Yield the page's releases by their scopes. One query."""
        current = list_current((release.bundle_type, release.scope_id) for release in self.result_list)
        for scope, releases in groupby(self.result_list, key=lambda release: (release.bundle_type, release.scope_id)):
            items = [Item(release, current.get(scope) == release) for release in releases]
            yield ScopeGroup(items[0].release, items)


def search(queryset: QuerySet[BundleRelease], text: str) -> QuerySet[BundleRelease]:
    """Return the releases that each word of the text finds.

    A word finds the beginning of a scope, version, course code or chapter code, of a checksum, and a part of a
    chapter's title.
    """
    for word in Query.of(text).words:
        chapters = Chapter.objects.filter(
            Q(title__icontains=word) | Q(chapter_code__istartswith=word) | Q(course__course_code__istartswith=word)
        )
        found = Q(scope_id__istartswith=word) | Q(version__istartswith=word) | Q(chapter__in=chapters.values("pk"))
        if len(word) >= _SHA256_PREFIX_MIN:
            found |= Q(sha256__startswith=word.lower())
        queryset = queryset.filter(found)
    return queryset


class StageFilter(DropdownFilter):
    title = _("stage")
    parameter_name = "stage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("rollout", _("Rollout in progress")), ("scheduled", pgettext_lazy("state of a release", "Scheduled"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BundleRelease]) -> QuerySet[BundleRelease]:
        match self.value():
            case "rollout":
                partial = queryset.filter(state=State.PUBLISHED, rollout_basis_points__lt=WHOLE_ROLLOUT)
                return partial.filter(offered_by(None))
            case "scheduled":
                return queryset.filter(state=State.PUBLISHED, publish_at__gt=timezone.now())
        return queryset


class CourseFilter(AutocompleteSelectFilter):
    """A course by search."""

    def __init__(self, field: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, *args, **kwargs)
        self.title = _("course")


FILTERS: Final = (
    ("state", ChoicesDropdownFilter),
    ("bundle_type", ChoicesDropdownFilter),
    StageFilter,
    ("chapter__course", CourseFilter),
)
