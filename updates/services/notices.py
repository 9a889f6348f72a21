"""What whoever publishes, widens or withdraws is told: roll-backs, experts that lag behind, whom a minimum reaches.

Read in the act's transaction, before its changes are written for a publication, and after them for a withdrawal.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final

from django.db.models import Q
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.selectors import count_active_devices
from config import limits
from config.errors import joined
from updates.models import BundleRelease, BundleType
from updates.selection import WHOLE_ROLLOUT, parse_version
from updates.selectors import find_current, missing_experts, offered_by

State = BundleRelease.State

_REACH_OF_MINIMUMS: Final = {
    "min_desktop_version": (
        _(
            "Minimum desktop version: {known} of the {total} devices that were active in the last {days} days report a "
            "desktop version; the others don't get it."
        ),
        _(
            "Minimum desktop version: {known} of the {total} devices that were active in the last {days} days report a "
            "desktop version; the others count as new enough."
        ),
    ),
    "min_sidecar_version": (
        _(
            "Minimum sidecar version: {known} of the {total} devices that were active in the last {days} days report a "
            "sidecar version; the others don't get it."
        ),
        _(
            "Minimum sidecar version: {known} of the {total} devices that were active in the last {days} days report a "
            "sidecar version; the others count as new enough."
        ),
    ),
}
"""What is said of each minimum: when one of the releases is strict, and else."""


def notices_of_publication(
    releases: Sequence[BundleRelease], rollout_basis_points: int, publish_at: datetime | None
) -> list[StrOrPromise]:
    return [
        *_times(publish_at),
        *(_roll_backs(releases) if rollout_basis_points else ()),
        *_lagging_experts(releases, rollout_basis_points, publish_at),
        *_reach_of_minimums(releases),
    ]


def notices_of_widening(releases: Sequence[BundleRelease], rollout_basis_points: int) -> list[StrOrPromise]:
    times = [release.publish_at for release in releases if release.publish_at]
    return list(_lagging_experts(releases, rollout_basis_points, max(times, default=None)))


def notices_of_postponement(moved: Sequence[BundleRelease]) -> list[StrOrPromise]:
    """Name what needs an expert that comes only after it now. Read after the times were changed."""
    text = _("{release} needs {experts}, and is offered before that.")
    return [format_lazy(text, release=str(d), experts=joined(missing)) for d, missing in _lacking(moved)]


def notices_of_withdrawal(withdrawn: Sequence[BundleRelease]) -> list[StrOrPromise]:
    scheduled = [release for release in withdrawn if release.offered_since is None]
    offered = [release for release in withdrawn if release not in scheduled]
    return [*_before_their_time(scheduled), *_last_of_their_scope(offered), *_without_an_expert(withdrawn)]


def _times(publish_at: datetime | None) -> Iterator[StrOrPromise]:
    if publish_at is not None and publish_at > timezone.now():
        text = _("Scheduled: no device is offered it before {time} UTC.")
        yield format_lazy(text, time=f"{publish_at:%Y-%m-%d %H:%M}")


def _roll_backs(releases: Sequence[BundleRelease]) -> Iterator[StrOrPromise]:
    """Name the versions that are lower than what all devices have."""
    for release in releases:
        current = find_current(bundle_type=release.bundle_type, scope_id=release.scope_id)
        ours, theirs = parse_version(release.version), parse_version(current.version) if current else None
        if ours and theirs and ours < theirs:
            text = _("Roll-back: {release} takes the place of {version}.")
            yield format_lazy(text, release=str(release), version=str(theirs))


def _lagging_experts(
    releases: Sequence[BundleRelease], rollout_basis_points: int, publish_at: datetime | None
) -> Iterator[StrOrPromise]:
    """Name the experts of other acts that not every device gets: each act has devices of its own for its part."""
    if not rollout_basis_points:
        return
    together = {release.scope_id for release in releases if release.bundle_type == BundleType.EXPERTS}
    for release in releases:
        for expert in sorted(set(release.required_experts) - together):
            for_all = BundleRelease.objects.filter(
                offered_by(publish_at),
                bundle_type=BundleType.EXPERTS,
                scope_id=expert,
                state=State.PUBLISHED,
                rollout_basis_points=WHOLE_ROLLOUT,
            )
            if not for_all.exists():
                text = _(
                    "The expert {expert} is not offered to every device that gets {release}: "
                    "widen it to 100 %, or publish both in one act."
                )
                yield format_lazy(text, expert=expert, release=str(release))


def _reach_of_minimums(releases: Sequence[BundleRelease]) -> Iterator[StrOrPromise]:
    """Say how many devices the minimums can be compared with at all."""
    stated = [name for name in _REACH_OF_MINIMUMS if any(getattr(release, name) for release in releases)]
    if not stated:
        return
    devices = count_active_devices(days=limits.ACTIVE_DEVICE_DAYS)
    is_strict = any(release.strict_versions for release in releases)
    for name in stated:
        known = devices.with_desktop_version if name == "min_desktop_version" else devices.with_sidecar_version
        strict, lenient = _REACH_OF_MINIMUMS[name]
        yield format_lazy(
            strict if is_strict else lenient,
            known=f"{known:,}",
            total=f"{devices.total:,}",
            days=limits.ACTIVE_DEVICE_DAYS,
        )


def _before_their_time(withdrawn: Sequence[BundleRelease]) -> Iterator[StrOrPromise]:
    text = _("{release} was withdrawn before its time, {time} UTC: nothing changes for devices.")
    for release in withdrawn:
        yield format_lazy(text, release=str(release), time=f"{release.publish_at:%Y-%m-%d %H:%M}")


def _last_of_their_scope(withdrawn: Sequence[BundleRelease]) -> Iterator[StrOrPromise]:
    text = _(
        "Nothing of {scope} is offered to all devices any more: those that have it keep it, and new ones may get none."
    )
    for release in withdrawn:
        if find_current(bundle_type=release.bundle_type, scope_id=release.scope_id) is None:
            yield format_lazy(text, scope=f"{release.bundle_type}/{release.scope_id}")


def _without_an_expert(withdrawn: Sequence[BundleRelease]) -> list[StrOrPromise]:
    """Name what is left without an expert that it needs."""
    text = _("{release} needs {experts}, of which no release is published any more.")
    return [format_lazy(text, release=str(d), experts=joined(missing)) for d, missing in _lacking(withdrawn)]


def _lacking(experts_of: Sequence[BundleRelease]) -> Iterator[tuple[BundleRelease, list[str]]]:
    """Yield the published releases that need an expert among these, and whose experts don't all come by their time."""
    experts = sorted(release.scope_id for release in experts_of if release.bundle_type == BundleType.EXPERTS)
    if not experts:
        return
    needs_one = reduce(or_, (Q(required_experts__contains=[expert]) for expert in experts))
    for dependant in BundleRelease.objects.filter(needs_one, state=State.PUBLISHED).order_by("scope_id", "version"):
        if missing := missing_experts([dependant], offered_from=dependant.publish_at):
            yield dependant, missing
