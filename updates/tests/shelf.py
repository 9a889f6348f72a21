"""Releases for tests, made by the services from real archives."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.errors import ApiError, ErrorCode
from courses.models import Chapter
from tests.races import run_at_once
from updates.bundles.base import Bundle
from updates.bundles.build import build_bundle
from updates.catalogue import catalogue
from updates.models import BundleRelease, chapter_scope_id
from updates.principals import command
from updates.selectors import missing_experts
from updates.services.drafts import ReleaseOptions
from updates.services.publication import publish_releases, widen_rollout, withdraw_releases
from updates.services.uploads import upload_draft

SOMEBODY = command("test")
"""Who acts where it doesn't matter: a command may do everything."""

APP = ("app_agents", "core")
SHARED = ("experts_shared", "shared")


def chapter_scope(chapter: Chapter) -> tuple[str, str]:
    return "chapter", chapter_scope_id(chapter.course_id, chapter.chapter_code)


def default_files(scope: tuple[str, str], version: str) -> dict[str, str]:
    """The least that a bundle of this family may have."""
    if scope[0] != "chapter":
        return {"prompt.md": f"Version {version}\n"}
    names = ("chapter_context", "task_list", "task_completion_principles")
    return {f"prompts/{name}.md": f"Version {version}\n" for name in names}


@contextmanager
def a_bundle(
    scope: tuple[str, str],
    version: str = "1.0.0",
    *,
    files: Mapping[str, str] | None = None,
    experts: tuple[str, ...] = (),
) -> Iterator[Bundle]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (files or default_files(scope, version)).items():
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
    scope: tuple[str, str],
    version: str = "1.0.0",
    *,
    files: Mapping[str, str] | None = None,
    experts: tuple[str, ...] = (),
    **options: Any,
) -> BundleRelease:
    with a_bundle(scope, version, files=files, experts=experts) as bundle:
        return upload_draft(
            file=bundle.file,
            bundle_type=scope[0],
            scope_id=scope[1],
            version=version,
            principal=SOMEBODY,
            options=ReleaseOptions(**options),
        ).release


def publish(*releases: BundleRelease) -> None:
    """Publish in one act. Follow-ups of a commit don't run in a test's transaction, so the picture is dropped here."""
    publish_releases(releases=releases, principal=SOMEBODY)
    catalogue.forget()
    for release in releases:
        release.refresh_from_db()


def widen(release: BundleRelease, rollout_basis_points: int) -> None:
    widen_rollout(releases=[release], principal=SOMEBODY, rollout_basis_points=rollout_basis_points)
    catalogue.forget()
    release.refresh_from_db()


def withdraw(*releases: BundleRelease) -> None:
    withdraw_releases(releases=releases, principal=SOMEBODY)
    catalogue.forget()
    for release in releases:
        release.refresh_from_db()


def published(
    scope: tuple[str, str], version: str = "1.0.0", *, experts: tuple[str, ...] = (), **options: Any
) -> BundleRelease:
    """A published release; the experts that it needs and that have none get a release before it."""
    release = draft(scope, version, experts=experts, **options)
    for expert in missing_experts([release], offered_from=release.publish_at):
        publish(draft(("experts", expert)))
    publish(release)
    return release


def refused(code: ErrorCode, words: str = "") -> Any:
    """Expect a service to refuse with this code, and with these words in its message."""
    return pytest.raises(
        ApiError, check=lambda error: error.code is code and words in (error.message or error.code.message)
    )


def outcomes(*acts: Callable[[], Any]) -> list[str]:
    """Run the acts at the same moment, each in a thread of its own; say how each ended."""

    def run(act: Callable[[], Any]) -> str:
        try:
            act()
        except ApiError as error:
            return str(error.code)
        return "done"

    return run_at_once(*(partial(run, act) for act in acts))
