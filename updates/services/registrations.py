"""Drafts of archives that lie elsewhere, at an address that devices fetch themselves."""

import tempfile
from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config import limits
from config.errors import ApiError, ErrorCode
from courses.models import Chapter
from updates import audit, remote
from updates.audit import Action
from updates.bundles.inspect import Archive, read_archive, too_large_archive
from updates.principals import Principal
from updates.services.drafts import Draft, ReleaseOptions, check_release, describe_bytes, insert_draft, make_release
from updates.services.fetching import copy_blocks, room_for_a_copy
from updates.services.stated import draft_as_stated


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
    draft = make_release(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version=version,
        external_url=external_url,
        principal=principal,
        options=options,
    )
    describe_bytes(draft, options, sha256=sha256, size_bytes=size_bytes, manifest=manifest)
    check_release(draft)
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        return insert_draft(draft, principal, ())


def register_archive(
    *,
    external_url: str,
    principal: Principal,
    chapter: Chapter | None = None,
    sha256: str | None = None,
    options: ReleaseOptions | None = None,
) -> Draft:
    """Like `register_draft`, for whoever has nothing but the address: the archive there says what it is.

    It is fetched and checked as `verify_release` does, and with that the draft counts as checked. No transaction is
    open meanwhile; it takes VERIFY_MAX_SECONDS at most.

    Args:
        chapter: that the archive is for, in place of the one that the manifest names.
        sha256: that the archive there must have.

    Raises:
        ApiError: as `register_draft`; ARTIFACT_UNREACHABLE for an address that may not or can't be fetched;
            BUNDLE_INVALID with each fault of the archive, also for another SHA-256; VALIDATION_ERROR for `chapter`
            when it is needed, or is given for what is no chapter's; STORAGE_UNAVAILABLE without room for the copy.
    """
    options = options or ReleaseOptions()
    draft, found = draft_as_stated(
        read=lambda: _fetch(external_url, sha256),
        make=lambda identity: make_release(
            **identity.fields, external_url=external_url, principal=principal, options=options
        ),
        chapter=chapter,
        principal=principal,
    )
    describe_bytes(draft, options, sha256=found.sha256, size_bytes=found.size_bytes, manifest=found.manifest)
    draft.verified_at = timezone.now()
    check_release(draft)
    with audit.recording_refusals(Action.CREATED, [draft], principal):
        return insert_draft(draft, principal, found.warnings)


def _fetch(url: str, sha256: str | None) -> Archive:
    """Read the archive at an address.

    Raises:
        ApiError: ARTIFACT_UNREACHABLE, STORAGE_UNAVAILABLE; BUNDLE_INVALID for another SHA-256 than the stated.
        BundleError: it is none, or too large.
    """
    with room_for_a_copy(), tempfile.TemporaryFile() as copy:
        with remote.opened(url, size_bytes=None) as blocks:
            copied = copy_blocks(blocks, copy, most=limits.BUNDLE_ARCHIVE_MAX_BYTES)
        if copied.size_bytes > limits.BUNDLE_ARCHIVE_MAX_BYTES:
            raise too_large_archive()
        if sha256 is not None and copied.sha256 != sha256:
            text = _("The archive there has the SHA-256 {found}, not {stated}.")
            raise ApiError(ErrorCode.BUNDLE_INVALID, format_lazy(text, found=copied.sha256, stated=sha256))
        return read_archive(copy, sha256=copied.sha256)
