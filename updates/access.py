"""Which artifacts a learner may read: those of every published release in a scope of theirs."""

import uuid
from collections.abc import Iterator, Sequence
from itertools import chain

from django.utils import timezone

from storage.access import ReadableArtifact
from updates.catalogue import Snapshot, catalogue
from updates.device_checks import (
    APP_AGENTS_SCOPE,
    EXPERTS_SHARED_SCOPE,
    ReadableChapter,
    list_readable_chapters,
)
from updates.models import BundleType, chapter_scope_id
from updates.selection import Release, is_due


class ReleaseArtifactAccess:
    """Implements `storage.access.ArtifactAccess`.

    Whatever the rollout: a device may still fetch what it was offered a moment ago. A release whose time has not
    come is nobody's yet. One query, and none for releases.
    """

    def readable_artifacts(self, *, user_id: uuid.UUID) -> Sequence[ReadableArtifact]:
        snapshot = catalogue.snapshot()
        chapters = list_readable_chapters(user_id=user_id)
        of_app = (_plain_artifacts(snapshot, *scope) for scope in (APP_AGENTS_SCOPE, EXPERTS_SHARED_SCOPE))
        of_chapters = (_chapter_artifacts(snapshot, chapter) for chapter in chapters)
        experts = dict.fromkeys(
            expert
            for chapter in chapters
            for release in _chapter_releases(snapshot, chapter)
            for expert in release.required_experts
        )
        of_experts = (_plain_artifacts(snapshot, BundleType.EXPERTS, expert) for expert in experts)
        return [artifact for found in chain(of_app, of_chapters, of_experts) for artifact in found]


def _offered(snapshot: Snapshot, bundle_type: str, scope_id: str) -> list[Release]:
    now = timezone.now()
    return [release for release in snapshot.of_scope(bundle_type, scope_id) if is_due(release, now)]


def _chapter_releases(snapshot: Snapshot, chapter: ReadableChapter) -> list[Release]:
    return _offered(snapshot, BundleType.CHAPTER, chapter_scope_id(chapter.course_id, chapter.chapter_code))


def _plain_artifacts(snapshot: Snapshot, bundle_type: str, scope_id: str) -> Iterator[ReadableArtifact]:
    return _artifacts(_offered(snapshot, bundle_type, scope_id), scope_id)


def _chapter_artifacts(snapshot: Snapshot, chapter: ReadableChapter) -> Iterator[ReadableArtifact]:
    scope_id = chapter_scope_id(chapter.course_id, chapter.chapter_code)
    return _artifacts(_chapter_releases(snapshot, chapter), scope_id, str(chapter.id))


def _artifacts(releases: list[Release], *scope_ids: str) -> Iterator[ReadableArtifact]:
    """Name each artifact in our store with the folders under which clients ask for it (wire contract)."""
    for release in releases:
        if release.artifact_key:
            folders = tuple(f"bundles/{release.bundle_type}/{scope}/{release.version}/" for scope in scope_ids)
            yield ReadableArtifact(release.artifact_key, folders)
