"""What a device is answered when it asks for updates, from one snapshot of the catalogue."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.utils import timezone

from accounts.models import DeviceSession
from courses.models import Enrollment
from courses.selectors import canonical_uuid, get_enrolled_chapter
from storage.artifacts import artifact_url
from updates.catalogue import Snapshot, catalogue
from updates.models import FIXED_SCOPES, BundleType, chapter_scope_id
from updates.selection import (
    Device,
    Release,
    Selected,
    parse_version,
    select_blocked,
    select_current,
    select_update,
    unmet_minimums,
)
from updates.services.adoption import Sighting, note_check, sighting

APP_AGENTS_SCOPE: Final = (BundleType.APP_AGENTS, FIXED_SCOPES[BundleType.APP_AGENTS])
EXPERTS_SHARED_SCOPE: Final = (BundleType.EXPERTS_SHARED, FIXED_SCOPES[BundleType.EXPERTS_SHARED])


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One bundle that the client has to install, as the contract names it."""

    bundle_type: str
    scope_id: str
    version: str
    artifact_url: str
    sha256: str
    size_bytes: int
    mandatory: bool


@dataclass(frozen=True, slots=True)
class Blocked:
    """A release that the device would be offered, were its app or sidecar new enough. A met minimum is None."""

    bundle_type: str
    scope_id: str
    version: str
    min_desktop_version: str | None
    min_sidecar_version: str | None


@dataclass(frozen=True, slots=True)
class AppCheck:
    required: list[Descriptor]
    optional: list[Descriptor]
    blocked: list[Blocked]


@dataclass(frozen=True, slots=True)
class ResolvedChapter:
    """`course_id` and `chapter_id` as the client sent them."""

    course_id: str
    chapter_id: str
    required_experts: list[str]


@dataclass(frozen=True, slots=True)
class ChapterCheck:
    required: list[Descriptor]
    resolved_chapter: ResolvedChapter
    blocked: list[Blocked]


@dataclass(frozen=True, slots=True)
class ReadableChapter:
    """An active chapter of an active course that a learner is enrolled in."""

    id: uuid.UUID
    course_id: uuid.UUID
    chapter_code: str


class _Check:
    """One check of one device: everything in it is decided by the same snapshot at the same moment."""

    def __init__(self, session: DeviceSession, base_url: str) -> None:
        self._session = session
        self._sightings: list[Sighting] = []
        self._snapshot: Snapshot = catalogue.snapshot()
        self._now = timezone.now()
        self._base_url = base_url
        self._device = Device(
            id=session.device_id,
            is_tester=session.user_id in self._snapshot.testers,
            desktop_version=parse_version(session.desktop_version),
            sidecar_version=parse_version(session.sidecar_version),
        )

    def current(self, bundle_type: str, scope_id: str) -> Release | None:
        return select_current(self._snapshot.of_scope(bundle_type, scope_id), self._device, self._now)

    def update(
        self, bundle_type: str, scope_id: str, installed: str | None, *, shown_scope_id: str = ""
    ) -> list[Descriptor]:
        """List the scope's current release unless it is installed; `shown_scope_id` is what the client calls it.

        What was said and offered is noted under the scope's own id.
        """
        releases = self._snapshot.of_scope(bundle_type, scope_id)
        withdrawn = self._snapshot.withdrawn_of_scope(bundle_type, scope_id)
        selected = select_update(releases, installed, self._device, self._now, withdrawn)
        self._sightings.append(
            sighting(
                bundle_type,
                scope_id,
                version=installed,
                is_released=installed in withdrawn or any(release.version == installed for release in releases),
                offered_version=selected.release.version if selected else "",
            )
        )
        return [self._describe(selected, shown_scope_id or scope_id)] if selected else []

    def record(self) -> None:
        """Keep what was noted; once everything is decided, outside any transaction."""
        note_check(session=self._session, sightings=self._sightings, now=self._now)

    def blocked(self, bundle_type: str, scope_id: str, *, shown_scope_id: str = "") -> list[Blocked]:
        releases = self._snapshot.of_scope(bundle_type, scope_id)
        return [
            self._describe_blocked(release, shown_scope_id or scope_id)
            for release in select_blocked(releases, self._device, self._now)
        ]

    def _describe_blocked(self, release: Release, scope_id: str) -> Blocked:
        unmet = {name: str(minimum) for name, minimum in unmet_minimums(release, self._device).items()}
        return Blocked(
            bundle_type=release.bundle_type,
            scope_id=scope_id,
            version=release.version,
            min_desktop_version=unmet.get("min_desktop_version"),
            min_sidecar_version=unmet.get("min_sidecar_version"),
        )

    def _describe(self, selected: Selected, scope_id: str) -> Descriptor:
        release = selected.release
        return Descriptor(
            bundle_type=release.bundle_type,
            scope_id=scope_id,
            version=release.version,
            artifact_url=release.external_url or artifact_url(key=release.artifact_key, base_url=self._base_url),
            sha256=release.sha256,
            size_bytes=release.size_bytes,
            mandatory=selected.mandatory,
        )


def check_app(*, session: DeviceSession, installed: Mapping[str, Any], base_url: str) -> AppCheck:
    """Say which bundles of the app itself this device has to install.

    No query while the catalogue is fresh, and one when the device's versions are news.

    Both client generations get the same two families: G1 installs whatever it is offered, and never reports
    another one back.
    """
    check = _Check(session, base_url)
    answer = AppCheck(
        required=check.update(*APP_AGENTS_SCOPE, _version(installed, BundleType.APP_AGENTS)),
        optional=check.update(*EXPERTS_SHARED_SCOPE, _version(installed, BundleType.EXPERTS_SHARED)),
        blocked=check.blocked(*APP_AGENTS_SCOPE) + check.blocked(*EXPERTS_SHARED_SCOPE),
    )
    check.record()
    return answer


def check_chapter(
    *, session: DeviceSession, course_id: str, chapter_ref: str, installed: Mapping[str, Any], base_url: str
) -> ChapterCheck:
    """Say which bundles this device has to install before it opens the chapter.

    One query for enrolment and chapter, and one more when the device's versions are news.

    `chapter_ref` is the chapter's code or UUID, and the answer's scope follows it: the client files the bundle
    under that scope and looks it up there next time.

    Raises:
        ApiError: COURSE_ACCESS_DENIED, COURSE_NOT_FOUND, CHAPTER_NOT_FOUND.
    """
    chapter = get_enrolled_chapter(user_id=session.owner_id, course_id=course_id, chapter_ref=chapter_ref)
    check = _Check(session, base_url)
    scope_id = chapter_scope_id(chapter.course_id, chapter.chapter_code)
    current = check.current(BundleType.CHAPTER, scope_id)
    experts = list(dict.fromkeys(current.required_experts)) if current else []
    installed_experts = installed.get("experts")
    if not isinstance(installed_experts, dict):
        installed_experts = {}
    shown = chapter_ref if canonical_uuid(chapter_ref) else f"{course_id}/{chapter_ref}"
    installed_chapter = _version(installed, "chapter_bundle")
    required = check.update(BundleType.CHAPTER, scope_id, installed_chapter, shown_scope_id=shown)
    blocked = check.blocked(BundleType.CHAPTER, scope_id, shown_scope_id=shown)
    for expert in experts:
        required += check.update(BundleType.EXPERTS, expert, _version(installed_experts, expert))
        blocked += check.blocked(BundleType.EXPERTS, expert)
    check.record()
    return ChapterCheck(required, ResolvedChapter(course_id, chapter_ref, experts), blocked)


def _version(installed: Mapping[str, Any], name: str) -> str | None:
    """Return the version that the client has of a bundle; anything but text is no version."""
    version = installed.get(name)
    return version if isinstance(version, str) and version else None


def list_readable_chapters(*, user_id: uuid.UUID) -> list[ReadableChapter]:
    """Return the chapters that a learner may open, those of the newest enrolment first. One query."""
    rows = (
        Enrollment.objects.filter(
            user_id=user_id, removed_at=None, course__is_active=True, course__chapters__is_active=True
        )
        .order_by("-joined_at", "-pk", "course__chapters__order", "course__chapters__chapter_code")
        .values_list("course__chapters__pk", "course_id", "course__chapters__chapter_code")
    )
    return [ReadableChapter(*row) for row in rows]
