"""Drafts from archives: what an archive says of itself is compared with its release before anything is made."""

from typing import IO

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config.errors import ApiError, ErrorCode
from courses.models import Chapter
from storage.artifacts import store_artifact
from updates import audit
from updates.audit import Action
from updates.bundles.base import Inspection
from updates.bundles.inspect import read_archive
from updates.models import BundleRelease
from updates.principals import Principal
from updates.selectors import find_release
from updates.services.drafts import (
    Draft,
    ReleaseOptions,
    describe_bytes,
    insert_draft,
    make_release,
    refuse_other_bytes,
)
from updates.services.stated import Identity, draft_as_stated, inspect
from updates.services.stored_bytes import artifact_key, holding_key


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
    options = options or ReleaseOptions()
    draft, found = draft_as_stated(
        read=lambda: read_archive(file, sha256=sha256),
        make=lambda identity: _make_stored_release(identity, principal, options),
        chapter=chapter,
        principal=principal,
    )
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        return _take_in(draft, found, file, principal, options)


# --- Into the store -----------------------------------------------------------------------------------------------


def _make_stored_release(identity: Identity, principal: Principal, options: ReleaseOptions) -> BundleRelease:
    """Make the unsaved draft of an archive that goes into the store."""
    key = artifact_key(**identity.fields)
    return make_release(**identity.fields, artifact_key=key, principal=principal, options=options)


def _take_in(
    draft: BundleRelease, found: Inspection, file: IO[bytes], principal: Principal, options: ReleaseOptions
) -> Draft:
    """Store an archive that was found right, and insert its draft."""
    describe_bytes(draft, options, sha256=found.sha256, size_bytes=found.size_bytes, manifest=found.manifest)
    with holding_key(draft.artifact_key):
        existing = find_release(bundle_type=draft.bundle_type, scope_id=draft.scope_id, version=draft.version)
        if existing is not None:
            _take_place_of(existing, draft)
            refuse_other_bytes(existing, draft)
        _store(draft, file)
        return insert_draft(draft, principal, found.warnings)


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


def _take_place_of(existing: BundleRelease, draft: BundleRelease) -> None:
    """Let the same bytes be the same release where they lie under another key: that of the course it was copied from.

    What was published keeps its key for ever, so nobody deletes there.
    """
    if existing.artifact_key and existing.first_published_at is not None and existing.sha256 == draft.sha256:
        draft.artifact_key = existing.artifact_key
