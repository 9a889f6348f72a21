"""Reads of releases as rows, for those who publish; what devices are answered is in `updates.device_checks`."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

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


def find_current(*, bundle_type: str, scope_id: str) -> BundleRelease | None:
    """Return what all devices are offered of a scope: its last published release at 100 % whose time has come.

    Minimum versions are left aside. One query.
    """
    return (
        BundleRelease.objects.filter(
            offered_by(None),
            bundle_type=bundle_type,
            scope_id=scope_id,
            state=BundleRelease.State.PUBLISHED,
            rollout_basis_points=WHOLE_ROLLOUT,
        )
        .order_by("-published_at", "-pk")
        .first()
    )


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
