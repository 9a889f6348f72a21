"""Reads of releases as rows, for those who publish; what devices are answered is in `updates.device_checks`."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

from courses.models import Chapter, Course
from courses.selectors import canonical_uuid
from updates.models import BundleRelease, BundleType
from updates.principals import Principal
from updates.selection import WHOLE_ROLLOUT


def list_releases(
    *, principal: Principal, bundle_type: str = "", scope_id: str = "", state: str = "", limit: int, offset: int
) -> tuple[list[BundleRelease], int]:
    """Return a page of the releases that the principal's token covers, the newest first, and how many there are.

    An empty filter is none. Manifests, which may be large, are left out. Two queries.
    """
    wanted = {"bundle_type": bundle_type, "scope_id": scope_id, "state": state}
    rows = _covered(principal).filter(**{name: value for name, value in wanted.items() if value})
    page = rows.defer("manifest").order_by("-created_at", "-pk")[offset : offset + limit]
    return list(page), rows.count()


def _covered(principal: Principal) -> QuerySet[BundleRelease]:
    """What `Principal.covers` says of one release, for all."""
    rows, token = BundleRelease.objects.all(), principal.token
    if token is not None and token.bundle_types:
        rows = rows.filter(bundle_type__in=token.bundle_types)
    if token is not None and token.course_id is not None:
        rows = rows.filter(chapter__course_id=token.course_id)
    return rows


def find_release(*, bundle_type: str, scope_id: str, version: str) -> BundleRelease | None:
    """Return the release of this version, compared without case as the constraint does. One query."""
    return (
        BundleRelease.objects.alias(lower_scope=Lower("scope_id"), lower_version=Lower("version"))
        .filter(bundle_type=bundle_type, lower_scope=scope_id.lower(), lower_version=version.lower())
        .first()
    )


def find_chapter(scope: str) -> Chapter | None:
    """Return the chapter of `COURSE/CHAPTER`: the course's id or code, and the chapter's code, without case.

    At most one query.
    """
    course_ref, _, chapter_code = scope.partition("/")
    course_id = canonical_uuid(course_ref)
    if not chapter_code or "\x00" in scope:
        return None
    of_course = Q(course_id=course_id) if course_id else Q(course__course_code__iexact=course_ref)
    return Chapter.objects.filter(of_course, chapter_code__iexact=chapter_code).first()


def find_current(*, bundle_type: str, scope_id: str) -> BundleRelease | None:
    """Return what all devices are offered of a scope: its last published release at 100 % whose time has come.

    Minimum versions are left aside. One query.
    """
    return _offered_to_all([(bundle_type, scope_id)]).first()


def find_replaced(release: BundleRelease) -> BundleRelease | None:
    """Return what this release replaces for all devices: what they are offered without it, or were before it.

    One query.
    """
    rows = _offered_to_all([(release.bundle_type, release.scope_id)]).exclude(pk=release.pk)
    if release.state == BundleRelease.State.PUBLISHED:
        rows = rows.filter(published_at__lt=release.published_at)
    return rows.first()


def list_current(scopes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], BundleRelease]:
    """Return what all devices are offered of each of these scopes, as `find_current` says.

    Manifests are left out. One query.
    """
    wanted = sorted(set(scopes))
    if not wanted:
        return {}
    rows = _offered_to_all(wanted).defer("manifest")
    rows = rows.order_by("bundle_type", "scope_id", "-published_at", "-pk").distinct("bundle_type", "scope_id")
    return {(release.bundle_type, release.scope_id): release for release in rows}


def _offered_to_all(scopes: Sequence[tuple[str, str]]) -> QuerySet[BundleRelease]:
    """The releases of these scopes at 100 % whose time has come, the most recently published first."""
    of_scopes = reduce(or_, (Q(bundle_type=bundle_type, scope_id=scope_id) for bundle_type, scope_id in scopes))
    return BundleRelease.objects.filter(
        of_scopes,
        offered_by(None),
        state=BundleRelease.State.PUBLISHED,
        rollout_basis_points=WHOLE_ROLLOUT,
    ).order_by("-published_at", "-pk")


def missing_experts(releases: Sequence[BundleRelease], *, offered_from: datetime | None) -> list[str]:
    """Return the experts that these need and that nobody would be offered with them. One query.

    An expert is there when it is among these, or has a published release that is offered by the time these are: from
    `offered_from` on, or now.
    """
    needed = {expert for release in releases for expert in release.required_experts}
    needed -= {release.scope_id for release in releases if release.bundle_type == BundleType.EXPERTS}
    if not needed:
        return []
    published = BundleRelease.objects.filter(
        offered_by(offered_from),
        bundle_type=BundleType.EXPERTS,
        scope_id__in=needed,
        state=BundleRelease.State.PUBLISHED,
    )
    return sorted(needed - set(published.values_list("scope_id", flat=True)))


def offered_by(moment: datetime | None) -> Q:
    """The condition that a release's time comes by this moment, or has come."""
    now = timezone.now()
    return Q(publish_at=None) | Q(publish_at__lte=max(moment or now, now))


# --- A course for a new semester ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedChapter:
    """A chapter of a course, and what all devices are offered of it now; None is nothing."""

    chapter: Chapter
    release: BundleRelease | None


@dataclass(frozen=True, slots=True)
class CoursePlan:
    """What a copy of a course would have."""

    source: Course
    chapters: list[PlannedChapter]

    @property
    def releases(self) -> list[BundleRelease]:
        return [planned.release for planned in self.chapters if planned.release]

    @property
    def fingerprint(self) -> str:
        """The same for plans of the same chapters and releases."""
        parts = [
            (str(c.pk), c.chapter_code, c.title, c.order, c.is_active, str(release.pk) if release else "")
            for c, release in ((planned.chapter, planned.release) for planned in self.chapters)
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def plan_course_copy(*, source: Course) -> CoursePlan:
    """Return a course's chapters in order, active or not, with their current releases (see `find_current`).

    Manifests, which may be large, are left out. Two queries.
    """
    chapters = list(source.chapters.order_by("order", "chapter_code"))
    offered = (
        BundleRelease.objects.filter(
            offered_by(None),
            chapter__in=chapters,
            state=BundleRelease.State.PUBLISHED,
            rollout_basis_points=WHOLE_ROLLOUT,
        )
        .defer("manifest")
        .order_by("chapter_id", "-published_at", "-pk")
        .distinct("chapter_id")
    )
    current = {release.chapter_id: release for release in offered}
    return CoursePlan(source, [PlannedChapter(chapter, current.get(chapter.pk)) for chapter in chapters])
