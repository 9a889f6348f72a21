"""Releases for tests, made by the services from real archives."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from courses.models import Chapter
from updates.bundles import Bundle, build_bundle
from updates.catalogue import catalogue
from updates.models import BundleRelease, chapter_scope_id
from updates.services import ReleaseOptions, publish_releases, upload_draft, withdraw_releases

APP = ("app_agents", "core")
SHARED = ("experts_shared", "shared")


def chapter_scope(chapter: Chapter) -> tuple[str, str]:
    return "chapter", chapter_scope_id(chapter.course_id, chapter.chapter_code)


@contextmanager
def a_bundle(
    scope: tuple[str, str],
    version: str = "1.0.0",
    *,
    files: Mapping[str, str] | None = None,
    experts: tuple[str, ...] = (),
) -> Iterator[Bundle]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (files or {"prompt.md": f"Version {version}\n"}).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with build_bundle(
            source=Path(folder),
            bundle_type=scope[0],
            scope_id=scope[1],
            version=version,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            required_experts=experts,
        ) as bundle:
            yield bundle


def draft(
    scope: tuple[str, str], version: str = "1.0.0", *, experts: tuple[str, ...] = (), **options: Any
) -> BundleRelease:
    with a_bundle(scope, version, experts=experts) as bundle:
        return upload_draft(
            bundle=bundle,
            bundle_type=scope[0],
            scope_id=scope[1],
            version=version,
            actor=None,
            options=ReleaseOptions(**options),
        )


def publish(*releases: BundleRelease) -> None:
    """Publish in one act. Follow-ups of a commit don't run in a test's transaction, so the picture is dropped here."""
    publish_releases(releases=releases, actor=None)
    catalogue.forget()
    for release in releases:
        release.refresh_from_db()


def withdraw(*releases: BundleRelease) -> None:
    withdraw_releases(releases=releases, actor=None)
    catalogue.forget()


def published(scope: tuple[str, str], version: str = "1.0.0", **options: Any) -> BundleRelease:
    release = draft(scope, version, **options)
    publish(release)
    return release
