"""A worker's picture of the published releases, kept in memory.

Releases are few and change rarely, while checks come all the time. So a check reads this picture, and whoever finds
it older than `limits.CATALOGUE_MAX_AGE_SECONDS` compares one number with the database before going on. The number
is renewed by triggers in the transaction of every change (migration 0002), so no way of changing a release is missed.
"""

import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from accounts.models import User
from config import limits
from updates.models import BundleRelease, CatalogueRevision
from updates.selection import Release, parse_minimum

TESTERS_GROUP: Final = "Testers"
"""Its members are in every rollout."""

_COLUMNS: Final = tuple(field.name for field in fields(Release))
"""The columns of a release are read in the order of its fields; `_as_release` converts the first three."""
_WITHDRAWN_COLUMNS: Final = ("bundle_type", "scope_id", "version", "published_at")

_NOTHING: Final[Mapping[str, datetime]] = MappingProxyType({})

Scope = tuple[str, str]
"""(bundle_type, scope_id)"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was published at one moment. It never changes, so one check answers from one state of the releases."""

    releases: Mapping[Scope, tuple[Release, ...]]
    """The published releases of each scope, the most recently published first."""
    withdrawn: Mapping[Scope, Mapping[str, datetime]]
    """When the withdrawn versions of each scope were published: devices may still have them."""
    testers: frozenset[uuid.UUID]
    """User ids of the members of the group Testers."""

    def of_scope(self, bundle_type: str, scope_id: str) -> tuple[Release, ...]:
        return self.releases.get((bundle_type, scope_id), ())

    def withdrawn_of_scope(self, bundle_type: str, scope_id: str) -> Mapping[str, datetime]:
        return self.withdrawn.get((bundle_type, scope_id), _NOTHING)


@dataclass(frozen=True, slots=True)
class _Picture:
    snapshot: Snapshot
    revision: int | None
    looked_at: float


class Catalogue:
    """Holds the picture. One thread at a time renews it; the others wait for the milliseconds that takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._picture: _Picture | None = None

    def snapshot(self) -> Snapshot:
        """Return what is published, at most `limits.CATALOGUE_MAX_AGE_SECONDS` old.

        No query while the picture is fresh, one while nothing changed, four otherwise. Not for a transaction that
        has changed releases itself: every thread would see what may yet be rolled back.

        Raises:
            OperationalError: the database is away, and the picture too old to answer from.
        """
        picture = self._picture
        if picture is None or not _is_fresh(picture):
            with self._lock:
                picture = self._picture
                if picture is None or not _is_fresh(picture):
                    picture = self._picture = _renew(picture)
        return picture.snapshot

    def forget(self) -> None:
        """Have the next snapshot read anew. A renewal under way is waited for: it may have read too early."""
        with self._lock:
            self._picture = None

    def start_anew(self) -> None:
        """For the child of a fork, which inherits the lock as it was, maybe held by a thread that it doesn't have."""
        self._lock = threading.Lock()
        self._picture = None


def _is_fresh(picture: _Picture) -> bool:
    return time.monotonic() - picture.looked_at < limits.CATALOGUE_MAX_AGE_SECONDS


def _renew(picture: _Picture | None) -> _Picture:
    """Read the revision first and the rows afterwards: a commit in between is only read once more."""
    looked_at = time.monotonic()
    revision = CatalogueRevision.objects.values_list("revision", flat=True).filter(pk=1).first()
    if picture is not None and picture.revision == revision:
        return _Picture(picture.snapshot, revision, looked_at)
    snapshot = Snapshot(MappingProxyType(_read_releases()), MappingProxyType(_read_withdrawn()), _read_testers())
    return _Picture(snapshot, revision, looked_at)


def _read_testers() -> frozenset[uuid.UUID]:
    return frozenset(User.objects.filter(groups__name=TESTERS_GROUP).values_list("pk", flat=True))


def _read_releases() -> dict[Scope, tuple[Release, ...]]:
    """Read bare columns: 50,000 releases take 0.7 s, as model instances 1.6 s, and the promise is 2 s."""
    rows = BundleRelease.objects.filter(state=BundleRelease.State.PUBLISHED).order_by("-published_at", "-pk")
    by_scope: dict[Scope, list[Release]] = defaultdict(list)
    for row in rows.values_list(*_COLUMNS):
        release = _as_release(*row)
        by_scope[release.bundle_type, release.scope_id].append(release)
    return {scope: tuple(releases) for scope, releases in by_scope.items()}


def _read_withdrawn() -> dict[Scope, Mapping[str, datetime]]:
    rows = BundleRelease.objects.filter(state=BundleRelease.State.WITHDRAWN)
    by_scope: dict[Scope, dict[str, datetime]] = defaultdict(dict)
    for bundle_type, scope_id, version, published_at in rows.values_list(*_WITHDRAWN_COLUMNS):
        by_scope[bundle_type, scope_id][version] = published_at
    return {scope: MappingProxyType(versions) for scope, versions in by_scope.items()}


def _as_release(experts: list[str], min_desktop: str, min_sidecar: str, *rest: Any) -> Release:
    return Release(tuple(experts), parse_minimum(min_desktop), parse_minimum(min_sidecar), *rest)


catalogue: Final = Catalogue()
os.register_at_fork(after_in_child=catalogue.start_anew)
