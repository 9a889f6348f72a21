"""Releases in the admin's search."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from config.errors import joined
from config.search import Hit, Hits, Person, Query, cut, may_view
from courses.search import find_chapter_ids
from updates.admin.common import state_of
from updates.models import BundleRelease, BundleType

_VERSION: Final = re.compile(r"v?(\d+\.[\w.+-]*|\d+)")
CHAPTERS_LOOKED_AT: Final = 50
"""Chapters that fit, whose releases are looked for; words that fit more tell too little."""


def search(*, person: Person, query: Query, limit: int) -> Iterator[Hits]:
    """Find releases by scope and version: `1.4`, `data_inspector`, `soc101 ch1 1.4`. Two queries."""
    if not may_view(person, "updates.bundlerelease"):
        return
    found = find_releases(query)[: limit + 1]
    yield cut(_("Releases"), "deployed_code", [_hit(release) for release in found], limit)


def find_releases(query: Query) -> QuerySet[BundleRelease]:
    """Return the releases that fit, the newest first.

    What looks like a version is the beginning of one; the other words name a chapter, or begin a bundle type or scope.
    """
    versions = [match[1] for word in query.words if (match := _VERSION.fullmatch(word))]
    names = tuple(word for word in query.words if not _VERSION.fullmatch(word))
    wanted = Q()
    for version in versions:
        wanted &= Q(version__startswith=version)
    if names:
        chapter_ids = find_chapter_ids(replace(query, words=names), limit=CHAPTERS_LOOKED_AT)
        named = ~Q(bundle_type=BundleType.CHAPTER)
        for name in names:
            named &= Q(scope_id__istartswith=name) | Q(bundle_type__istartswith=name)
        wanted &= named | Q(chapter__in=chapter_ids)
    rows = BundleRelease.objects.filter(wanted).select_related("chapter__course")
    return rows.defer("manifest", "required_experts").order_by("-created_at", "-pk")


def _hit(release: BundleRelease) -> Hit:
    chapter = release.chapter
    scope = f"{chapter.course.course_code}/{chapter.chapter_code}" if chapter else release.scope_id
    return Hit(
        title=f"{scope} {release.version}",
        detail=str(joined([release.get_bundle_type_display(), state_of(release)])),
        url=reverse("admin:updates_bundlerelease_change", args=[release.pk]),
    )
