"""Whether an archive, its manifest and the release that it is for agree."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config.errors import joined
from updates.bundles.base import BundleError, Fault, excerpt
from updates.bundles.manifest import (
    FORMAT_VERSIONS,
    MANIFEST_NAME,
    MINIMUM_VERSIONS,
    V2,
    file_entries_of,
    minimum_version_of,
    required_experts_of,
)
from updates.bundles.tree import Content, Tree
from updates.models import BundleType

_PROMPTS: Final = ("chapter_context.md", "task_list.md", "task_completion_principles.md")
_UNKNOWN: Final = object()


def release_faults(manifest: Mapping[str, Any], *, bundle_type: str, scope_id: str, version: str) -> Iterator[Fault]:
    """Yield where a manifest contradicts the release that it is for."""
    if manifest.get("format_version") not in FORMAT_VERSIONS:
        text = format_lazy(_("format_version must be one of {formats}."), formats=joined(FORMAT_VERSIONS))
        yield Fault(MANIFEST_NAME, text)
    yield from _differs("bundle_type", manifest, bundle_type)
    if scope_warning(manifest, bundle_type=bundle_type, scope_id=scope_id) is None:
        yield from _differs("scope_id", manifest, scope_id)
    yield from _differs("version", manifest, version)
    if bundle_type == BundleType.CHAPTER:
        yield from _chapter_faults(manifest, scope_id)
    yield from _field_faults(manifest)


def _field_faults(manifest: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what no release could take over from the manifest."""
    readers: tuple[Callable[[Mapping[str, Any]], object], ...] = (
        required_experts_of,
        *(partial(minimum_version_of, name=name) for name in MINIMUM_VERSIONS),
    )
    for read in readers:
        try:
            read(manifest)
        except BundleError as error:
            yield from error.faults


def scope_warning(manifest: Mapping[str, Any], *, bundle_type: str, scope_id: str) -> StrOrPromise | None:
    """Tell of a chapter's scope that differs only in its course: tools write others into it, or none."""
    stated = manifest.get("scope_id")
    if bundle_type != BundleType.CHAPTER or not isinstance(stated, str) or stated == scope_id:
        return None
    if _chapter_of(stated) != _chapter_of(scope_id):
        return None
    return format_lazy(
        _("{name}: scope_id is '{stated}', the release's is '{scope_id}': only its course differs."),
        name=MANIFEST_NAME,
        stated=excerpt(stated),
        scope_id=scope_id,
    )


def emptiness_warning(manifest: Mapping[str, Any]) -> StrOrPromise | None:
    """Tell of an archive without a file besides its manifest: an author packed the wrong folder, most likely."""
    return None if manifest["files"] else _("The archive has no files but its manifest.")


def content_faults(manifest: Mapping[str, Any], tree: Tree) -> Iterator[Fault]:
    """Yield where a manifest and the archive's files contradict each other."""
    listed: set[str] = set()
    for entry in file_entries_of(manifest):
        if isinstance(entry, Fault):
            yield entry
            continue
        if entry.path in listed:
            yield Fault.about(entry.path, _("The manifest lists it twice."))
        elif fault := _entry_fault(entry.path, entry.content, tree):
            yield Fault.about(entry.path, fault)
        listed.add(entry.path)
    unlisted = sorted(path for path, _ in tree.files() if path not in listed and path != MANIFEST_NAME)
    for path in unlisted:
        yield Fault.about(path, _("It is in the archive, but the manifest doesn't list it."))


def prompt_faults(manifest: Mapping[str, Any], tree: Tree) -> Iterator[Fault]:
    """Yield the prompt files that clients need of a chapter, and that the archive lacks."""
    if manifest.get("format_version") not in FORMAT_VERSIONS:
        return
    folder = "prompts/" if manifest["format_version"] == V2 else ""
    for name in _PROMPTS:
        if tree.content(folder + name) is None:
            text = _("A chapter of format {format} must have this file.")
            yield Fault(folder + name, format_lazy(text, format=manifest["format_version"]))


def _differs(name: str, manifest: Mapping[str, Any], expected: str) -> Iterator[Fault]:
    stated = manifest.get(name, _UNKNOWN)
    if stated is _UNKNOWN:
        yield Fault(MANIFEST_NAME, format_lazy(_("{name} is missing."), name=name))
    elif stated != expected:
        text = _("{name} is {stated}, but the release's is {expected}.")
        values = {"stated": excerpt(repr(stated)), "expected": repr(str(expected))}
        yield Fault(MANIFEST_NAME, format_lazy(text, name=name, **values))


def _chapter_faults(manifest: Mapping[str, Any], scope_id: str) -> Iterator[Fault]:
    chapter = manifest.get("chapter")
    if chapter is None:
        return
    if not isinstance(chapter, dict):
        yield Fault(MANIFEST_NAME, _("chapter must be an object."))
        return
    code = chapter.get("chapter_code")
    if code is not None and code != _chapter_of(scope_id):
        text = _("chapter.chapter_code is {stated}, but the release's chapter is {expected}.")
        values = {"stated": excerpt(repr(code)), "expected": repr(_chapter_of(scope_id))}
        yield Fault(MANIFEST_NAME, format_lazy(text, **values))


def _chapter_of(scope_id: str) -> str:
    return scope_id.rpartition("/")[2]


def _entry_fault(path: str, stated: Content, tree: Tree) -> StrOrPromise | None:
    if path == MANIFEST_NAME:
        return _("The manifest can't list itself.")
    found = tree.content(path)
    if found is None:
        return _("The manifest lists it, but the archive doesn't have it.")
    if found.size_bytes != stated.size_bytes:
        text = _("It has {size} bytes, but the manifest says {stated}.")
        return format_lazy(text, size=f"{found.size_bytes:,}", stated=f"{stated.size_bytes:,}")
    if found.sha256 != stated.sha256:
        return _("Its SHA-256 is not what the manifest says.")
    return None
