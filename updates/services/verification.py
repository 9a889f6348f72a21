"""Verification: a release's bytes are fetched from where they lie, and compared with what the release says."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Final

from django.db import transaction
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import ApiError, ErrorCode
from storage.artifacts import open_artifact
from updates import audit, remote
from updates.audit import Action, Entry
from updates.bundles.base import Inspection
from updates.bundles.manifest import MINIMUM_VERSIONS, minimum_version_of, required_experts_of
from updates.models import Ability, BundleRelease
from updates.principals import Principal
from updates.services.drafts import refusal
from updates.services.fetching import copy_blocks, room_for_a_copy
from updates.services.stated import inspect

_BLOCK_BYTES: Final = 1024 * 1024


def verify_release(*, release: BundleRelease, principal: Principal) -> BundleRelease:
    """Fetch a release's bytes, compare size and SHA-256, inspect the archive, and note when it was found right.

    A draft without a manifest takes that of the archive, with the experts and minimums that it states unless it has
    some. No transaction is open while the bytes are fetched, for VERIFY_MAX_SECONDS at most from elsewhere.

    Returns:
        The release as it is now.

    Raises:
        ApiError: FORBIDDEN; BUNDLE_INVALID, and what differs; ARTIFACT_UNREACHABLE for a URL that may not or can't be
            fetched; STORAGE_UNAVAILABLE, also without room for the copy; BUNDLE_RELEASE_CONFLICT when it was deleted
            or replaced meanwhile.
    """
    principal.require(Ability.UPLOAD, [release])
    with audit.recording_refusals(Action.VERIFIED, [release], principal):
        _check_size(release)
        with room_for_a_copy(), tempfile.TemporaryFile() as copy:
            with _opened(release) as blocks:
                digest = _copy(blocks, copy, release)
            found = inspect(copy, release, sha256=digest)
        return _note(release, found, principal)


def _check_size(release: BundleRelease) -> None:
    if release.size_bytes > limits.BUNDLE_ARCHIVE_MAX_BYTES:
        text = _("{release} has more than the {most} bytes that a bundle may have.")
        raise _differs(text, release, most=f"{limits.BUNDLE_ARCHIVE_MAX_BYTES:,}")


@contextmanager
def _opened(release: BundleRelease) -> Iterator[Iterable[bytes]]:
    if release.external_url:
        with remote.opened(release.external_url, size_bytes=release.size_bytes) as blocks:
            yield blocks
        return
    try:
        file = open_artifact(key=release.artifact_key)
    except FileNotFoundError as error:
        raise _differs(_("The bytes of {release} are not in the artifact store."), release) from error
    with file:
        yield iter(partial(file.read, _BLOCK_BYTES), b"")


def _copy(blocks: Iterable[bytes], target: IO[bytes], release: BundleRelease) -> str:
    """Copy up to the first byte too many; return the SHA-256.

    Raises:
        ApiError: BUNDLE_INVALID for another size or SHA-256 than the release's.
    """
    copied = copy_blocks(blocks, target, most=release.size_bytes)
    if copied.size_bytes > release.size_bytes:
        text = _("There are more than the {size} bytes that {release} has.")
        raise _differs(text, release, size=f"{release.size_bytes:,}")
    if copied.size_bytes < release.size_bytes:
        text = _("There are {found} bytes; {release} has {size}.")
        raise _differs(text, release, found=f"{copied.size_bytes:,}", size=f"{release.size_bytes:,}")
    if copied.sha256 != release.sha256:
        text = _("The SHA-256 is {found}; that of {release} is {stated}.")
        raise _differs(text, release, found=copied.sha256, stated=release.sha256)
    return copied.sha256


def _differs(text: StrOrPromise, release: BundleRelease, **values: str) -> ApiError:
    return ApiError(ErrorCode.BUNDLE_INVALID, format_lazy(text, release=str(release), **values))


def _note(release: BundleRelease, found: Inspection, principal: Principal) -> BundleRelease:
    with transaction.atomic():
        row = BundleRelease.objects.select_for_update().filter(pk=release.pk, sha256=release.sha256).first()
        if row is None or (row.artifact_key, row.external_url) != (release.artifact_key, release.external_url):
            text = _(
                "The release {release} can't be verified: only one that nobody deletes or replaces meanwhile can. "
                "Look at it again."
            )
            raise refusal(text, release)
        before = {name: getattr(row, name) for name in ("verified_at", "required_experts", *MINIMUM_VERSIONS)}
        notices = [*found.warnings, *_take_manifest(row, found)]
        row.verified_at = timezone.now()
        row.save(update_fields=["manifest", *before])
        changes = {name: (value, getattr(row, name)) for name, value in before.items() if value != getattr(row, name)}
        audit.record(Action.VERIFIED, [Entry(row, changes)], principal, notices)
    return row


def _take_manifest(row: BundleRelease, found: Inspection) -> list[StrOrPromise]:
    """Give a draft that was registered without a manifest what its archive says, and say so."""
    if row.manifest == found.manifest:
        return []
    if row.manifest or row.state != BundleRelease.State.DRAFT:
        return [_("The manifest that was registered is not the one in the archive, which clients read.")]
    row.manifest = found.manifest
    row.required_experts = row.required_experts or required_experts_of(found.manifest)
    for name in MINIMUM_VERSIONS:
        setattr(row, name, getattr(row, name) or minimum_version_of(found.manifest, name))
    return [_("The draft had no manifest, and has that of its archive now.")]
