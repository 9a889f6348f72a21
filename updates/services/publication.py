"""Publishing, scheduling, widening and withdrawing: what decides which release devices get.

All these acts come one after the other, by one advisory lock: what an act looks at (which experts are published, which
release is current) stays true until it is done. Each then locks the releases that it changes, in the order of their
keys, before it changes any; the trigger that renews the catalogue's revision always comes after the last row lock.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import ApiError, ErrorCode, invalid_fields, joined
from updates import audit
from updates.audit import Action, Entry
from updates.catalogue import catalogue
from updates.models import Ability, BundleRelease
from updates.principals import Principal
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import missing_experts
from updates.services.drafts import check_release, refusal
from updates.services.notices import (
    notices_of_postponement,
    notices_of_publication,
    notices_of_widening,
    notices_of_withdrawal,
)
from updates.services.stored_bytes import bytes_are_there

_PUBLICATION_LOCK: Final = 7_201_001
"""Number of the advisory lock under which these acts come one after the other."""
_TICK: Final = timedelta(microseconds=1)

State = BundleRelease.State

_STATES: Final = {State.DRAFT: _("draft"), State.PUBLISHED: _("published"), State.WITHDRAWN: _("withdrawn")}
"""What a release is said to be."""

TIME_IS_OVER: Final = _("This time is over. Choose one to come.")


@dataclass(frozen=True, slots=True)
class _Precondition:
    """Which states a release may have for an act, and the sentences for those that have another."""

    states: Sequence[BundleRelease.State]
    refusal: StrOrPromise
    refusal_meanwhile: StrOrPromise
    """When somebody else has just given it its state."""


_TO_PUBLISH: Final = _Precondition(
    (State.DRAFT, State.WITHDRAWN),
    _("The release {release} can't be published: only a draft release or a withdrawn release can. Look at it again."),
    _("The release {release} can't be published: it is {state} since a moment ago. Look at it again."),
)
_TO_WIDEN: Final = _Precondition(
    (State.PUBLISHED,),
    _("The release {release} can't be widened: only a published release can. Look at it again."),
    _("The release {release} can't be widened: it is {state} since a moment ago. Look at it again."),
)
_TO_WITHDRAW: Final = _Precondition(
    (State.PUBLISHED,),
    _("The release {release} can't be withdrawn: only a published release can. Look at it again."),
    _("The release {release} can't be withdrawn: it is {state} since a moment ago. Look at it again."),
)
_TO_RESCHEDULE: Final = _Precondition(
    (State.PUBLISHED,),
    _("The time of {release} can't be changed: only a scheduled release has one. Look at it again."),
    _("The time of {release} can't be changed: it is {state} since a moment ago. Look at it again."),
)


@dataclass(frozen=True, slots=True)
class Act:
    """What was done: the releases that it changed, as they are now, and what whoever did it should know."""

    releases: list[BundleRelease]
    notices: list[StrOrPromise]


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
        ApiError: FORBIDDEN; VALIDATION_ERROR for too many releases, two of one scope, or wrong or different terms;
            BUNDLE_RELEASE_CONFLICT when one is published already, was changed meanwhile, needs an expert that has no
            published release, or its bytes are missing in the store; STORAGE_UNAVAILABLE.
    """
    releases = list({release.pk: release for release in releases}.values())
    with audit.recording_refusals(Action.PUBLISHED, releases, principal):
        return _publish(releases, principal, terms or Terms())


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
            text = _("The release {release} was withdrawn. Publish it again by itself if that is meant.")
            raise refusal(text, release)
    with audit.recording_refusals(Action.PUBLISHED, [release], principal):
        try:
            return _publish([release], principal, terms or Terms())
        except ApiError as error:
            published = BundleRelease.objects.filter(pk=release.pk, state=State.PUBLISHED).first()
            if error.code is ErrorCode.BUNDLE_RELEASE_CONFLICT and published:
                return Act([published], [])  # another run of the same pipeline was faster
            raise


def widen_rollout(*, releases: Sequence[BundleRelease], principal: Principal, rollout_basis_points: int) -> Act:
    """Offer published releases, and those that were published with them, to more devices. To as many: no change.

    Raises:
        ApiError: FORBIDDEN; VALIDATION_ERROR; BUNDLE_RELEASE_CONFLICT when one isn't published, or has a wider rollout:
            devices would lose what they have, and withdrawing says so.
    """
    _check_rollout(rollout_basis_points)
    with audit.recording_refusals(Action.WIDENED, releases, principal), one_act_at_a_time():
        chosen = _published_with(releases, principal, _TO_WIDEN)
        narrowed = [r for r in chosen if r.rollout_basis_points > rollout_basis_points]
        if narrowed:
            text = _(
                "The rollout of {release} is {share} already, and can only be widened: withdraw the release to take it "
                "back."
            )
            raise refusal(text, narrowed[0], share=_share(narrowed[0]))
        wider = [release for release in chosen if release.rollout_basis_points < rollout_basis_points]
        entries = [_change(release, rollout_basis_points=rollout_basis_points) for release in wider]
        notices = notices_of_widening(chosen, rollout_basis_points)
        if entries:
            audit.record(Action.WIDENED, entries, principal, notices)
    return Act(chosen, notices)


def reschedule_releases(*, releases: Sequence[BundleRelease], principal: Principal, publish_at: datetime | None) -> Act:
    """Move the time of scheduled releases, and of those that were published with them. To the same time: no change.

    Whether the old time has come is decided once no other act can change them, not when somebody asked: who waited for
    that until it came is refused, like who comes too late. A device that checks in the very moment at which the old
    time comes may still be offered them: a worker's picture of the releases is up to
    `limits.CATALOGUE_MAX_AGE_SECONDS` old.

    Args:
        releases: as whoever decides has seen them; one that somebody moved since is refused.
        publish_at: the new time, which is yet to come. None: now.

    Raises:
        ApiError: FORBIDDEN; VALIDATION_ERROR for a time that is over; BUNDLE_RELEASE_CONFLICT when one isn't
            published, its time has come or was changed meanwhile, or an expert that one needs comes later.
    """
    with audit.recording_refusals(Action.RESCHEDULED, releases, principal), one_act_at_a_time():
        chosen = _published_with(releases, principal, _TO_RESCHEDULE)
        now = timezone.now()
        for release in chosen:
            _refuse_what_is_offered_already(release, now)
        seen = {release.pk: release.publish_at for release in releases}
        for release in chosen:
            if release.publish_at != seen.get(release.pk, release.publish_at):
                text = _("The time of {release} was changed to {time} UTC a moment ago. Look at it again.")
                raise refusal(text, release, time=_minute(release.publish_at))
        if publish_at is None:
            publish_at = now
        elif publish_at <= now:
            raise invalid_fields([{"field": "publish_at", "message": TIME_IS_OVER}])
        _refuse_without_experts(chosen, publish_at)
        rollout = max(release.rollout_basis_points for release in chosen)
        notices = notices_of_publication(chosen, rollout, publish_at)
        entries = [_change(release, publish_at=publish_at) for release in chosen if release.publish_at != publish_at]
        notices += notices_of_postponement(chosen)
        if entries:
            audit.record(Action.RESCHEDULED, entries, principal, notices)
    return Act(chosen, notices)


def withdraw_releases(*, releases: Sequence[BundleRelease], principal: Principal, together: bool = True) -> Act:
    """Take published releases back in one act: every device gets the ones before.

    With them go those that were published with them, unless `together` is False.

    Raises:
        ApiError: FORBIDDEN; BUNDLE_RELEASE_CONFLICT when one is not published.
    """
    with audit.recording_refusals(Action.WITHDRAWN, releases, principal), one_act_at_a_time():
        chosen = _published_with(releases, principal, _TO_WITHDRAW, together=together)
        now = timezone.now()
        entries = [_change(release, state=State.WITHDRAWN, withdrawn_at=now) for release in chosen]
        notices = notices_of_withdrawal(chosen)
        audit.record(Action.WITHDRAWN, entries, principal, notices)
    return Act(chosen, notices)


def _publish(releases: Sequence[BundleRelease], principal: Principal, terms: Terms) -> Act:
    _check_together(releases)
    principal.require(Ability.PUBLISH, releases)
    for release in releases:
        check_bytes_present(release)
    with one_act_at_a_time():
        return publish_in_act(releases, principal, terms)


def publish_in_act(
    releases: Sequence[BundleRelease], principal: Principal, terms: Terms, *, as_one: bool = True
) -> Act:
    """Publish what was checked before, within `one_act_at_a_time`.

    Args:
        as_one: they are a cohort, so that they are widened and withdrawn together; else each is one of its own.

    Raises:
        ApiError: as `publish_releases`.
    """
    current = _lock(releases)
    chosen = [_expect(current, release, _TO_PUBLISH) for release in releases]
    rollout, publish_at = _common_terms(chosen, terms)
    _refuse_what_can_not_be_offered(chosen, publish_at)
    notices = notices_of_publication(chosen, rollout, publish_at)
    times, common_key = _publication_times(len(chosen)), uuid.uuid4()
    entries = [
        _change(
            release,
            state=State.PUBLISHED,
            rollout_basis_points=rollout,
            publish_at=publish_at,
            cohort_key=common_key if as_one else uuid.uuid4(),
            published_at=published_at,
            first_published_at=release.first_published_at or published_at,
            withdrawn_at=None,
        )
        for release, published_at in zip(chosen, times, strict=True)
    ]
    audit.record(Action.PUBLISHED, entries, principal, notices)
    return Act(chosen, notices)


# --- One act ------------------------------------------------------------------------------------------------------


@contextmanager
def one_act_at_a_time() -> Iterator[None]:
    """Begin the transaction of an act: no other one changes what this looks at until it ends."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PUBLICATION_LOCK])
        yield
        transaction.on_commit(catalogue.forget)


def _lock(releases: Sequence[BundleRelease]) -> dict[uuid.UUID, BundleRelease]:
    """Lock the rows and return them as they are now."""
    ids = [release.pk for release in releases]
    return {row.pk: row for row in BundleRelease.objects.filter(pk__in=ids).order_by("pk").select_for_update()}


def _expect(current: dict[uuid.UUID, BundleRelease], release: BundleRelease, needed: _Precondition) -> BundleRelease:
    """Return the row as it is now, if its state is one of the needed, and the one on which the act was decided.

    Of two people who publish and withdraw at the same moment one wins and the other is told, whoever comes first.
    """
    row = current.get(release.pk)
    if row is None or release.state not in needed.states:
        raise refusal(needed.refusal, release)
    if row.state != release.state:
        raise refusal(needed.refusal_meanwhile, release, state=_STATES[State(row.state)])
    return row


def _published_with(
    releases: Sequence[BundleRelease], principal: Principal, needed: _Precondition, *, together: bool = True
) -> list[BundleRelease]:
    """Lock and return published releases, with those that were published in the same act."""
    principal.require(Ability.PUBLISH, releases)
    current = _lock(releases)
    chosen = [_expect(current, release, needed) for release in releases]
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
    told = {name: (value, changes[name]) for name, value in before.items()}
    if "state" in told and release.publish_at is not None and release.publish_at > timezone.now():
        # Also where it stays as it is: without the time, nobody could read what the state meant at that moment.
        told.setdefault("publish_at", (release.publish_at, release.publish_at))
    return Entry(release, told)


def _publication_times(count: int) -> list[datetime]:
    """Return times later than every publication before, whatever the clocks of the servers say."""
    latest = BundleRelease.objects.aggregate(latest=Max("published_at"))["latest"]
    first = max(timezone.now(), latest + _TICK) if latest else timezone.now()
    return [first + _TICK * index for index in range(count)]


# --- What is refused ----------------------------------------------------------------------------------------------


def check_bytes_present(release: BundleRelease) -> None:
    """Refuse a release whose bytes the store doesn't have. It asks the store: not within a transaction.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT, STORAGE_UNAVAILABLE.
    """
    if not bytes_are_there(release):
        raise refusal(_("The bytes of {release} are not in the artifact store. Upload the archive again."), release)


def _check_together(releases: Sequence[BundleRelease]) -> None:
    if not 1 <= len(releases) <= limits.RELEASES_PER_ACT_MAX:
        text = _("From 1 to {most} releases can be published together.")
        raise ApiError(ErrorCode.VALIDATION_ERROR, format_lazy(text, most=limits.RELEASES_PER_ACT_MAX))
    versions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for release in releases:
        versions[release.bundle_type, release.scope_id].append(release.version)
    for (bundle_type, scope_id), several in versions.items():
        if len(several) > 1:
            text = _(
                "Only one version of {scope} can be published in one act, not {versions}: devices get one of them."
            )
            versions_in_words = joined(several, _(" and "))
            raise ApiError(
                ErrorCode.VALIDATION_ERROR,
                format_lazy(text, scope=f"{bundle_type}/{scope_id}", versions=versions_in_words),
            )


def _check_rollout(rollout_basis_points: int) -> None:
    if not 0 <= rollout_basis_points <= WHOLE_ROLLOUT:
        message = _("This must be from 0 to 100, with at most two decimals.")
        raise invalid_fields([{"field": "rollout_percent", "message": message}])


def _common_terms(releases: Sequence[BundleRelease], terms: Terms) -> tuple[int, datetime | None]:
    found = Counter(terms.of(release) for release in releases)
    if len(found) != 1:
        text = _("Releases that are published together need the same rollout and the same time: {terms}.")
        terms_of_each = joined(
            format_lazy(
                _("{release} has {share}, {time}"), release=str(r), share=_share(r), time=r.publish_at or _("now")
            )
            for r in releases
        )
        raise ApiError(ErrorCode.VALIDATION_ERROR, format_lazy(text, terms=terms_of_each))
    rollout, publish_at = next(iter(found))
    _check_rollout(rollout)
    return rollout, publish_at


def _refuse_what_can_not_be_offered(releases: Sequence[BundleRelease], publish_at: datetime | None) -> None:
    for release in releases:
        if release.first_published_at is None:
            check_release(release)  # it may be older than a rule
    _refuse_without_experts(releases, publish_at)


def _refuse_without_experts(releases: Sequence[BundleRelease], publish_at: datetime | None) -> None:
    missing = missing_experts(releases, offered_from=publish_at)
    if missing:
        text = _(
            "These experts are required and have no published release: {experts}. "
            "Publish them before, or together with what needs them."
        )
        raise ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, format_lazy(text, experts=joined(missing)))


def _refuse_what_is_offered_already(release: BundleRelease, now: datetime) -> None:
    if release.publish_at is None:
        text = _("The time of {release} can't be changed: it was published without one, and devices are offered it.")
        raise refusal(text, release)
    if release.publish_at <= now:
        text = _(
            "The time of {release} can't be changed: it came at {time} UTC, and devices are offered the release since. "
            "Withdraw it to take it back."
        )
        raise refusal(text, release, time=_minute(release.publish_at))


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _share(release: BundleRelease) -> str:
    return f"{release.rollout_basis_points / 100:g} %"
