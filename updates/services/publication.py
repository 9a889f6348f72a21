"""Publishing, widening and withdrawing: what decides which release devices get.

All these acts come one after the other, by one advisory lock: what an act looks at (which experts are published, which
release is current) stays true until it is done. Each then locks the releases that it changes, in the order of their
keys, before it changes any; the trigger that renews the catalogue's revision always comes after the last row lock.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Max, Q
from django.utils import timezone

from accounts.selectors import count_active_devices
from config import limits
from config.errors import ApiError, ErrorCode, FieldError
from storage.artifacts import artifact_size
from updates import audit
from updates.audit import Action, Entry
from updates.catalogue import catalogue
from updates.models import Ability, BundleRelease, BundleType
from updates.principals import Principal
from updates.selection import WHOLE_ROLLOUT, parse_version
from updates.selectors import find_current, missing_experts, offered_by
from updates.services.drafts import refusal

_PUBLICATION_LOCK: Final = 7_201_001
"""Number of the advisory lock under which these acts come one after the other."""
_TICK: Final = timedelta(microseconds=1)

State = BundleRelease.State


@dataclass(frozen=True, slots=True)
class Act:
    """What was done: the releases that it changed, as they are now, and what whoever did it should know."""

    releases: list[BundleRelease]
    notices: list[str]


@dataclass(frozen=True, slots=True)
class Terms:
    """For whom and from when a publication is. None: as the release itself says."""

    rollout_basis_points: int | None = None
    publish_at: datetime | None = None

    def of(self, release: BundleRelease) -> tuple[int, datetime | None]:
        rollout = release.rollout_basis_points if self.rollout_basis_points is None else self.rollout_basis_points
        return rollout, self.publish_at or release.publish_at


def publish_releases(*, releases: Sequence[BundleRelease], principal: Principal, terms: Terms | None = None) -> Act:
    """Publish drafts or withdrawn releases in one act: all of them or none, with one new cohort key.

    They go to the same devices at the same time, so their rollouts and times must be the same. The last one given is
    the most recently published. A version lower than the current one is a roll-back, and the notices name it so.

    Raises:
        ApiError: FORBIDDEN; VALIDATION_ERROR for too many releases, or for wrong or different terms;
            BUNDLE_RELEASE_CONFLICT when one is published already, was changed meanwhile, needs an expert that has no
            published release, or its bytes are missing in the store; STORAGE_UNAVAILABLE.
    """
    releases = list({release.pk: release for release in releases}.values())
    _check_number(releases)
    principal.require(Ability.PUBLISH, releases)
    with audit.recording_refusals(Action.PUBLISHED, releases, principal):
        for release in releases:
            _check_bytes_present(release)
        with _one_act_at_a_time():
            current = _lock(releases)
            chosen = [_expect(current, release, "published", State.DRAFT, State.WITHDRAWN) for release in releases]
            rollout, publish_at = _common_terms(chosen, terms or Terms())
            _refuse_missing_experts(chosen, publish_at)
            notices = _notices_of_publication(chosen, rollout, publish_at)
            cohort_key, entries = uuid.uuid4(), []
            for release, published_at in zip(chosen, _publication_times(len(chosen)), strict=True):
                entries.append(
                    _change(
                        release,
                        state=State.PUBLISHED,
                        rollout_basis_points=rollout,
                        publish_at=publish_at,
                        cohort_key=cohort_key,
                        published_at=published_at,
                        first_published_at=release.first_published_at or published_at,
                        withdrawn_at=None,
                    )
                )
            audit.record(Action.PUBLISHED, entries, principal, notices)
    return Act(chosen, notices)


def ensure_published(*, release: BundleRelease, principal: Principal, terms: Terms | None = None) -> Act:
    """Publish a draft; one that is published already stays as it is: a pipeline may ask twice.

    Raises:
        ApiError: as `publish_releases`; BUNDLE_RELEASE_CONFLICT also for a withdrawn one: a pipeline that repeats its
            last run must not bring back what staff took away.
    """
    if release.state == State.PUBLISHED:
        principal.require(Ability.PUBLISH, [release])
        return Act([release], [])
    if release.state == State.WITHDRAWN:
        with audit.recording_refusals(Action.PUBLISHED, [release], principal):
            raise ApiError(
                ErrorCode.BUNDLE_RELEASE_CONFLICT,
                f"The release {release} was withdrawn. Publish it again by itself if that is meant.",
            )
    try:
        return publish_releases(releases=[release], principal=principal, terms=terms)
    except ApiError as error:
        if error.code is ErrorCode.BUNDLE_RELEASE_CONFLICT:
            published = BundleRelease.objects.filter(pk=release.pk, state=State.PUBLISHED).first()
            if published:
                return Act([published], [])  # another run of the same pipeline was faster
        raise


def widen_rollout(*, releases: Sequence[BundleRelease], principal: Principal, rollout_basis_points: int) -> Act:
    """Offer published releases, and those that were published with them, to more devices. To as many: no change.

    Raises:
        ApiError: FORBIDDEN; VALIDATION_ERROR; BUNDLE_RELEASE_CONFLICT when one isn't published, or has a wider rollout:
            devices would lose what they have, and withdrawing says so.
    """
    _check_rollout(rollout_basis_points)
    with audit.recording_refusals(Action.WIDENED, releases, principal), _one_act_at_a_time():
        chosen = _published_with(releases, principal, "widened")
        narrowed = [r for r in chosen if r.rollout_basis_points > rollout_basis_points]
        if narrowed:
            raise ApiError(
                ErrorCode.BUNDLE_RELEASE_CONFLICT,
                f"The rollout of {narrowed[0]} is {narrowed[0].rollout_basis_points / 100:g} % already, and can only "
                "be widened: withdraw the release to take it back.",
            )
        wider = [release for release in chosen if release.rollout_basis_points < rollout_basis_points]
        entries = [_change(release, rollout_basis_points=rollout_basis_points) for release in wider]
        if entries:
            audit.record(Action.WIDENED, entries, principal)
    return Act(chosen, [])


def withdraw_releases(*, releases: Sequence[BundleRelease], principal: Principal, together: bool = True) -> Act:
    """Take published releases back in one act: every device gets the ones before.

    With them go those that were published with them, unless `together` is False.

    Raises:
        ApiError: FORBIDDEN; BUNDLE_RELEASE_CONFLICT when one is not published.
    """
    with audit.recording_refusals(Action.WITHDRAWN, releases, principal), _one_act_at_a_time():
        chosen = _published_with(releases, principal, "withdrawn", together=together)
        now = timezone.now()
        entries = [_change(release, state=State.WITHDRAWN, withdrawn_at=now) for release in chosen]
        notices = _notices_of_withdrawal(chosen)
        audit.record(Action.WITHDRAWN, entries, principal, notices)
    return Act(chosen, notices)


# --- One act ------------------------------------------------------------------------------------------------------


@contextmanager
def _one_act_at_a_time() -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PUBLICATION_LOCK])
        yield
        transaction.on_commit(catalogue.forget)


def _lock(releases: Sequence[BundleRelease]) -> dict[uuid.UUID, BundleRelease]:
    """Lock the rows and return them as they are now."""
    ids = [release.pk for release in releases]
    return {row.pk: row for row in BundleRelease.objects.filter(pk__in=ids).order_by("pk").select_for_update()}


def _expect(
    current: dict[uuid.UUID, BundleRelease], release: BundleRelease, verb: str, *states: BundleRelease.State
) -> BundleRelease:
    """Return the row as it is now, if its state is one of these, and the one on which the act was decided.

    Of two people who publish and withdraw at the same moment one wins and the other is told, whoever comes first.
    """
    row = current.get(release.pk)
    if row is None or release.state not in states:
        raise refusal(release, verb, " or ".join(f"a {state.label.lower()} release" for state in states))
    if row.state != release.state:
        raise ApiError(
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            f"The release {release} can't be {verb}: it is {row.state} since a moment ago. Look at it again.",
        )
    return row


def _published_with(
    releases: Sequence[BundleRelease], principal: Principal, verb: str, *, together: bool = True
) -> list[BundleRelease]:
    """Lock and return published releases, with those that were published in the same act."""
    principal.require(Ability.PUBLISH, releases)
    current = _lock(releases)
    chosen = [_expect(current, release, verb, State.PUBLISHED) for release in releases]
    if together:
        keys = {release.cohort_key for release in chosen}
        companions = BundleRelease.objects.filter(state=State.PUBLISHED, cohort_key__in=keys).exclude(pk__in=current)
        chosen += companions.order_by("pk").select_for_update()
        principal.require(Ability.PUBLISH, chosen)
    return chosen


def _change(release: BundleRelease, **changes: Any) -> Entry:
    """Write the fields that differ, on the row and on the instance; return what the audit says of it."""
    before = {name: getattr(release, name) for name, value in changes.items() if getattr(release, name) != value}
    for name in before:
        setattr(release, name, changes[name])
    release.save(update_fields=list(before))
    return Entry(release, {name: (value, changes[name]) for name, value in before.items()})


def _publication_times(count: int) -> list[datetime]:
    """Return times later than every publication before, whatever the clocks of the servers say."""
    latest = BundleRelease.objects.aggregate(latest=Max("published_at"))["latest"]
    first = max(timezone.now(), latest + _TICK) if latest else timezone.now()
    return [first + _TICK * index for index in range(count)]


# --- What is refused ----------------------------------------------------------------------------------------------


def _check_bytes_present(release: BundleRelease) -> None:
    if not release.artifact_key:
        return
    try:
        size = artifact_size(key=release.artifact_key)
    except FileNotFoundError:
        size = None
    if size != release.size_bytes:
        raise ApiError(
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            f"The bytes of {release} are not in the artifact store. Upload the archive again.",
        )


def _check_number(releases: Sequence[BundleRelease]) -> None:
    if not 1 <= len(releases) <= limits.RELEASES_PER_ACT_MAX:
        raise ApiError(
            ErrorCode.VALIDATION_ERROR, f"From 1 to {limits.RELEASES_PER_ACT_MAX} releases can be published together."
        )


def _check_rollout(rollout_basis_points: int) -> None:
    if not 0 <= rollout_basis_points <= WHOLE_ROLLOUT:
        message = "This must be from 0 to 100, with at most two decimals."
        details: list[FieldError] = [{"field": "rollout_percent", "message": message}]
        raise ApiError(ErrorCode.VALIDATION_ERROR, f"rollout_percent: {message}", details)


def _common_terms(releases: Sequence[BundleRelease], terms: Terms) -> tuple[int, datetime | None]:
    found = Counter(terms.of(release) for release in releases)
    if len(found) != 1:
        raise ApiError(
            ErrorCode.VALIDATION_ERROR,
            "Releases that are published together need the same rollout and the same time: "
            + ", ".join(f"{r} has {r.rollout_basis_points / 100:g} %, {r.publish_at or 'now'}" for r in releases)
            + ".",
        )
    rollout, publish_at = next(iter(found))
    _check_rollout(rollout)
    return rollout, publish_at


def _refuse_missing_experts(releases: Sequence[BundleRelease], publish_at: datetime | None) -> None:
    missing = missing_experts(releases, offered_from=publish_at)
    if missing:
        raise ApiError(
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            f"These experts are required and have no published release: {', '.join(missing)}. "
            "Publish them before, or together with what needs them.",
        )


# --- What is told -------------------------------------------------------------------------------------------------


def _notices_of_publication(
    releases: Sequence[BundleRelease], rollout_basis_points: int, publish_at: datetime | None
) -> list[str]:
    return [
        *_roll_backs(releases),
        *_narrower_experts(releases, rollout_basis_points, publish_at),
        *_reach_of_minimums(releases),
    ]


def _roll_backs(releases: Sequence[BundleRelease]) -> Iterator[str]:
    for release in releases:
        current = find_current(bundle_type=release.bundle_type, scope_id=release.scope_id)
        ours, theirs = parse_version(release.version), parse_version(current.version) if current else None
        if ours and theirs and ours < theirs:
            yield f"Roll-back: {release} takes the place of {theirs}."


def _narrower_experts(
    releases: Sequence[BundleRelease], rollout_basis_points: int, publish_at: datetime | None
) -> Iterator[str]:
    """Name the experts of other acts that fewer devices get than what needs them."""
    together = {release.scope_id for release in releases if release.bundle_type == BundleType.EXPERTS}
    for release in releases:
        for expert in sorted(set(release.required_experts) - together):
            offered = BundleRelease.objects.filter(
                offered_by(publish_at),
                bundle_type=BundleType.EXPERTS,
                scope_id=expert,
                state=State.PUBLISHED,
                rollout_basis_points__gte=rollout_basis_points,
            )
            if not offered.exists():
                yield f"The expert {expert} is offered to fewer devices than {release}."


def _reach_of_minimums(releases: Sequence[BundleRelease]) -> Iterator[str]:
    """Say how many devices the minimums can be compared with at all."""
    named = [("desktop", "min_desktop_version"), ("sidecar", "min_sidecar_version")]
    parts = [part for part, field in named if any(getattr(release, field) for release in releases)]
    if not parts:
        return
    devices = count_active_devices(days=limits.ACTIVE_DEVICE_DAYS)
    for part in parts:
        known = devices.with_desktop_version if part == "desktop" else devices.with_sidecar_version
        yield (
            f"Minimum {part} version: {known:,} of the {devices.total:,} devices that were active in the last "
            f"{limits.ACTIVE_DEVICE_DAYS} days report a {part} version; the others "
            + ("don't get it." if any(release.strict_versions for release in releases) else "count as new enough.")
        )


def _notices_of_withdrawal(withdrawn: Sequence[BundleRelease]) -> list[str]:
    """Name what is left without an expert that it needs."""
    experts = sorted(release.scope_id for release in withdrawn if release.bundle_type == BundleType.EXPERTS)
    if not experts:
        return []
    needs_one = reduce(or_, (Q(required_experts__contains=[expert]) for expert in experts))
    return [
        f"{dependant} needs {', '.join(missing)}, of which no release is published any more."
        for dependant in BundleRelease.objects.filter(needs_one, state=State.PUBLISHED).order_by("scope_id", "version")
        if (missing := missing_experts([dependant], offered_from=dependant.publish_at))
    ]
