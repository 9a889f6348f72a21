"""Drafts: from an archive, or from bytes that lie elsewhere."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import IO, Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import ApiError, ErrorCode, FieldError, field_errors, invalid_fields, joined
from courses.models import Chapter
from courses.selectors import canonical_uuid
from storage.artifacts import artifact_size, delete_artifact, store_artifact
from updates import audit
from updates.audit import Action, Entry
from updates.bundles.base import BundleError, Fault, Inspection, excerpt
from updates.bundles.inspect import compare_archive, inspect_bundle, read_archive
from updates.bundles.manifest import MANIFEST_NAME, MINIMUM_VERSIONS, minimum_version_of, required_experts_of
from updates.models import Ability, BundleRelease, BundleType, chapter_scope_id
from updates.principals import Principal
from updates.selectors import find_chapter, find_current, find_release, missing_experts

logger = logging.getLogger(__name__)

_KEY_LOCK: Final = 7_201_003
"""First number of the advisory locks of the store's keys; the second is a hash of the key."""
_LOCK_POLL_SECONDS: Final = 0.1

_ONLY_DRAFTS_CHANGE: Final = _("The release {release} can't be changed: only a draft can. Look at it again.")
_ONLY_DRAFTS_GO: Final = _(
    "The release {release} can't be deleted: only a draft that was never published can. Look at it again."
)
_DELETED_MEANWHILE: Final = _(
    "The release {release} can't be made: only a version that nobody deletes at the same moment can. Look at it again."
)


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """For whom a release is. What is None is taken from the manifest."""

    is_mandatory: bool = True
    required_experts: Sequence[str] | None = None
    min_desktop_version: str | None = None
    min_sidecar_version: str | None = None
    strict_versions: bool = False
    rollout_basis_points: int = 10_000
    publish_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a release is of, and which version: no two have the same."""

    bundle_type: str
    scope_id: str
    version: str

    @property
    def fields(self) -> dict[str, str]:
        return {"bundle_type": self.bundle_type, "scope_id": self.scope_id, "version": self.version}

    @property
    def cut(self) -> "Identity":
        """The same, no longer than the audit has room for: a manifest may state anything."""
        return Identity(**{name: value[: _most_characters(name)] for name, value in self.fields.items()})


def _most_characters(name: str) -> int | None:
    most: int | None = getattr(BundleRelease._meta.get_field(name), "max_length", None)
    return most


UNKNOWN: Final = Identity("", "", "")
"""Of an archive that doesn't say what it is; the audit's entry of its refusal has it."""

OPTION_NAMES: Final = tuple(option.name for option in fields(ReleaseOptions))
"""They are fields of a release by the same names."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What became of a request for a draft."""

    release: BundleRelease
    is_new: bool
    """False: the same bytes were there already, as this release, whatever its state; nothing was changed."""
    warnings: list[StrOrPromise]


def upload_draft(
    *,
    file: IO[bytes],
    bundle_type: str,
    scope_id: str,
    version: str,
    principal: Principal,
    options: ReleaseOptions | None = None,
    sha256: str | None = None,
) -> Draft:
    """Check an archive, put it into the artifact store and make its draft. The same bytes give the same release.

    The object comes first, and the store never replaces one: a crash in between leaves an object without a release,
    which the next upload of the same bytes takes over, or `prune_artifacts` removes.

    Args:
        file: the archive, seekable.
        sha256: of the archive, where it was computed already while it arrived.

    Raises:
        ApiError: FORBIDDEN, VALIDATION_ERROR, BUNDLE_INVALID with each fault of the archive, BUNDLE_RELEASE_CONFLICT
            for other bytes under the version, STORAGE_UNAVAILABLE, SERVICE_UNAVAILABLE while another upload of this
            version goes on.
    """
    options = options or ReleaseOptions()
    draft = _make_stored_release(Identity(bundle_type, scope_id, version), principal, options)
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        return _take_in(draft, inspect(file, draft, sha256=sha256), file, principal, options)


def upload_archive(
    *,
    file: IO[bytes],
    principal: Principal,
    chapter: Chapter | None = None,
    options: ReleaseOptions | None = None,
    sha256: str | None = None,
) -> Draft:
    """Like `upload_draft`, for whoever has nothing but the archive: its manifest says what it is and which version.

    A manifest may name the chapter alone, or a course that is elsewhere or of another semester: then the chapter has
    to be given. What else contradicts the manifest is refused.

    Args:
        chapter: that the archive is for, in place of the one that the manifest names.

    Raises:
        ApiError: as `upload_draft`; BUNDLE_INVALID also for a manifest that doesn't say what it is; VALIDATION_ERROR
            for `chapter` when it is needed, or is given for what is no chapter's.
    """
    principal.require(Ability.UPLOAD)
    options = options or ReleaseOptions()
    with audit.recording_refusals(Action.CREATED, [UNKNOWN], principal), _telling_faults():
        archive = read_archive(file, sha256=sha256)
        stated = _identity_of(archive.manifest)
    identity = _with_chapter(stated, chapter)
    with audit.recording_refusals(Action.CREATED, [identity.cut], principal):
        draft = _make_stated_release(identity, principal, options)
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        with _telling_faults():
            found = compare_archive(archive, **identity.fields)
        return _take_in(draft, found, file, principal, options)


def register_draft(
    *,
    bundle_type: str,
    scope_id: str,
    version: str,
    external_url: str,
    sha256: str,
    size_bytes: int,
    manifest: Mapping[str, Any],
    principal: Principal,
    options: ReleaseOptions | None = None,
) -> Draft:
    """Make the draft of an archive that lies elsewhere. The same bytes at the same URL give the same release.

    Nothing is fetched: `verify_release` does.

    Raises:
        ApiError: FORBIDDEN, VALIDATION_ERROR, BUNDLE_RELEASE_CONFLICT for other bytes under the version.
    """
    options = options or ReleaseOptions()
    draft = _make_release(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        external_url=external_url,
        principal=principal,
        options=options,
    )
    _describe_bytes(draft, sha256=sha256, size_bytes=size_bytes, manifest=manifest)
    _fill_from_manifest(draft, options)
    check_release(draft)
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        return _insert_draft(draft, principal, ())


def update_draft(*, release: BundleRelease, changes: Mapping[str, Any], principal: Principal) -> None:
    """Change a draft's options, those of `ReleaseOptions`; the given instance is changed as well.

    Raises:
        ApiError: FORBIDDEN, VALIDATION_ERROR, BUNDLE_RELEASE_CONFLICT when it is no draft any more.
    """
    principal.require(Ability.UPLOAD, [release])
    if not changes:
        return
    for name, value in changes.items():
        setattr(release, name, value)
    with _telling_fields():
        release.clean_fields(exclude={field.name for field in BundleRelease._meta.fields} - set(changes))
    with audit.recording_refusals(Action.CHANGED, [release], principal), transaction.atomic():
        drafts = BundleRelease.objects.filter(pk=release.pk, state=BundleRelease.State.DRAFT)
        before = drafts.select_for_update().values(*changes).first()
        if before is None or not drafts.update(**changes):
            raise refusal(_ONLY_DRAFTS_CHANGE, release)
        differences = {name: (before[name], value) for name, value in changes.items() if before[name] != value}
        audit.record(Action.CHANGED, [Entry(release, differences)], principal)


def options_beside(
    existing: BundleRelease | None, stated: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> ReleaseOptions:
    """Return the options with which to make a draft of a version that may be there already.

    What isn't stated stays as it is. A draft that is there keeps what it has until `apply_options`.
    """
    if existing is None:
        return ReleaseOptions(**{**(defaults or {}), **stated})
    kept = {name: getattr(existing, name) for name in OPTION_NAMES}
    return ReleaseOptions(**(kept if existing.state == BundleRelease.State.DRAFT else {**kept, **stated}))


def apply_options(*, release: BundleRelease, stated: Mapping[str, Any], principal: Principal) -> None:
    """Give a draft the stated options that it has not. Raises as `update_draft`."""
    changes = {name: value for name, value in stated.items() if getattr(release, name) != value}
    update_draft(release=release, changes=changes, principal=principal)


def delete_draft(*, release: BundleRelease, principal: Principal) -> None:
    """Delete a draft and its bytes, so that other bytes can take its version.

    Raises:
        ApiError: FORBIDDEN, BUNDLE_RELEASE_CONFLICT when it was ever published, SERVICE_UNAVAILABLE while the same
            version is uploaded.
    """
    principal.require(Ability.UPLOAD, [release])
    with audit.recording_refusals(Action.DELETED, [release], principal), holding_key(release.artifact_key):
        with transaction.atomic():
            draft = BundleRelease.objects.select_for_update().filter(pk=release.pk, first_published_at=None).first()
            if draft is None:
                raise refusal(_ONLY_DRAFTS_GO, release)
            BundleRelease.objects.filter(pk=draft.pk).delete()
            audit.record(Action.DELETED, [Entry(release)], principal)
        if release.artifact_key:
            _delete_bytes(release.artifact_key)


def inspect(file: IO[bytes], release: BundleRelease, *, sha256: str | None = None) -> Inspection:
    """Check an archive against the release that it is for.

    Raises:
        ApiError: BUNDLE_INVALID, with each fault and the file that it is about.
    """
    with _telling_faults():
        return inspect_bundle(
            file,
            bundle_type=release.bundle_type,
            scope_id=release.scope_id,
            version=release.version,
            sha256=sha256,
        )


@contextmanager
def _telling_faults() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise _invalid_bundle(error.faults) from error


def _invalid_bundle(faults: Sequence[Fault]) -> ApiError:
    details: list[FieldError] = [{"field": fault.path or "archive", "message": fault.reason} for fault in faults]
    return ApiError(ErrorCode.BUNDLE_INVALID, faults[0].sentence, details)


def artifact_key(*, bundle_type: str, scope_id: str, version: str) -> str:
    """The key of a release's archive in the store."""
    return f"{settings.OSS_BUNDLE_PREFIX}{bundle_type}/{scope_id}/{version}/bundle.tar.gz"


def bytes_are_there(release: BundleRelease) -> bool:
    """Say whether the store has as many bytes of a release as it should; of one that lies elsewhere, always.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    if not release.artifact_key:
        return True
    try:
        return artifact_size(key=release.artifact_key) == release.size_bytes
    except FileNotFoundError:
        return False


@contextmanager
def holding_key(key: str, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Be the only one who stores or deletes under this key; none for an empty one.

    A lock of the connection, not of a transaction: storing may take minutes.

    Args:
        wait_seconds: for somebody else who holds it. Default: ARTIFACT_LOCK_WAIT_SECONDS.

    Raises:
        ApiError: SERVICE_UNAVAILABLE when somebody else holds it for longer than a request should wait.
    """
    if not key:
        yield
        return
    with connection.cursor() as cursor:
        wait = limits.ARTIFACT_LOCK_WAIT_SECONDS if wait_seconds is None else wait_seconds
        ends = time.monotonic() + wait
        while not _try_lock(cursor, key):
            if time.monotonic() > ends:
                message = _("Another upload of this version is under way. Please try again in a moment.")
                raise ApiError(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS)
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [_KEY_LOCK, key])


def _try_lock(cursor: Any, key: str) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_KEY_LOCK, key])
    return bool(cursor.fetchone()[0])


def refusal(sentence: StrOrPromise, release: BundleRelease, **values: object) -> ApiError:
    """The conflict of an act with what became of the release meanwhile, which the sentence names as `{release}`."""
    return ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, format_lazy(sentence, release=str(release), **values))


# --- What a manifest says -----------------------------------------------------------------------------------------


def _identity_of(manifest: Mapping[str, Any]) -> Identity:
    """Return what a manifest says that it is, as it says it.

    Raises:
        BundleError: it doesn't.
    """
    stated = {name: manifest.get(name) for name in ("bundle_type", "scope_id", "version")}
    faults = [
        Fault(MANIFEST_NAME, format_lazy(_("{name} is missing."), name=name))
        for name, value in stated.items()
        if not isinstance(value, str) or not value
    ]
    if faults:
        raise BundleError(*faults)
    identity = Identity(**{name: str(value) for name, value in stated.items()})
    if identity.bundle_type not in BundleType.values:
        text = format_lazy(
            _("bundle_type is {stated}, but must be one of {types}."),
            stated=excerpt(repr(identity.bundle_type)),
            types=joined(BundleType.values),
        )
        raise BundleError(Fault(MANIFEST_NAME, text))
    return identity


def _with_chapter(stated: Identity, chapter: Chapter | None) -> Identity:
    """Return the identity with a chapter's scope as releases have it: by the course's id.

    Raises:
        ApiError: VALIDATION_ERROR.
    """
    if stated.bundle_type != BundleType.CHAPTER:
        if chapter is not None:
            raise invalid_fields([{"field": "chapter", "message": _("Only a chapter's bundle has a chapter.")}])
        return stated
    if chapter is not None and chapter.chapter_code != stated.scope_id.rpartition("/")[2]:
        message = format_lazy(_("The archive is for {stated}, not for this chapter."), stated=excerpt(stated.scope_id))
        raise invalid_fields([{"field": "chapter", "message": message}])
    chapter = chapter or find_chapter(stated.scope_id)
    if chapter is None:
        text = _("The archive is for {stated}, which names no chapter of a course here. Choose the chapter.")
        message = format_lazy(text, stated=excerpt(stated.scope_id))
        raise invalid_fields([{"field": "chapter", "message": message}])
    return replace(stated, scope_id=chapter_scope_id(chapter.course_id, chapter.chapter_code))


def _make_stated_release(identity: Identity, principal: Principal, options: ReleaseOptions) -> BundleRelease:
    """Make the unsaved draft; what is wrong with its identity is a fault of the manifest, and nobody mistyped it."""
    try:
        return _make_stored_release(identity, principal, options)
    except ApiError as error:
        if error.code is not ErrorCode.VALIDATION_ERROR:
            raise
        faults = [
            Fault(MANIFEST_NAME, format_lazy("{field}: {message}", **detail))
            for detail in error.details
            if detail["field"] in identity.fields
        ]
        raise (_invalid_bundle(faults) if faults else error) from error


# --- Making the row -----------------------------------------------------------------------------------------------


def _make_release(
    *, bundle_type: str, scope_id: str, version: str, principal: Principal, options: ReleaseOptions, **place: str
) -> BundleRelease:
    """Make the unsaved draft with all that is known before its bytes are; every field of it is checked."""
    release = BundleRelease(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        chapter=_find_chapter(bundle_type, scope_id),
        required_experts=list(options.required_experts or ()),
        is_mandatory=options.is_mandatory,
        min_desktop_version=options.min_desktop_version or "",
        min_sidecar_version=options.min_sidecar_version or "",
        strict_versions=options.strict_versions,
        rollout_basis_points=options.rollout_basis_points,
        publish_at=options.publish_at,
        created_by=principal.user,
        **place,
    )
    principal.require(Ability.UPLOAD, [release])
    check_release(release, exclude={"sha256", "size_bytes", "manifest"})
    return release


def _make_stored_release(identity: Identity, principal: Principal, options: ReleaseOptions) -> BundleRelease:
    """Make the unsaved draft of an archive that goes into the store."""
    key = artifact_key(**identity.fields)
    return _make_release(**identity.fields, artifact_key=key, principal=principal, options=options)


def _take_in(
    draft: BundleRelease, found: Inspection, file: IO[bytes], principal: Principal, options: ReleaseOptions
) -> Draft:
    """Store an archive that was found right, and insert its draft."""
    _describe_bytes(draft, sha256=found.sha256, size_bytes=found.size_bytes, manifest=found.manifest)
    _fill_from_manifest(draft, options)
    with holding_key(draft.artifact_key):
        existing = find_release(bundle_type=draft.bundle_type, scope_id=draft.scope_id, version=draft.version)
        if existing is not None:
            _take_place_of(existing, draft)
            _refuse_other_bytes(existing, draft)
        _store(draft, file)
        return _insert_draft(draft, principal, found.warnings)


def _store(draft: BundleRelease, file: IO[bytes]) -> None:
    """Store the archive; no release of this version has other bytes.

    Bytes that lie there without a release may be those of an upload that broke off, but after a restored backup of the
    database they may also be what learners have under this version: only a person can tell.
    """
    try:
        store_artifact(key=draft.artifact_key, content=file)
    except ApiError as error:
        if error.code is ErrorCode.BUNDLE_RELEASE_CONFLICT:
            text = _(
                "Other bytes lie in the artifact store under {release}, though there is no such release. Use another "
                "version, or have the leftovers of broken uploads removed: manage.py prune_artifacts."
            )
            error.message = format_lazy(text, release=str(draft))
        raise


def _delete_bytes(key: str) -> None:
    """The draft is gone, whatever the store says: what stays there is for `prune_artifacts`."""
    try:
        delete_artifact(key=key)
    except ApiError as error:
        logger.warning("The bytes of a deleted draft stay in the store under %s: %s", key, error.code)


def _describe_bytes(release: BundleRelease, *, sha256: str, size_bytes: int, manifest: Mapping[str, Any]) -> None:
    release.sha256, release.size_bytes, release.manifest = sha256, size_bytes, dict(manifest)


def _fill_from_manifest(release: BundleRelease, options: ReleaseOptions) -> None:
    """Take from the manifest what the options leave to it."""
    try:
        if options.required_experts is None:
            release.required_experts = required_experts_of(release.manifest)
        for name in MINIMUM_VERSIONS:
            if getattr(options, name) is None:
                setattr(release, name, minimum_version_of(release.manifest, name))
    except BundleError as error:
        raise ApiError(
            ErrorCode.VALIDATION_ERROR, details=[{"field": "manifest", "message": error.sentences}]
        ) from error


def _find_chapter(bundle_type: str, scope_id: str) -> Chapter | None:
    course_id, _, chapter_code = scope_id.partition("/")
    parsed = canonical_uuid(course_id)
    if bundle_type != BundleType.CHAPTER or parsed is None:
        return None
    return Chapter.objects.filter(course_id=parsed, chapter_code=chapter_code).first()


def check_release(release: BundleRelease, *, exclude: Set[str] = frozenset()) -> None:
    """Check every field of a release but the excluded ones, and that they go together.

    Raises:
        ApiError: VALIDATION_ERROR, with each field and what is wrong with it.
    """
    with _telling_fields():
        release.clean_fields(exclude={"chapter", "created_by", *exclude})
        release.clean()


@contextmanager
def _telling_fields() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise invalid_fields(field_errors(error)) from error


def draft_warnings(release: BundleRelease) -> list[StrOrPromise]:
    """Tell what is odd about a draft: experts that are missing or no longer needed, bytes that nobody has checked."""
    return [*_expert_warnings(release), *_place_warnings(release)]


def _insert_draft(draft: BundleRelease, principal: Principal, warnings: Sequence[StrOrPromise]) -> Draft:
    """Insert, or return the release that has this version and the same bytes already."""
    with transaction.atomic():
        _hold_chapter(draft)
        BundleRelease.objects.bulk_create([draft], ignore_conflicts=True)
        found = find_release(bundle_type=draft.bundle_type, scope_id=draft.scope_id, version=draft.version)
        if found is None:
            raise refusal(_DELETED_MEANWHILE, draft)
        is_new = found.pk == draft.pk
        told = [*warnings, *draft_warnings(found)]
        if not is_new:
            _refuse_other_bytes(found, draft)
            return Draft(found, is_new, [*_kept_options(found, draft), *told])
        changes: dict[str, tuple[Any, Any]] = {
            name: (None, getattr(found, name)) for name in ("sha256", "size_bytes", *OPTION_NAMES)
        }
        audit.record(Action.CREATED, [Entry(found, changes)], principal, told)
    return Draft(found, is_new, told)


def _hold_chapter(draft: BundleRelease) -> None:
    """Keep the chapter's code from changing until the draft is there, and freezes it: an upload may take minutes."""
    if draft.chapter_id is None:
        return
    chapter = Chapter.objects.select_for_update(no_key=True).filter(pk=draft.chapter_id).first()
    if chapter is None or chapter_scope_id(chapter.course_id, chapter.chapter_code) != draft.scope_id:
        text = _("The chapter of {release} was deleted, or got another code, since the upload began.")
        raise refusal(text, draft)


def _expert_warnings(release: BundleRelease) -> Iterator[StrOrPromise]:
    missing = missing_experts([release], offered_from=release.publish_at)
    if missing:
        text = _("Before it can be published, these experts need a published release: {experts}.")
        yield format_lazy(text, experts=joined(missing))
    current = find_current(bundle_type=release.bundle_type, scope_id=release.scope_id)
    dropped = sorted(set(current.required_experts) - set(release.required_experts)) if current else []
    if dropped:
        text = _("It doesn't need these experts, which {release} needs: {experts}.")
        yield format_lazy(text, release=str(current), experts=joined(dropped))


def _place_warnings(release: BundleRelease) -> Iterator[StrOrPromise]:
    if release.external_url and release.verified_at is None:
        yield _("Nobody has fetched and checked what lies at its URL: verify it.")


def _kept_options(found: BundleRelease, asked: BundleRelease) -> list[StrOrPromise]:
    """Say where the release that is there already is not what was asked for."""
    names = {
        "is_mandatory": _("mandatory or not"),
        "required_experts": _("required experts"),
        "min_desktop_version": _("minimum desktop version"),
        "min_sidecar_version": _("minimum sidecar version"),
        "strict_versions": _("strictness"),
        "rollout_basis_points": _("rollout"),
        "publish_at": _("time of publication"),
    }
    different = [name for field, name in names.items() if getattr(found, field) != getattr(asked, field)]
    text = _("It was there already, and keeps what it had: {options}.")
    return [format_lazy(text, options=joined(different))] if different else []


def _take_place_of(existing: BundleRelease, draft: BundleRelease) -> None:
    """Let the same bytes be the same release where they lie under another key: that of the course it was copied from.

    What was published keeps its key for ever, so nobody deletes there.
    """
    if existing.artifact_key and existing.first_published_at is not None and existing.sha256 == draft.sha256:
        draft.artifact_key = existing.artifact_key


def _refuse_other_bytes(existing: BundleRelease, draft: BundleRelease) -> None:
    """Compared with case: the constraint knows no case, but clients and stores file by the name as it is."""
    names = ("scope_id", "version", "sha256", "size_bytes", "artifact_key", "external_url")
    if any(getattr(existing, name) != getattr(draft, name) for name in names):
        text = (
            _(
                "The release {release} exists already with other bytes, or at another place. "
                "It is a draft: delete it ({id}) to make another one of this version."
            )
            if existing.first_published_at is None
            else _(
                "The release {release} exists already with other bytes, or at another place. "
                "It was published, so its bytes never change: use another version."
            )
        )
        raise refusal(text, existing, id=existing.pk)
