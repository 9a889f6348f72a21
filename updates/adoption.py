"""Reads of which versions devices have. All are sums over the counts of days, so none walks over devices.

A device is counted by what it said at its last check of a day (UTC), and by its last check of all. What the counts
know and when they lag is said in `updates.services.adoption`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from config import limits
from updates.models import DEVICE_SCOPE, OTHER_VERSION, AdoptionDay, BundleRelease
from updates.selection import parse_version


@dataclass(frozen=True, slots=True)
class VersionsByDay:
    """Devices of a scope by the version that they had at their last check of each day.

    `devices` has a list for each version, a number for each of `days`; "" is nothing installed, `OTHER_VERSION` what
    never was a release here. The highest version comes first, these two last.
    """

    days: list[date]
    devices: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """How far a release got, by the last check of each device in the last `limits.ADOPTION_WINDOW_DAYS` days.

    A device that was offered the release once and something else later is neither installed nor behind.
    """

    seen: int
    """Devices that checked this scope."""
    installed: int
    """Of these, those that have exactly this version."""
    behind: int
    """Those that were offered it and had another version, or none, when they last checked."""

    @property
    def offered(self) -> int:
        return self.installed + self.behind


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened on one day: how many devices checked anything, and how many checks they made."""

    day: date
    devices: int
    checks: int


NO_PROGRESS: Final = RolloutProgress(seen=0, installed=0, behind=0)


def versions_by_day(*, bundle_type: str, scope_id: str, days: int = limits.ADOPTION_WINDOW_DAYS) -> VersionsByDay:
    """Return the devices of a scope by version for each of the last `days` days, today included. One query."""
    shown = _last_days(days)
    rows = (
        AdoptionDay.objects.filter(bundle_type=bundle_type, scope_id=scope_id, day__gte=shown[0])
        .values("day", "version")
        .annotate(number=Sum("devices"))
        .values_list("day", "version", "number")
    )
    found: dict[str, dict[date, int]] = {}
    for day, version, number in rows:
        if number > 0:
            found.setdefault(version, {})[day] = number
    versions = sorted(found, key=_order, reverse=True)
    return VersionsByDay(shown, {version: [found[version].get(day, 0) for day in shown] for version in versions})


def rollout_progress(*, release: BundleRelease) -> RolloutProgress:
    """Return how far a release got. One query."""
    return rollouts_progress(releases=[release])[release.pk]


def rollouts_progress(*, releases: Sequence[BundleRelease]) -> dict[uuid.UUID, RolloutProgress]:
    """Return how far each of these releases got. One query for all."""
    progress = {release.pk: NO_PROGRESS for release in releases}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT release.id, sum(total.latest),
                coalesce(sum(total.latest) FILTER (WHERE total.version = release.version), 0),
                coalesce(sum(total.latest) FILTER (WHERE total.offered_version = release.version), 0)
            FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]) AS release (id, bundle_type, scope_id, version)
            JOIN updates_adoptionday AS total USING (bundle_type, scope_id)
            WHERE total.day >= %s
            GROUP BY release.id
            """,
            [
                [release.pk for release in releases],
                [release.bundle_type for release in releases],
                [release.scope_id for release in releases],
                [release.version for release in releases],
                _last_days(limits.ADOPTION_WINDOW_DAYS)[0],
            ],
        )
        for release_id, *numbers in cursor.fetchall():
            progress[release_id] = RolloutProgress(*map(int, numbers))
    return progress


def activity_by_day(*, days: int) -> list[Activity]:
    """Return what happened on each of the last `days` days, today included, the oldest first. One query."""
    shown = _last_days(days)
    bundle_type, scope_id = DEVICE_SCOPE
    rows = (
        AdoptionDay.objects.filter(bundle_type=bundle_type, scope_id=scope_id, day__gte=shown[0])
        .values("day")
        .annotate(all_devices=Sum("devices"), all_checks=Sum("checks"))
        .values_list("day", "all_devices", "all_checks")
    )
    found = {day: Activity(day, int(devices), int(checks)) for day, devices, checks in rows}
    return [found.get(day, Activity(day, 0, 0)) for day in shown]


def _last_days(number: int) -> list[date]:
    today = timezone.now().date()
    return [today - timedelta(days=ago) for ago in range(number - 1, -1, -1)]


def _order(version: str) -> tuple[bool, bool, object]:
    """Semantic order; what is no version of ours before, nothing at all first."""
    parsed = parse_version(version)
    return (version not in ("", OTHER_VERSION), version == OTHER_VERSION, parsed or parse_version("0.0.0"))
