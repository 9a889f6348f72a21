"""How many devices an act would reach, before it is done: what publishing, widening or withdrawing changes for them.

A device here is a session that stands, of an active account, that was active in the last `ACTIVE_DEVICE_DAYS` days.
Who asks for a release is what `updates.device_checks` answers to: everybody for the bundles of the app; the learners
of a course for its chapters; for an expert the learners of the courses whose current chapters need it.

Devices are counted in the database, by the versions that they run; the rules of `updates.selection` are then applied
to these groups. Who is in a rollout is drawn by chance at publishing, so a share gives an expected number. Where there
are very many devices a part of them is counted: `Reach.is_estimate`.
"""

import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import Enum
from functools import reduce
from operator import or_
from typing import Any, Final

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from config import limits
from updates.catalogue import TESTERS_GROUP
from updates.models import BundleRelease, BundleType
from updates.selection import WHOLE_ROLLOUT, Device, Release, meets_minimums, parse_minimum, parse_version
from updates.selectors import offered_by

State = BundleRelease.State

NOTHING: Final = ""
"""Stands for the version of those that are offered none."""


class Audience(Enum):
    """Whose devices ask for a release."""

    EVERYBODY = "everybody"
    COURSE = "course"
    COURSES_OF_EXPERT = "courses of expert"
    NOBODY_CLOSED = "nobody: closed"
    """The chapter or its course is switched off."""
    NOBODY_NEEDS_IT = "nobody needs it"
    """No current chapter needs the expert."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Devices that run the same versions. Numbers are floats where they are estimates."""

    device: Device
    plain: float
    testers: float
    nameless: float
    """Without a device id; only a whole rollout includes them."""

    @property
    def total(self) -> float:
        return self.plain + self.testers + self.nameless


@dataclass(frozen=True, slots=True)
class Reach:
    """What an act does to the devices that ask for one release."""

    release: BundleRelease
    audience: Audience
    is_estimate: bool
    """Only a part of the devices was counted."""
    _groups: Sequence[_Group]
    _before: Sequence[Release]
    _after: Sequence[Release]

    @property
    def devices(self) -> float:
        """Devices that ask for the release's scope."""
        return sum(group.total for group in self._groups)

    @property
    def too_old(self) -> float:
        """Devices among these whose app or sidecar doesn't meet the release's minimum versions."""
        ours = _as_release(self.release)
        return sum(group.total for group in self._groups if not meets_minimums(ours, group.device))

    def offered_before(self) -> Mapping[str, float]:
        """Return how many devices are offered which version now; NOTHING: none."""
        return _spread(self._groups, self._before)

    def offered_after(self, rollout_basis_points: int | None = None) -> Mapping[str, float]:
        """Return how many devices are offered which version after the act, or after it at another share."""
        walk = self._after
        if rollout_basis_points is not None:
            ours = self.release.version
            walk = [replace(r, rollout_basis_points=rollout_basis_points) if r.version == ours else r for r in walk]
        return _spread(self._groups, walk)

    def fallback(self) -> "Fallback":
        """Return what devices get that have the release, when the act takes it away."""
        published_at = self.release.published_at
        assert published_at is not None
        later = [other for other in self._after if other.published_at > published_at]
        superseding = [other.version for other in later if _is_for_every_device(other)]
        versions, is_for_all = [], False
        for other in self._after[len(later) :]:
            versions.append(other.version)
            is_for_all |= other.rollout_basis_points == WHOLE_ROLLOUT
            if _is_for_every_device(other):
                break
        return Fallback(versions, is_for_all, superseding[0] if superseding else "")


@dataclass(frozen=True, slots=True)
class Fallback:
    """What devices that have a release are offered once it is withdrawn."""

    versions: Sequence[str]
    """In the order in which a device takes the first that it may have; empty: none."""
    is_for_all: bool
    """Each device may have one of them."""
    superseded_by: str
    """A later version that every device is offered already, so that withdrawing changes nothing; empty: none is."""


def reach_of_publication(releases: Sequence[BundleRelease], *, rollout_basis_points: int) -> list[Reach]:
    """Say what publishing these in one act does, once their time has come.

    Needs each release's chapter and course, joined. At most six queries, however many releases and devices.
    """
    walks = _published_walks(releases)
    after = [
        [replace(_as_release(release), rollout_basis_points=rollout_basis_points), *_without(walks, release)]
        for release in releases
    ]
    return _measure(releases, walks, after)


def reach_of_schedule(releases: Sequence[BundleRelease]) -> list[Reach]:
    """Say what happens when the time of these scheduled ones comes; otherwise like `reach_of_publication`.

    What was published after them stays before them.
    """
    walks = _published_walks(releases)
    return _measure(releases, walks, [_with(walks, release, release.rollout_basis_points) for release in releases])


def reach_of_widening(releases: Sequence[BundleRelease], *, rollout_basis_points: int) -> list[Reach]:
    """Say what widening the rollout of these does; otherwise like `reach_of_publication`.

    Those whose time is yet to come are taken for what they are then.
    """
    walks = _published_walks(releases)
    return _measure(releases, walks, [_with(walks, release, rollout_basis_points) for release in releases])


def reach_of_withdrawal(releases: Sequence[BundleRelease]) -> list[Reach]:
    """Say what withdrawing these does; otherwise like `reach_of_publication`."""
    walks = _published_walks(releases)
    withdrawn = defaultdict(set)
    for release in releases:
        withdrawn[_scope(release)].add(release.version)
    after = [[r for r in walks[_scope(release)] if r.version not in withdrawn[_scope(release)]] for release in releases]
    return _measure(releases, walks, after)


# --- Which releases devices choose from -------------------------------------------------------------------------

_Scope = tuple[str, str]
_Walks = Mapping[_Scope, Sequence[Release]]


def _scope(release: BundleRelease) -> _Scope:
    return release.bundle_type, release.scope_id


def _published_walks(releases: Iterable[BundleRelease]) -> _Walks:
    """Return what is offered in these scopes now, each the most recently published first. One query."""
    scopes = {_scope(release) for release in releases}
    walks: dict[_Scope, list[Release]] = {scope: [] for scope in scopes}
    conditions = (Q(bundle_type=bundle_type, scope_id=scope_id) for bundle_type, scope_id in sorted(scopes))
    rows = BundleRelease.objects.filter(reduce(or_, conditions), offered_by(None), state=State.PUBLISHED)
    for row in rows.only(*(field.name for field in fields(Release))).order_by("-published_at", "-pk"):
        walks[_scope(row)].append(_as_release(row))
    return walks


def _without(walks: _Walks, release: BundleRelease) -> list[Release]:
    return [other for other in walks[_scope(release)] if other.version != release.version]


def _with(walks: _Walks, release: BundleRelease, rollout_basis_points: int) -> list[Release]:
    """Return what is offered in the scope of a published release once its time has come, at some rollout of it."""
    ours = replace(_as_release(release), rollout_basis_points=rollout_basis_points)
    return sorted([ours, *_without(walks, release)], key=lambda other: other.published_at, reverse=True)


def _as_release(row: BundleRelease) -> Release:
    values: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(Release)}
    values |= {
        "required_experts": tuple(row.required_experts),
        "min_desktop_version": parse_minimum(row.min_desktop_version),
        "min_sidecar_version": parse_minimum(row.min_sidecar_version),
    }
    return Release(**values)


def _is_for_every_device(release: Release) -> bool:
    """Say whether no device passes it over for a release that was published before."""
    has_minimum = release.min_desktop_version is not None or release.min_sidecar_version is not None
    return release.rollout_basis_points == WHOLE_ROLLOUT and not has_minimum


def _spread(groups: Iterable[_Group], walk: Sequence[Release]) -> dict[str, float]:
    """Return how many devices get which version: each takes the first that it may have.

    The draws of two releases are independent of each other, so what one leaves over is for the next ones as it is.
    """
    found: dict[str, float] = defaultdict(float)
    for group in groups:
        plain, others = group.plain, group.testers
        nameless = group.nameless
        for release in walk:
            if not meets_minimums(release, group.device):
                continue
            share = min(release.rollout_basis_points / WHOLE_ROLLOUT, 1.0)
            found[release.version] += plain * share + others + (nameless if share == 1 else 0)
            plain, others, nameless = plain * (1 - share), 0, 0 if share == 1 else nameless
            if share == 1:
                break
        found[NOTHING] += plain + others + nameless
    return dict(found)


# --- Whose devices ask for them ---------------------------------------------------------------------------------


def _measure(releases: Sequence[BundleRelease], before: _Walks, after: Sequence[Sequence[Release]]) -> list[Reach]:
    courses = _courses_of_experts(releases)
    audiences = [_audience(release, courses) for release in releases]
    numbered = [
        (index, course)
        for index, (release, audience) in enumerate(zip(releases, audiences, strict=True))
        for course in _courses_of(release, audience, courses)
    ]
    groups, is_estimate = _count_in_courses(numbered) if numbered else ({}, False)
    everybody, is_estimate_of_all = _count_all() if Audience.EVERYBODY in audiences else ([], False)
    return [
        Reach(
            release,
            audience,
            is_estimate_of_all if audience is Audience.EVERYBODY else is_estimate,
            everybody if audience is Audience.EVERYBODY else groups.get(index, []),
            before[_scope(release)],
            walk,
        )
        for index, (release, audience, walk) in enumerate(zip(releases, audiences, after, strict=True))
    ]


def _audience(release: BundleRelease, courses: Mapping[str, set[uuid.UUID]]) -> Audience:
    if release.bundle_type == BundleType.CHAPTER:
        return Audience.COURSE if _is_open(release) else Audience.NOBODY_CLOSED
    if release.bundle_type == BundleType.EXPERTS:
        return Audience.COURSES_OF_EXPERT if courses.get(release.scope_id) else Audience.NOBODY_NEEDS_IT
    return Audience.EVERYBODY


def _is_open(release: BundleRelease) -> bool:
    chapter = release.chapter
    return chapter is not None and chapter.is_active and chapter.course.is_active


def _courses_of(
    release: BundleRelease, audience: Audience, courses: Mapping[str, set[uuid.UUID]]
) -> Iterable[uuid.UUID]:
    if audience is Audience.COURSES_OF_EXPERT:
        return sorted(courses[release.scope_id])
    return [release.chapter.course_id] if audience is Audience.COURSE and release.chapter else []


_NEEDING = """
    SELECT DISTINCT wanted.expert, chapter.course_id
    FROM unnest(%(experts)s::text[]) AS wanted (expert)
    JOIN updates_bundlerelease AS needing ON needing.required_experts @> to_jsonb(ARRAY[wanted.expert])
    JOIN courses_chapter AS chapter ON chapter.id = needing.chapter_id AND chapter.is_active
    JOIN courses_course AS course ON course.id = chapter.course_id AND course.is_active
    WHERE needing.bundle_type = 'chapter' AND needing.state = 'published'
        AND (needing.publish_at IS NULL OR needing.publish_at <= %(now)s)
        AND NOT EXISTS (
            SELECT FROM updates_bundlerelease AS newer
            WHERE newer.bundle_type = 'chapter' AND newer.scope_id = needing.scope_id AND newer.state = 'published'
                AND newer.published_at > needing.published_at AND newer.rollout_basis_points = 10000
                AND newer.min_desktop_version = '' AND newer.min_sidecar_version = ''
                AND (newer.publish_at IS NULL OR newer.publish_at <= %(now)s)
        )
"""
"""The courses whose chapters need an expert by a release that some device may still be offered."""


def _courses_of_experts(releases: Sequence[BundleRelease]) -> Mapping[str, set[uuid.UUID]]:
    """Return for each expert among these the courses that need it, now or with the chapters among these."""
    experts = sorted({release.scope_id for release in releases if release.bundle_type == BundleType.EXPERTS})
    courses: dict[str, set[uuid.UUID]] = defaultdict(set)
    if not experts:
        return courses
    with connection.cursor() as cursor:
        cursor.execute(_NEEDING, {"experts": experts, "now": timezone.now()})
        for expert, course_id in cursor.fetchall():
            courses[expert].add(course_id)
    for release in releases:
        if release.chapter is not None and _is_open(release):
            for expert in release.required_experts:
                courses[expert].add(release.chapter.course_id)
    return courses


# --- Counting ---------------------------------------------------------------------------------------------------

_COUNTS = """
    SELECT key, desktop_version, sidecar_version,
        count(*), count(*) FILTER (WHERE tester), count(*) FILTER (WHERE nameless AND NOT tester)
    FROM (
        SELECT DISTINCT {key} AS key, device.id, device.desktop_version, device.sidecar_version,
            device.device_id = '' AS nameless,
            device.user_id IN (
                SELECT member.user_id
                FROM accounts_user_groups AS member JOIN auth_group AS testers ON testers.id = member.group_id
                WHERE testers.name = %(testers)s
            ) AS tester
        FROM accounts_devicesession AS device {sample}
        {courses}
        WHERE device.superseded_at IS NULL AND device.revoked_at IS NULL
            AND coalesce(device.last_refreshed_at, device.created_at) >= %(since)s
            AND (SELECT person.is_active FROM accounts_user AS person WHERE person.id = device.user_id)
            {part}
    ) AS counted
    GROUP BY 1, 2, 3
    ORDER BY 4 DESC
    LIMIT %(most)s
"""
_IN_COURSES = """
        JOIN courses_enrollment AS place ON place.user_id = device.user_id AND place.removed_at IS NULL
            AND place.course_id = ANY(%(course_ids)s::uuid[])
        JOIN unnest(%(keys)s::int[], %(course_ids)s::uuid[]) AS wanted (key, course_id)
            ON wanted.course_id = place.course_id
"""
_PART = "AND uuid_hash(place.user_id)::bigint %% %(part)s = 0"
_SAMPLE = "TABLESAMPLE SYSTEM (%(percent)s) REPEATABLE (1)"
"""Whole blocks by chance; the same ones while the table stays as it is, so that a page's numbers hold still."""

_PLACES = """
    SELECT count(*) FROM (
        SELECT FROM courses_enrollment WHERE course_id = ANY(%s::uuid[]) AND removed_at IS NULL LIMIT %s
    ) AS place
"""


def _count_all() -> tuple[list[_Group], bool]:
    """Count the devices of everybody."""
    percent = _percent_to_sample()
    rows = _run({"percent": percent, "part": 1}, key="0", courses="")
    return [group for _key, group in _groups(rows, 100 / percent)], percent < 100


def _count_in_courses(numbered: Sequence[tuple[int, uuid.UUID]]) -> tuple[dict[int, list[_Group]], bool]:
    """Count the devices of the learners of some courses, by the number that each course is given with.

    Where they are many, every so-manieth learner is counted; where they are very many, a part of all devices.
    """
    keys, course_ids = (list(column) for column in zip(*numbered, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_PLACES, [course_ids, limits.REACH_PLACES_MAX + 1])
        places = cursor.fetchone()[0]
    if places > limits.REACH_PLACES_MAX:
        percent, part = _percent_to_sample(), 1
    else:
        percent, part = 100.0, max(1, math.ceil(places / limits.REACH_SAMPLE_PLACES))
    values = {"percent": percent, "part": part, "keys": keys, "course_ids": course_ids}
    found: dict[int, list[_Group]] = defaultdict(list)
    for key, group in _groups(_run(values, key="wanted.key", courses=_IN_COURSES), part * 100 / percent):
        found[key].append(group)
    return found, part > 1 or percent < 100


def _percent_to_sample() -> float:
    """Return how much of all devices to count; the planner's own estimate of the table's size is good enough."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = 'accounts_devicesession'::regclass")
        rows = cursor.fetchone()[0]
    return 100.0 if rows <= limits.REACH_EXACT_MAX_DEVICES else 100 * limits.REACH_SAMPLE_DEVICES / rows


def _run(values: Mapping[str, Any], *, key: str, courses: str) -> list[tuple[Any, ...]]:
    sample = _SAMPLE if values["percent"] < 100 else ""
    part = _PART if values["part"] > 1 else ""
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNTS.format(key=key, sample=sample, courses=courses, part=part),
            {
                **values,
                "testers": TESTERS_GROUP,
                "since": timezone.now() - timedelta(days=limits.ACTIVE_DEVICE_DAYS),
                "most": limits.REACH_VERSIONS_MAX,
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _groups(rows: Iterable[tuple[Any, ...]], scale: float) -> Iterable[tuple[int, _Group]]:
    for key, desktop, sidecar, total, testers, nameless in rows:
        device = Device(id="", desktop_version=parse_version(desktop), sidecar_version=parse_version(sidecar))
        yield key, _Group(device, (total - testers - nameless) * scale, testers * scale, nameless * scale)
