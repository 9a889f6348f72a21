"""Drafts: what is said of them, making their rows, changing and deleting them."""

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config.errors import ApiError, ErrorCode, field_errors, invalid_fields, joined
from courses.models import Chapter
from courses.selectors import canonical_uuid
from storage.artifacts import delete_artifact
from updates import audit
from updates.audit import Action, Entry
from updates.bundles.base import BundleError
from updates.bundles.manifest import MINIMUM_VERSIONS, minimum_version_of, required_experts_of
from updates.models import Ability, BundleRelease, BundleType, chapter_scope_id
from updates.principals import Principal
from updates.selectors import find_current, find_release, missing_experts
from updates.services.stored_bytes import holding_key

logger = logging.getLogger(__name__)

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


OPTION_NAMES: Final = tuple(option.name for option in fields(ReleaseOptions))
"""They are fields of a release by the same names."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What became of a request for a draft."""

    release: BundleRelease
    is_new: bool
    """False: the same bytes were there already, as this release, whatever its state; nothing was changed."""
    warnings: list[StrOrPromise]


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


def _delete_bytes(key: str) -> None:
    """The draft is gone, whatever the store says: what stays there is for `prune_artifacts`."""
    try:
        delete_artifact(key=key)
    except ApiError as error:
        logger.warning("The bytes of a deleted draft stay in the store under %s: %s", key, error.code)


def refusal(sentence: StrOrPromise, release: BundleRelease, **values: object) -> ApiError:
    """The conflict of an act with what became of the release meanwhile, which the sentence names as `{release}`."""
    return ApiError(ErrorCode.BUNDLE_RELEASE_CONFLICT, format_lazy(sentence, release=str(release), **values))


# --- Making the row -----------------------------------------------------------------------------------------------


def make_release(
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


def describe_bytes(
    release: BundleRelease, options: ReleaseOptions, *, sha256: str, size_bytes: int, manifest: Mapping[str, Any]
) -> None:
    """Note what the bytes are, and take from the manifest what the options leave to it."""
    release.sha256, release.size_bytes, release.manifest = sha256, size_bytes, dict(manifest)
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


def insert_draft(draft: BundleRelease, principal: Principal, warnings: Sequence[StrOrPromise]) -> Draft:
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
            refuse_other_bytes(found, draft)
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


def refuse_other_bytes(existing: BundleRelease, draft: BundleRelease) -> None:
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
