"""Reading an archive of strangers once, to its end: nothing of it is trusted, and only its manifest is kept."""

import hashlib
import io
import os
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config import limits
from updates.bundles.agreement import content_faults, emptiness_warning, prompt_faults, release_faults, scope_warning
from updates.bundles.base import BundleError, Inspection, refuse_if_any
from updates.bundles.manifest import MANIFEST_NAME, parse_manifest
from updates.bundles.names import split
from updates.bundles.tar import Kind, Member, TarReader
from updates.bundles.tree import Content, Node, Tree
from updates.bundles.unpacking import BLOCK_BYTES, Unpacking, too_large
from updates.models import BundleType


@dataclass(frozen=True, slots=True)
class Archive:
    """What was read of an archive that is none of the broken ones; whether it is a bundle is yet to be compared."""

    sha256: str
    size_bytes: int
    manifest: dict[str, Any]
    tree: Tree


def inspect_bundle(
    file: IO[bytes], *, bundle_type: str, scope_id: str, version: str, sha256: str | None = None
) -> Inspection:
    """Read an archive to its end, and compare it with its manifest and with the release that it is for.

    What breaks the archive's structure ends the reading; what contradicts the manifest is collected.

    Args:
        file: seekable; it is left at its beginning.
        sha256: of the archive, where it is known already.

    Raises:
        BundleError: with the faults, at most `BUNDLE_FAULTS_MAX`, and how many more there are.
    """
    archive = read_archive(file, sha256=sha256)
    return compare_archive(archive, bundle_type=bundle_type, scope_id=scope_id, version=version)


def read_archive(file: IO[bytes], *, sha256: str | None = None) -> Archive:
    """Read an archive to its end, for whoever learns from its manifest what release it is for.

    Raises:
        BundleError: its structure is broken, or it has no readable manifest.
    """
    digest = hashlib.sha256()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        if size > limits.BUNDLE_ARCHIVE_MAX_BYTES:
            raise too_large_archive()
        raw, tree = _read_contents(file, None if sha256 else digest)
    finally:
        file.seek(0)
    return Archive(sha256 or digest.hexdigest(), size, parse_manifest(raw), tree)


def too_large_archive() -> BundleError:
    most = limits.BUNDLE_ARCHIVE_MAX_BYTES // limits.MIB
    return BundleError.of(format_lazy(_("The archive is too large: {most} MiB are the most."), most=f"{most:,}"))


def compare_archive(archive: Archive, *, bundle_type: str, scope_id: str, version: str) -> Inspection:
    """Compare an archive with its manifest and with the release that it is for. Raises as `inspect_bundle`."""
    manifest = archive.manifest
    refuse_if_any(
        chain(
            release_faults(manifest, bundle_type=bundle_type, scope_id=scope_id, version=version),
            content_faults(manifest, archive.tree),
            prompt_faults(manifest, archive.tree) if bundle_type == BundleType.CHAPTER else (),
        )
    )
    warnings = (scope_warning(manifest, bundle_type=bundle_type, scope_id=scope_id), emptiness_warning(manifest))
    return Inspection(archive.sha256, archive.size_bytes, manifest, tuple(filter(None, warnings)))


@dataclass(slots=True)
class _Contents:
    """What is kept of an archive while it is read."""

    tree: Tree = field(default_factory=Tree)
    manifest: bytes | None = None
    linked_bytes: int = 0
    """What hard links repeat; where a client's file system has no links, it is copied."""


def _read_contents(file: IO[bytes], digest: "hashlib._Hash | None") -> tuple[bytes, Tree]:
    """Return the manifest's text, and the tree of all files. `digest` is updated with all of the file's bytes."""
    contents = _Contents()
    unpacked = io.BufferedReader(Unpacking(file, digest), 4 * BLOCK_BYTES)
    reader = TarReader(unpacked)
    for member in reader.members():
        _take(member, reader, contents)
    if contents.manifest is None:
        raise BundleError.of(format_lazy(_("The archive has no {name} at its root."), name=MANIFEST_NAME))
    if contents.linked_bytes + contents.tree.check_links() > limits.BUNDLE_UNPACKED_MAX_BYTES:
        raise too_large()
    return contents.manifest, contents.tree


def _take(member: Member, reader: TarReader, contents: _Contents) -> None:
    tree = contents.tree
    is_manifest = split(member.name) == [MANIFEST_NAME]
    if is_manifest and (member.kind is not Kind.FILE or member.size > limits.BUNDLE_MANIFEST_MAX_BYTES):
        most = f"{limits.BUNDLE_MANIFEST_MAX_BYTES:,}"
        raise BundleError.of(format_lazy(_("It must be a file of at most {most} bytes."), most=most), MANIFEST_NAME)
    match member.kind:
        case Kind.FILE:
            raw = _read_file(member, tree.add_file(member.name), reader, keep=is_manifest)
            contents.manifest = raw if is_manifest else contents.manifest
        case Kind.FOLDER:
            tree.add_folder(member.name)
        case Kind.SYMBOLIC_LINK:
            tree.add_symbolic_link(member.name, member.link)
        case Kind.HARD_LINK:
            contents.linked_bytes += tree.add_hard_link(member.name, member.link).size_bytes


def _read_file(member: Member, node: Node, reader: TarReader, *, keep: bool) -> bytes:
    """Read a file to its end, note in its node what it holds, and return its bytes if they are to be kept."""
    digest = hashlib.sha256()
    kept = []
    for block in reader.content(member):
        digest.update(block)
        if keep:
            kept.append(block)
    node.content = Content(digest.hexdigest(), member.size)
    return b"".join(kept)
