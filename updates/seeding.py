"""The demonstration course SOC101 with its bundles: something real to try a client against."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.db import connection
from django.db.models import Q

from config.errors import ApiError, ErrorCode
from courses.models import Chapter, Course
from courses.services import require_room_for_chapters
from storage.artifacts import store_artifact
from updates.bundles.base import Bundle
from updates.bundles.build import build_bundle
from updates.device_checks import APP_AGENTS_SCOPE, EXPERTS_SHARED_SCOPE
from updates.models import BundleRelease, BundleType, chapter_scope_id
from updates.principals import Principal, command
from updates.selectors import find_release
from updates.services.publication import publish_releases
from updates.services.stored_bytes import bytes_are_there
from updates.services.uploads import upload_draft

COURSE_CODE: Final = "SOC101"
COURSE_ID: Final = uuid.uuid5(uuid.NAMESPACE_OID, f"llm-course/{COURSE_CODE}")
VERSION: Final = "1.0.0"
CHAPTERS: Final = (("ch1_intro", "A first look at data", 1), ("ch2_pandas", "Tables with pandas", 2))
EXPERTS: Final = ("data_inspector", "concept_explainer")

_SOURCES: Final = Path(__file__).resolve().parent / "seed"
_CREATED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SEED_LOCK: Final = 7_201_002
"""Number of the advisory lock under which one process seeds at a time."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SeedBundle:
    """A bundle to be built from a folder of this package."""

    bundle_type: str
    scope_id: str
    source: Path
    title: str = ""
    required_experts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {VERSION}"


def seed_data(*, report: Report, warn: Report) -> None:
    """Make what is missing of the course, its chapters and its bundles; change nothing that is there.

    Each step is told to `report` in a line, what needs a person to `warn`. A second process waits for the first.

    Raises:
        ApiError: STORAGE_UNAVAILABLE; VALIDATION_ERROR when the course that is there has no room for a chapter.
    """
    with _one_at_a_time():
        course = _seed_course(report)
        chapters = [_seed_chapter(course, *chapter, report=report) for chapter in CHAPTERS]
        principal = command("seed_data")
        for act in _acts(chapters[0]):
            drafts = [draft for bundle in act if (draft := _seed_release(bundle, principal, report, warn))]
            _publish(drafts, principal, report, warn)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock of the connection rather than a transaction: storing artifacts may take long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_SEED_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_SEED_LOCK])


def _seed_course(report: Report) -> Course:
    """Return the course with the code, or else the one made here whose code was changed since."""
    named = Course.objects.filter(course_code__iexact=COURSE_CODE)
    course = named.first() or Course.objects.filter(pk=COURSE_ID).first()
    if course is None:
        course = Course.objects.create(
            pk=COURSE_ID,
            course_code=COURSE_CODE,
            title="Data Science for Social Inquiry",
            description="Ask a question of a data set, and find out how far its answer can be trusted.",
            instructor="Demonstration",
            semester="Any",
            progression=Course.Progression.SEQUENTIAL,
        )
        report(f"Course {course.course_code}: created, invite code {course.invite_code}.")
    else:
        report(f"Course {course.course_code}: there already.")
    return course


def _seed_chapter(course: Course, code: str, title: str, order: int, *, report: Report) -> Chapter:
    chapter_id = uuid.uuid5(course.pk, code)
    chapter = course.chapters.filter(Q(chapter_code__iexact=code) | Q(pk=chapter_id)).first()
    if chapter is None:
        require_room_for_chapters(count=course.chapters.count() + 1)
        chapter = course.chapters.create(pk=chapter_id, chapter_code=code, title=title, order=order)
        report(f"Chapter {chapter.chapter_code}: created.")
    else:
        report(f"Chapter {chapter.chapter_code}: there already.")
    return chapter


def _acts(chapter: Chapter) -> list[list[SeedBundle]]:
    """Return the bundles by the acts in which they are published: a chapter and its experts move as one."""
    scope_id = chapter_scope_id(chapter.course_id, chapter.chapter_code)
    return [
        *([SeedBundle(*scope, _SOURCES.joinpath(*scope))] for scope in (APP_AGENTS_SCOPE, EXPERTS_SHARED_SCOPE)),
        [
            *(SeedBundle(BundleType.EXPERTS, expert, _SOURCES / "experts" / expert) for expert in EXPERTS),
            SeedBundle(BundleType.CHAPTER, scope_id, _SOURCES / "chapter" / "ch1_intro", chapter.title, EXPERTS),
        ],
    ]


def _publish(drafts: Sequence[BundleRelease], principal: Principal, report: Report, warn: Report) -> None:
    if not drafts:
        return
    try:
        publish_releases(releases=drafts, principal=principal)
    except ApiError as error:
        if error.code is not ErrorCode.BUNDLE_RELEASE_CONFLICT:
            raise
        warn(f"{', '.join(map(str, drafts))}: not published. {error.message}")
        return
    for draft in drafts:
        report(f"{draft}: published.")


def _seed_release(wanted: SeedBundle, principal: Principal, report: Report, warn: Report) -> BundleRelease | None:
    """Make or complete one release; return it when it still has to be published."""
    release = find_release(bundle_type=wanted.bundle_type, scope_id=wanted.scope_id, version=VERSION)
    if release is None or release.first_published_at is None:
        with _build(wanted) as bundle:
            return _upload(wanted, bundle, principal, report, warn)
    if bytes_are_there(release):
        report(f"{wanted}: there already ({release.state}).")
    else:
        with _build(wanted) as bundle:
            _restore(release, bundle, report, warn)
    return None


def _build(wanted: SeedBundle) -> AbstractContextManager[Bundle]:
    return build_bundle(
        source=wanted.source,
        bundle_type=wanted.bundle_type,
        scope_id=wanted.scope_id,
        version=VERSION,
        created_at=_CREATED_AT,
        title=wanted.title,
        required_experts=wanted.required_experts,
    )


def _upload(
    wanted: SeedBundle, bundle: Bundle, principal: Principal, report: Report, warn: Report
) -> BundleRelease | None:
    try:
        draft = upload_draft(
            file=bundle.file,
            bundle_type=wanted.bundle_type,
            scope_id=wanted.scope_id,
            version=VERSION,
            principal=principal,
        )
    except ApiError as error:
        if error.code is not ErrorCode.BUNDLE_RELEASE_CONFLICT:
            raise
        warn(f"{wanted}: not made. {error.message}")
        return None
    report(f"{wanted}: built and stored, {bundle.size_bytes:,} bytes.")
    return draft.release


def _restore(release: BundleRelease, bundle: Bundle, report: Report, warn: Report) -> None:
    """Put a lost archive back if it can be built again to the byte: clients check its SHA-256."""
    if bundle.sha256 != release.sha256:
        warn(
            f"{release}: its archive is missing in the artifact store, and what this version of the server builds "
            "has other bytes. Restore it from a backup, or withdraw the release and publish another version."
        )
        return
    try:
        store_artifact(key=release.artifact_key, content=bundle.file)
    except ApiError as error:
        if error.code is not ErrorCode.BUNDLE_RELEASE_CONFLICT:
            raise
        warn(f"{release}: its archive in the artifact store is damaged. Remove it there, then seed again.")
    else:
        report(f"{release}: its archive was missing and is restored.")
