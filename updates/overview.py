"""What the admin's first page tells of releases: published, on their way, still to come, and what failed.

Every list is bounded and read from its newest end, so that the page takes as long with 50,000 releases as with five.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from django.db.models import Exists, OuterRef, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from config import limits
from config.charts import Chart, Series
from config.overview import Attention, Card, Report
from config.search import Person, may_view
from courses.models import Course
from courses.selectors import canonical_uuid
from updates.adoption import NO_PROGRESS, RolloutProgress, activity_by_day, rollouts_progress
from updates.models import FIXED_SCOPES, BundleRelease, BundleType, ReleaseEvent
from updates.selection import WHOLE_ROLLOUT
from updates.selectors import offered_by

_TEMPLATES: Final = "admin/updates/overview"
_SPREADING: Final = (ReleaseEvent.Action.PUBLISHED, ReleaseEvent.Action.WIDENED)
"""What brings a release to more devices."""
_EVENTS_PER_ACT: Final = 8
"""How many releases of one act are looked at, on average; acts of more hide some older acts."""


# --- What is read -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a release got: a sentence, and the percent of those that were offered it; None: nobody was."""

    text: str
    percent: int | None

    @classmethod
    def of(cls, progress: RolloutProgress) -> "Spread":
        if not progress.offered:
            return cls(_("No device was offered it yet."), None)
        text = ngettext(
            "Installed on %(installed)s of %(offered)s device that was offered it; %(behind)s still behind.",
            "Installed on %(installed)s of %(offered)s devices that were offered it; %(behind)s still behind.",
            progress.offered,
        )
        values = {name: f"{getattr(progress, name):,}" for name in ("installed", "offered", "behind")}
        return cls(text % values, 100 * progress.installed // progress.offered)


@dataclass(frozen=True, slots=True)
class Publication:
    """That somebody published something."""

    at: datetime
    by: str
    """Empty: that isn't for this reader."""


@dataclass(frozen=True, slots=True)
class Published:
    """One release that was published, and how far it got."""

    name: str
    url: str
    is_withdrawn: bool
    spread: Spread
    earlier: Sequence[Publication]
    """Earlier publications of the same version, the last one first."""


@dataclass(frozen=True, slots=True)
class PublicationAct:
    """Releases that somebody published together, and that nobody published again since."""

    publication: Publication
    releases: Sequence[Published]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A release that some of the devices get."""

    name: str
    url: str
    percent: str
    spread_at: datetime
    spread: Spread

    @property
    def days_still(self) -> int:
        return (timezone.now() - self.spread_at).days

    @property
    def stands_still(self) -> bool:
        return self.days_still >= limits.ROLLOUT_STANDS_STILL_DAYS


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A release that will be offered later."""

    name: str
    url: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """An upload or act that was refused, and why."""

    name: str
    url: str
    action: str
    by: str
    at: datetime
    reason: str
    was_done_later: bool
    """The same was done to the same version since."""


def list_published() -> list[ReleaseEvent]:
    """Return the newest entries of publications, each act's together. One query.

    Without those of releases whose time has not come: they stand among what is scheduled. Nor was it ever published
    what was withdrawn before its time.
    """
    rows = ReleaseEvent.objects.filter(action=ReleaseEvent.Action.PUBLISHED, refusal="")
    return list(
        rows.exclude(release__publish_at__gt=Coalesce("release__withdrawn_at", timezone.now()))
        .select_related("release")
        .defer("changes", "notices", "release__manifest", "release__required_experts")
        .order_by("-id")[: limits.OVERVIEW_ROWS * _EVENTS_PER_ACT]
    )


def list_rollouts() -> list[BundleRelease]:
    """Return the releases that only some devices get, the last published first, each with `spread_at`. One query.

    One that a later release took the place of for everybody is on its way nowhere; one whose time is yet to come has
    not set out. PostgreSQL's `greatest` leaves out what is null.
    """
    later = BundleRelease.objects.filter(
        bundle_type=OuterRef("bundle_type"),
        scope_id=OuterRef("scope_id"),
        state=BundleRelease.State.PUBLISHED,
        rollout_basis_points=WHOLE_ROLLOUT,
        published_at__gt=OuterRef("published_at"),
    ).filter(offered_by(None))
    spread = ReleaseEvent.objects.filter(release=OuterRef("pk"), action__in=_SPREADING, refusal="").order_by("-id")
    rows = BundleRelease.objects.filter(
        ~Exists(later),
        offered_by(None),
        state=BundleRelease.State.PUBLISHED,
        rollout_basis_points__lt=WHOLE_ROLLOUT,
    ).annotate(spread_at=Greatest(Subquery(spread.values("created_at")[:1]), "publish_at"))
    return list(
        rows.defer("manifest", "required_experts").order_by("-published_at")[: limits.OVERVIEW_LOOKED_AT_MAX + 1]
    )


def list_scheduled() -> list[BundleRelease]:
    """Return the published releases whose time has not come, the next one first. One query."""
    rows = BundleRelease.objects.filter(state=BundleRelease.State.PUBLISHED, publish_at__gt=timezone.now())
    return list(rows.defer("manifest", "required_experts").order_by("publish_at")[: limits.OVERVIEW_LOOKED_AT_MAX + 1])


def list_failures() -> list[ReleaseEvent]:
    """Return what was refused in the last days, the newest first, each with `was_done_later`. One query."""
    since = timezone.now() - timedelta(days=limits.OVERVIEW_FAILED_DAYS)
    same = {name: OuterRef(name) for name in ("bundle_type", "scope_id", "version", "action")}
    later = ReleaseEvent.objects.filter(**same, refusal="", id__gt=OuterRef("id"))
    rows = ReleaseEvent.objects.exclude(refusal="").annotate(was_done_later=Exists(later))
    rows = rows.defer("changes", "notices").order_by("-id")
    return [event for event in rows[: limits.OVERVIEW_LOOKED_AT_MAX + 1] if event.created_at >= since]


class Names:
    """Names of scopes for people, who know a course by its code. One query for all of them."""

    def __init__(self, rows: "Iterable[BundleRelease | ReleaseEvent]") -> None:
        ids = {_course_id(row.scope_id) for row in rows if row.bundle_type == BundleType.CHAPTER}
        courses = Course.objects.filter(pk__in=[course_id for course_id in ids if course_id])
        self._codes = dict(courses.values_list("pk", "course_code"))

    def name(self, row: BundleRelease | ReleaseEvent) -> str:
        """Return such as "Chapter SOC101/ch1_intro 1.2.0"; of a family with one scope only, that is left out."""
        if not row.bundle_type:
            return _("Unreadable archive")
        label = str(dict(BundleType.choices).get(row.bundle_type, row.bundle_type))
        course_id = _course_id(row.scope_id) if row.bundle_type == BundleType.CHAPTER else None
        course, chapter = row.scope_id.partition("/")[::2]
        scope = f"{self._codes.get(course_id, course)}/{chapter}" if course_id else row.scope_id
        return " ".join([label, row.version] if row.bundle_type in FIXED_SCOPES else [label, scope, row.version])

    def put_into(self, text: str) -> str:
        """Put the courses' codes where a text has their UUIDs."""
        for course_id, code in self._codes.items():
            text = text.replace(f"{course_id}/", f"{code}/")
        return text


def _course_id(scope_id: str) -> uuid.UUID | None:
    return canonical_uuid(scope_id.partition("/")[0])


# --- What is told -------------------------------------------------------------------------------------------------


def overview(*, person: Person) -> Report:
    """Tell how releases fare. At most seven queries; failures and names of staff only with the audit's permission."""
    if not may_view(person, "updates.bundlerelease"):
        return Report()
    sees_audit = may_view(person, "updates.releaseevent")
    events, rollouts, scheduled = list_published(), list_rollouts(), list_scheduled()
    failures = list_failures() if sees_audit else []
    shown: list[BundleRelease | ReleaseEvent] = [
        *events,
        *rollouts[: limits.OVERVIEW_ROWS],
        *scheduled[: limits.OVERVIEW_ROWS],
        *failures,
    ]
    names = Names(shown)
    acts = _acts(events)
    released = [same[0].release for act in acts for same in act if same[0].release]
    progress = rollouts_progress(releases=list({r.pk: r for r in [*released, *rollouts]}.values()))

    published = [_act(act, names, progress, sees_audit) for act in acts]
    under_way = [_rollout(release, names, progress) for release in rollouts]
    to_come = [Scheduled(names.name(r), _url(r.pk), r.publish_at) for r in scheduled if r.publish_at]
    failed = [_failure(event, names) for event in failures]
    may_upload = person.has_perm("updates.add_bundlerelease")
    cards = [
        Card(f"{_TEMPLATES}/published.html", {"acts": published, "may_upload": may_upload}, wide=True),
        Card(f"{_TEMPLATES}/rollouts.html", _bounded(under_way), wide=not sees_audit),
        Card(f"{_TEMPLATES}/failures.html", _bounded(failed)) if sees_audit else None,
        Card(f"{_TEMPLATES}/scheduled.html", _bounded(to_come), wide=True) if to_come else None,
        *(Card("admin/chart.html", {"chart": chart}) for chart in _charts()),
    ]
    return Report(
        attention=[*_attention_to_failures(failed), *_attention_to_rollouts(under_way), *_what_comes(to_come)],
        cards=[card for card in cards if card],
    )


def _acts(events: Sequence[ReleaseEvent]) -> list[list[list[ReleaseEvent]]]:
    """Return the newest acts, each with its releases in the order in which they were published.

    Of each release there are its publications, the last one first: the earlier ones stand with the last one, and not
    with their own acts.
    """
    publications: dict[tuple[str, str, str], list[ReleaseEvent]] = {}
    acts = []
    for _id, act in groupby(events, key=lambda event: event.act_id):
        new = []
        for event in list(act)[::-1]:
            same = publications.setdefault((event.bundle_type, event.scope_id, event.version), [])
            same.append(event)
            if len(same) == 1:
                new.append(same)
        if new:
            acts.append(new)
    # A scheduled release counts as published when its time comes, not when somebody scheduled it.
    acts.sort(key=lambda act: _reached_devices_at(act[0][0]), reverse=True)
    return acts[: limits.OVERVIEW_ROWS]


def _reached_devices_at(last: ReleaseEvent) -> datetime:
    """Return from when on devices were offered what was last published by this act."""
    since = last.release.offered_since if last.release else None
    return max(last.created_at, since or last.created_at)


def _act(
    act: Sequence[Sequence[ReleaseEvent]],
    names: Names,
    progress: dict[uuid.UUID, RolloutProgress],
    sees_audit: bool,
) -> PublicationAct:
    def publication(event: ReleaseEvent, at: datetime | None = None) -> Publication:
        return Publication(at or event.created_at, event.actor_name if sees_audit else "")

    releases = []
    for last, *earlier in act:
        release = last.release
        releases.append(
            Published(
                name=names.name(last),
                url=_url(last.release_id) if release else "",
                is_withdrawn=bool(release and release.state == BundleRelease.State.WITHDRAWN),
                spread=Spread.of(progress[release.pk] if release else NO_PROGRESS),
                earlier=list(map(publication, earlier)),
            )
        )
    newest = act[0][0]
    return PublicationAct(publication(newest, _reached_devices_at(newest)), releases)


def _rollout(release: BundleRelease, names: Names, progress: dict[uuid.UUID, RolloutProgress]) -> Rollout:
    spread_at = getattr(release, "spread_at", None) or release.published_at
    assert spread_at is not None
    share = f"{release.rollout_basis_points / 100:g} %"
    return Rollout(names.name(release), _url(release.pk), share, spread_at, Spread.of(progress[release.pk]))


def _failure(event: ReleaseEvent, names: Names) -> Failure:
    url = reverse("admin:updates_releaseevent_change", args=[event.pk])
    return Failure(
        names.name(event),
        url,
        _what_failed(event),
        event.actor_name,
        event.created_at,
        names.put_into(event.refusal),
        was_done_later=getattr(event, "was_done_later", False),
    )


def _what_failed(event: ReleaseEvent) -> str:
    match event.action:
        case ReleaseEvent.Action.CREATED:
            return _("The upload failed")
        case ReleaseEvent.Action.CHANGED:
            return _("Changing the draft failed")
        case ReleaseEvent.Action.DELETED:
            return _("Deleting the draft failed")
        case ReleaseEvent.Action.PUBLISHED:
            return _("Publishing failed")
        case ReleaseEvent.Action.WIDENED:
            return _("Widening the rollout failed")
        case ReleaseEvent.Action.RESCHEDULED:
            return _("Changing the time failed")
        case ReleaseEvent.Action.WITHDRAWN:
            return _("Withdrawing failed")
        case _:
            return _("Checking the stored file failed")


def _url(release_id: uuid.UUID | None) -> str:
    return reverse("admin:updates_bundlerelease_change", args=[release_id])


def _bounded(rows: Sequence[object]) -> dict[str, object]:
    """Return what a list shows, and how many more there are, as far as they were looked at."""
    return {
        "rows": rows[: limits.OVERVIEW_ROWS],
        "left_out": len(rows) - limits.OVERVIEW_ROWS,
        "is_more": len(rows) > limits.OVERVIEW_LOOKED_AT_MAX,
        "days": limits.OVERVIEW_FAILED_DAYS,
    }


def _at_least(rows: Sequence[object], looked_at: Sequence[object] | None = None) -> str:
    """Return how many these are, and a plus when more than we look at may be like them."""
    is_more = len(rows if looked_at is None else looked_at) > limits.OVERVIEW_LOOKED_AT_MAX
    return f"{min(len(rows), limits.OVERVIEW_LOOKED_AT_MAX)}{'+' if is_more else ''}"


def _charts() -> list[Chart]:
    days = activity_by_day(days=limits.OVERVIEW_ACTIVITY_DAYS)
    labels = [date_format(activity.day, "MONTH_DAY_FORMAT") for activity in days]
    empty = _("No device has checked for updates yet.")
    figures = (
        (_("Active devices per day (UTC)"), _("Devices"), [activity.devices for activity in days]),
        (_("Checks for updates per day (UTC)"), _("Checks"), [activity.checks for activity in days]),
    )
    return [Chart(title, labels, _("Day"), [Series(name, values)], "bar", empty) for title, name, values in figures]


def _attention_to_failures(failures: Sequence[Failure]) -> list[Attention]:
    """What somebody has done since needs no look any more."""
    since = timezone.now() - timedelta(days=1)
    today = [failure for failure in failures if failure.at >= since and not failure.was_done_later]
    if not today:
        return []
    text = ngettext(
        "%(count)s upload or act failed in the last 24 hours.",
        "%(count)s uploads or acts failed in the last 24 hours.",
        len(today),
    )
    return [Attention(text % {"count": _at_least(today)}, "#failures")]


def _attention_to_rollouts(rollouts: Sequence[Rollout]) -> list[Attention]:
    still = [rollout for rollout in rollouts if rollout.stands_still]
    if not still:
        return []
    text = ngettext(
        "%(count)s rollout has stood still for %(days)d days or longer: widen it or withdraw it.",
        "%(count)s rollouts have stood still for %(days)d days or longer: widen or withdraw them.",
        len(still),
    )
    values = {"count": _at_least(still, rollouts), "days": limits.ROLLOUT_STANDS_STILL_DAYS}
    return [Attention(text % values, "#rollouts")]


def _what_comes(scheduled: Sequence[Scheduled]) -> list[Attention]:
    if not scheduled:
        return []
    text = ngettext(
        "%(count)s release is scheduled: it is offered from %(at)s UTC on.",
        "%(count)s releases are scheduled: the next one is offered from %(at)s UTC on.",
        len(scheduled),
    )
    values = {"count": _at_least(scheduled), "at": f"{scheduled[0].at:%Y-%m-%d %H:%M}"}
    return [Attention(text % values, "#scheduled", is_urgent=False)]
