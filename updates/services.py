"""The life of a release: draft, published, withdrawn. Each step is one transaction with its audit entry.

Steps lock the releases that they change in the order of their keys before they change any: the trigger that renews
the catalogue's revision then always comes after the last row lock, so two steps can't wait for each other.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Max, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import User
from config.errors import ApiError, ErrorCode, FieldError
from courses.models import Chapter
from courses.selectors import canonical_uuid
from storage.artifacts import artifact_size, delete_artifact, store_artifact
from updates.bundles import Bundle, BundleError, required_experts_of
from updates.catalogue import catalogue
from updates.models import BundleRelease, BundleType
from updates.selectors import find_release

logger = logging.getLogger(__name__)

_PUBLICATION_LOCK: Final = 7_201_001
"""Number of the advisory lock under which publications get their time, one after the other."""
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """For whom a release is. `required_experts` None takes those of the manifest."""

    is_mandatory: bool = True
    required_experts: Sequence[str] | None = None
    min_desktop_version: str = ""
    min_sidecar_version: str = ""
    strict_versions: bool = False
    rollout_basis_points: int = 10_000
    publish_at: datetime | None = None


# --- Drafts -----------------------------------------------------------------------------------------------------


def upload_draft(
    *,
    bundle: Bundle,
    bundle_type: str,
    scope_id: str,
    version: str,
    actor: User | None,
    options: ReleaseOptions | None = None,
) -> BundleRelease:
    """Put an archive into the artifact store and make its draft. The same bytes again give the same release.

    The object comes first, and the store never replaces one: a crash in between leaves an object without a
    release, which the next upload of the same bytes takes over.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT for other bytes under the version, VALIDATION_ERROR, STORAGE_UNAVAILABLE.
    """
    draft = _make_release(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        sha256=bundle.sha256,
        size_bytes=bundle.size_bytes,
        manifest=bundle.manifest,
        artifact_key=artifact_key(bundle_type=bundle_type, scope_id=scope_id, version=version),
        external_url="",
        actor=actor,
        options=options or ReleaseOptions(),
    )
    existing = find_release(bundle_type=bundle_type, scope_id=scope_id, version=version)
    if existing is not None:
        _refuse_other_bytes(existing, draft)
    store_artifact(key=draft.artifact_key, content=bundle.file)
    return _insert_draft(draft, actor)


def create_draft(
    *,
    bundle_type: str,
    scope_id: str,
    version: str,
    sha256: str,
    size_bytes: int,
    manifest: Mapping[str, Any],
    actor: User | None,
    artifact_key: str = "",
    external_url: str = "",
    options: ReleaseOptions | None = None,
) -> BundleRelease:
    """Make the draft of bytes that lie in the store already, or elsewhere. The same bytes again: the same release.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT for other bytes under the version, VALIDATION_ERROR.
    """
    draft = _make_release(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        sha256=sha256,
        size_bytes=size_bytes,
        manifest=manifest,
        artifact_key=artifact_key,
        external_url=external_url,
        actor=actor,
        options=options or ReleaseOptions(),
    )
    return _insert_draft(draft, actor)


def update_draft(*, release: BundleRelease, changes: Mapping[str, Any], actor: User | None) -> None:
    """Change a draft's options, those of `ReleaseOptions`; the given instance is changed as well.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT when it is no draft any more, VALIDATION_ERROR.
    """
    if not changes:
        return
    for name, value in changes.items():
        setattr(release, name, value)
    _check_fields(release)
    with transaction.atomic():
        drafts = BundleRelease.objects.filter(pk=release.pk, state=BundleRelease.State.DRAFT)
        before = drafts.select_for_update().values(*changes).first()
        if before is None or not drafts.update(**changes):
            raise _conflict(release, "changed", "a draft")
        what = ", ".join(f"{name}: {before[name]!r} → {changes[name]!r}" for name in changes)
        _record([release], CHANGE, f"Changed {what}.", actor)


def delete_draft(*, release: BundleRelease, actor: User | None) -> None:
    """Delete a draft and its bytes, so that other bytes can take its version.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT when it was ever published.
    """
    with transaction.atomic():
        drafts = BundleRelease.objects.filter(pk=release.pk, first_published_at=None)
        deleted, _ = drafts.delete()
        if not deleted:
            raise _conflict(release, "deleted", "a draft that was never published")
        _record([release], DELETION, "Deleted the draft.", actor)
        if release.artifact_key:
            key = release.artifact_key
            transaction.on_commit(lambda: delete_artifact(key=key), robust=True)


def artifact_key(*, bundle_type: str, scope_id: str, version: str) -> str:
    """The key of a release's archive in the store."""
    return f"{settings.OSS_BUNDLE_PREFIX}{bundle_type}/{scope_id}/{version}/bundle.tar.gz"


def _make_release(
    *,
    bundle_type: str,
    scope_id: str,
    version: str,
    manifest: Mapping[str, Any],
    actor: User | None,
    options: ReleaseOptions,
    **fields: Any,
) -> BundleRelease:
    """Make the unsaved draft, every field checked."""
    experts = options.required_experts
    release = BundleRelease(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        chapter=_find_chapter(bundle_type, scope_id),
        manifest=dict(manifest),
        required_experts=_experts_of(manifest) if experts is None else list(experts),
        is_mandatory=options.is_mandatory,
        min_desktop_version=options.min_desktop_version,
        min_sidecar_version=options.min_sidecar_version,
        strict_versions=options.strict_versions,
        rollout_basis_points=options.rollout_basis_points,
        publish_at=options.publish_at,
        created_by=actor,
        **fields,
    )
    _check_fields(release)
    return release


def _experts_of(manifest: Mapping[str, Any]) -> list[str]:
    try:
        return required_experts_of(manifest)
    except BundleError as error:
        raise ApiError(ErrorCode.VALIDATION_ERROR, details=[{"field": "manifest", "message": str(error)}]) from error


def _find_chapter(bundle_type: str, scope_id: str) -> Chapter | None:
    course_id, _, chapter_code = scope_id.partition("/")
    parsed = canonical_uuid(course_id)
    if bundle_type != BundleType.CHAPTER or parsed is None:
        return None
    return Chapter.objects.filter(course_id=parsed, chapter_code=chapter_code).first()


def _check_fields(release: BundleRelease) -> None:
    try:
        release.clean_fields(exclude={"chapter", "created_by"})
        release.clean()
    except ValidationError as error:
        details: list[FieldError] = [
            {"field": name, "message": message} for name, messages in error.message_dict.items() for message in messages
        ]
        raise ApiError(ErrorCode.VALIDATION_ERROR, details=details) from error


def _insert_draft(draft: BundleRelease, actor: User | None) -> BundleRelease:
    """Insert, or return the release that has this version and the same bytes already."""
    with transaction.atomic():
        BundleRelease.objects.bulk_create([draft], ignore_conflicts=True)
        found = find_release(bundle_type=draft.bundle_type, scope_id=draft.scope_id, version=draft.version)
        if found is None:
            raise _conflict(draft, "made", "a version that nobody deletes at the same moment")
        if found.pk != draft.pk:
            _refuse_other_bytes(found, draft)
        else:
            _record([found], ADDITION, f"Made the draft: {found.size_bytes:,} bytes, SHA-256 {found.sha256}.", actor)
    return found


def _refuse_other_bytes(existing: BundleRelease, draft: BundleRelease) -> None:
    """Compared with case: the constraint knows no case, but clients and stores file by the name as it is."""
    names = ("scope_id", "version", "sha256", "size_bytes", "artifact_key", "external_url")
    if any(getattr(existing, name) != getattr(draft, name) for name in names):
        raise ApiError(
            ErrorCode.BUNDLE_RELEASE_CONFLICT,
            f"The release {existing} exists already with other bytes, which never change. Use another version.",
        )


# --- Publishing -------------------------------------------------------------------------------------------------


def publish_releases(*, releases: Sequence[BundleRelease], actor: User | None) -> None:
    """Publish drafts or withdrawn releases in one act: all of them or none, with one new cohort key.

    The last one given is the most recently published. Each keeps its own rollout and time of publication.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT when one is published already, deleted, or its bytes are missing in the
            store; STORAGE_UNAVAILABLE.
    """
    for release in releases:
        _check_bytes_present(release)
    cohort_key = uuid.uuid4()
    with transaction.atomic():
        _lock(releases)
        for release, published_at in zip(releases, _publication_times(len(releases)), strict=True):
            changed = BundleRelease.objects.filter(
                pk=release.pk, state__in=(BundleRelease.State.DRAFT, BundleRelease.State.WITHDRAWN)
            ).update(
                state=BundleRelease.State.PUBLISHED,
                cohort_key=cohort_key,
                published_at=published_at,
                first_published_at=Coalesce("first_published_at", Value(published_at)),
                withdrawn_at=None,
            )
            if not changed:
                raise _conflict(release, "published", "a draft or a withdrawn release")
        _record(releases, CHANGE, "Published.", actor)
        transaction.on_commit(catalogue.forget)


def withdraw_releases(*, releases: Sequence[BundleRelease], actor: User | None) -> None:
    """Take published releases back in one act: every device gets the ones before.

    Raises:
        ApiError: BUNDLE_RELEASE_CONFLICT when one is not published.
    """
    with transaction.atomic():
        _lock(releases)
        for release in releases:
            changed = BundleRelease.objects.filter(pk=release.pk, state=BundleRelease.State.PUBLISHED).update(
                state=BundleRelease.State.WITHDRAWN, withdrawn_at=timezone.now()
            )
            if not changed:
                raise _conflict(release, "withdrawn", "a published release")
        _record(releases, CHANGE, "Withdrawn.", actor)
        transaction.on_commit(catalogue.forget)


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


def _lock(releases: Sequence[BundleRelease]) -> None:
    ids = [release.pk for release in releases]
    list(BundleRelease.objects.filter(pk__in=ids).order_by("pk").select_for_update().values_list("pk"))


def _publication_times(count: int) -> list[datetime]:
    """Return times later than every publication before, whatever the clocks of the servers say."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PUBLICATION_LOCK])
    latest = BundleRelease.objects.aggregate(latest=Max("published_at"))["latest"]
    first = max(timezone.now(), latest + _TICK) if latest else timezone.now()
    return [first + _TICK * index for index in range(count)]


# --- Refusals and audit -----------------------------------------------------------------------------------------


def _conflict(release: BundleRelease, verb: str, expected: str) -> ApiError:
    return ApiError(
        ErrorCode.BUNDLE_RELEASE_CONFLICT,
        f"The release {release} can't be {verb}: only {expected} can. Look at it again.",
    )


def _record(releases: Sequence[BundleRelease], flag: int, message: str, actor: User | None) -> None:
    """Write the audit entry, in the caller's transaction. Without an actor (a command did it) the log has it."""
    for release in releases:
        logger.info("%s: %s (%s)", release, message, actor.pk if actor else "command")
    if actor is not None:
        content_type = ContentType.objects.get_for_model(BundleRelease)
        LogEntry.objects.bulk_create(
            LogEntry(
                user_id=actor.pk,
                content_type=content_type,
                object_id=str(release.pk),
                object_repr=str(release)[:200],
                action_flag=flag,
                change_message=message,
            )
            for release in releases
        )
