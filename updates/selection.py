"""Which release is current for a device: pure functions over a picture of the published releases.

The rules are those of DESIGN.md, "Which release is current". Nothing here reads the database or the clock.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from types import MappingProxyType
from typing import Final

from semver import Version

WHOLE_ROLLOUT: Final = 10_000
"""Basis points: everybody."""

PLACEHOLDER_VERSION: Final = "0.1.0"
"""Both client generations send this constant in their normal check, whatever they are (wire contract)."""

VERSION_MAX_LENGTH: Final = 64
"""Characters; a longer version of a client is no version."""

_UNREACHABLE: Final = Version(10**9)


@dataclass(frozen=True, slots=True)
class Release:
    """A published release as the selection needs it; what `updates.models.BundleRelease` says of each field holds."""

    required_experts: tuple[str, ...]
    min_desktop_version: Version | None
    min_sidecar_version: Version | None
    bundle_type: str
    scope_id: str
    version: str
    artifact_key: str
    external_url: str
    sha256: str
    size_bytes: int
    is_mandatory: bool
    strict_versions: bool
    rollout_basis_points: int
    cohort_key: uuid.UUID
    published_at: datetime
    publish_at: datetime | None


@dataclass(frozen=True, slots=True)
class Device:
    """What a check knows of the device that asks. An empty id is no id; None is an unknown version."""

    id: str
    is_tester: bool = False
    desktop_version: Version | None = None
    sidecar_version: Version | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """The current release of a scope for a device, and whether the client has to install it."""

    release: Release
    mandatory: bool


def parse_version(text: str) -> Version | None:
    """Read a semantic version (semver.org 2.0.0); None when it is none."""
    # Outside the cache: it must never hold what a client may make as long as it likes.
    return _parse_version(text) if len(text) <= VERSION_MAX_LENGTH and text.isascii() and text.isprintable() else None


@lru_cache(maxsize=4_096)
def _parse_version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except ValueError:
        return None


def known_version(text: str) -> Version | None:
    """Read a version that a client sent; None, "unknown", for the constant that says nothing as well."""
    return None if text == PLACEHOLDER_VERSION else parse_version(text)


def parse_minimum(text: str) -> Version | None:
    """Read a release's minimum; None asks for nothing. An unreadable minimum is met by no known version."""
    return (parse_version(text) or _UNREACHABLE) if text else None


def rollout_bucket(cohort_key: uuid.UUID, device_id: str) -> int:
    """Place a device in a cohort, 0 to 9,999.

    The first 8 bytes, big-endian, of SHA-256 over the 16 bytes of the cohort key followed by the device id in
    UTF-8, modulo 10,000. It never changes: a device must stay where it is while a rollout is widened.
    """
    digest = hashlib.sha256(cohort_key.bytes + device_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % WHOLE_ROLLOUT


def is_due(release: Release, now: datetime) -> bool:
    return release.publish_at is None or release.publish_at <= now


def in_rollout(release: Release, device: Device) -> bool:
    """A device without an id is only in a rollout to everybody; testers are in every one."""
    if device.is_tester or release.rollout_basis_points >= WHOLE_ROLLOUT:
        return True
    return bool(device.id) and rollout_bucket(release.cohort_key, device.id) < release.rollout_basis_points


def unmet_minimums(release: Release, device: Device) -> dict[str, Version]:
    """Return the minimums that the device doesn't meet, by the name of the release's field."""
    minimums = (
        ("min_desktop_version", release.min_desktop_version, device.desktop_version),
        ("min_sidecar_version", release.min_sidecar_version, device.sidecar_version),
    )
    return {
        name: minimum
        for name, minimum, version in minimums
        if minimum is not None and (release.strict_versions if version is None else version < minimum)
    }


def meets_minimums(release: Release, device: Device) -> bool:
    return not unmet_minimums(release, device)


def may_have(release: Release, device: Device, now: datetime) -> bool:
    return is_due(release, now) and in_rollout(release, device) and meets_minimums(release, device)


def select_current(releases: Sequence[Release], device: Device, now: datetime) -> Release | None:
    """Return the first release that the device may have; `releases` are one scope's, most recently published first."""
    return next((release for release in releases if may_have(release, device, now)), None)


def select_blocked(releases: Sequence[Release], device: Device, now: datetime) -> list[Release]:
    """Return what the device would be offered instead of its current release, were its app or sidecar new enough.

    The most recently published first. What is not due, or not for this device's part of the rollout, isn't among them.
    """
    newer = takewhile(lambda release: not may_have(release, device, now), releases)
    return [release for release in newer if is_due(release, now) and in_rollout(release, device)]


def select_update(
    releases: Sequence[Release],
    installed: str | None,
    device: Device,
    now: datetime,
    withdrawn: Mapping[str, datetime] = MappingProxyType({}),
) -> Selected | None:
    """Return the current release when it is not the installed one.

    It is mandatory when any release on the way to it is: the due ones that were published after the installed one, up
    to and including the current. A way back to an older release has only its end. An installed version that was never
    published counts as none, so the way begins at the oldest.

    Args:
        withdrawn: when the scope's withdrawn versions were published. They are on no way, but a way may begin at one.
    """
    current = select_current(releases, device, now)
    if current is None or current.version == installed:
        return None
    times = {**withdrawn, **{release.version: release.published_at for release in releases}}
    start = times.get(installed or "")
    skipped = (
        release
        for release in releases[releases.index(current) + 1 :]
        if is_due(release, now) and (start is None or release.published_at > start)
    )
    return Selected(current, current.is_mandatory or any(release.is_mandatory for release in skipped))
