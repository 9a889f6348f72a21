"""The manifest of a bundle: reading it, and what it states of the bundle's files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from django.core.exceptions import ValidationError
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.jsonvalues import json_fault
from updates.bundles.base import BundleError, Fault, excerpt
from updates.bundles.names import split
from updates.bundles.tree import Content
from updates.models import validate_expert_ids
from updates.selection import parse_version

MANIFEST_NAME: Final = "bundle.manifest.json"
V1: Final = "bundle-v1"
V2: Final = "bundle-v2"
FORMAT_VERSIONS: Final = (V1, V2)
MINIMUM_VERSIONS: Final = ("min_desktop_version", "min_sidecar_version")

_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_SEPARATORS: Final = (b",", b":", b"[", b"{")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a manifest states of a file."""

    path: str
    """Without a leading `./`."""
    content: Content


def parse_manifest(raw: bytes) -> dict[str, Any]:
    """Read the manifest's JSON object.

    Raises:
        BundleError: it is none, states something twice, or nothing that `jsonb` can hold.
    """
    # A small text can make a large object: 1.4 million empty lists of 4 MiB take 90 MiB.
    if sum(map(raw.count, _SEPARATORS)) > limits.BUNDLE_MANIFEST_VALUES_MAX:
        raise BundleError.of(_("It has too many values."), MANIFEST_NAME)
    try:
        manifest = json.loads(raw.decode(), object_pairs_hook=_object_of)
    except (ValueError, RecursionError) as error:
        text = format_lazy(_("It is not valid JSON in UTF-8: {fault}."), fault=excerpt(str(error)))
        raise BundleError.of(text, MANIFEST_NAME) from error
    if not isinstance(manifest, dict):
        raise BundleError.of(_("It must hold an object."), MANIFEST_NAME)
    if fault := json_fault(manifest):
        raise BundleError.of(fault, MANIFEST_NAME)
    return manifest


def _object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 leaves open which of two members of one name counts, so readers differ."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object states {name!r} twice")
        found[name] = value
    return found


def required_experts_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the experts that a chapter needs: `chapter.required_experts` (v2), or at the top level.

    Raises:
        BundleError: it is no list of expert ids.
    """
    experts = _stated(manifest, "required_experts", [])
    try:
        validate_expert_ids(experts)
    except ValidationError as error:
        raise BundleError.of(_("required_experts must be a list of expert ids."), MANIFEST_NAME) from error
    return cast(list[str], experts)


def minimum_version_of(manifest: Mapping[str, Any], name: str) -> str:
    """Return one of the `MINIMUM_VERSIONS`, from where the experts are as well; empty: none.

    Raises:
        BundleError: it is no semantic version.
    """
    version = _stated(manifest, name, "")
    if not isinstance(version, str) or (version and parse_version(version) is None):
        text = format_lazy(_("{name} must be a semantic version such as 1.4.0."), name=name)
        raise BundleError.of(text, MANIFEST_NAME)
    return version


def _stated(manifest: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return what the manifest states of its chapter, or else at the top level; null is nothing."""
    chapter = manifest.get("chapter")
    stated = chapter.get(name) if isinstance(chapter, dict) else None
    if stated is None:
        stated = manifest.get(name)
    return default if stated is None else stated


def file_entries_of(manifest: Mapping[str, Any]) -> Iterator[FileEntry | Fault]:
    """Yield what the manifest states of each file, or what is wrong with that."""
    stated = manifest.get("files")
    if not isinstance(stated, list):
        yield Fault(MANIFEST_NAME, _("files must be a list."))
        return
    for index, value in enumerate(stated):
        entry = _read_entry(index, value)
        yield entry if isinstance(entry, FileEntry) else Fault(MANIFEST_NAME, entry)


def _read_entry(index: int, value: Any) -> FileEntry | StrOrPromise:
    """Return the entry, or why it is none."""
    if not isinstance(value, dict):
        return format_lazy(_("files[{index}] must be an object with path, sha256 and size_bytes."), index=index)
    path, sha256, size = (value.get(name) for name in ("path", "sha256", "size_bytes"))
    if not isinstance(path, str) or not path:
        return format_lazy(_("files[{index}] must have a path."), index=index)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        text = _("files[{index}] ({path}) must have a sha256 of 64 hexadecimal digits.")
        return format_lazy(text, index=index, path=excerpt(path))
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        text = _("files[{index}] ({path}) must have size_bytes, a number of bytes.")
        return format_lazy(text, index=index, path=excerpt(path))
    return FileEntry("/".join(split(path)), Content(sha256.lower(), size))
