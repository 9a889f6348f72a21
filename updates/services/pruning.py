"""Objects in the artifact store that no release names: what uploads that broke off, and deleted drafts, have left."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import Final

from django.conf import settings
from django.utils import timezone

from config import limits
from config.errors import ApiError, ErrorCode
from storage.artifacts import abort_stale_uploads, artifact_exists, delete_artifact, list_artifacts
from storage.base import StoredArtifact
from updates.models import BundleRelease
from updates.services.stored_bytes import holding_key

_DAY: Final = timedelta(days=1)


class Outcome(StrEnum):
    """What became of an object."""

    NAMED = "named by a release"
    YOUNG = "kept: younger than the grace time"
    BUSY = "kept: its version is just being uploaded or deleted"
    UNNAMED = "to be removed"
    REMOVED = "removed"
    GONE = "gone already"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An object below OSS_BUNDLE_PREFIX, and what became of it."""

    artifact: StoredArtifact
    outcome: Outcome


def prune_artifacts(
    *, grace: timedelta, is_dry_run: bool = False, allows_empty_database: bool = False
) -> Iterator[Verdict]:
    """Go through the store as the result is iterated; remove what no release names and what is older than `grace`.

    An object that a version is just being uploaded to stays, however old it is: an upload of the same bytes takes it
    over. Several of these may run at once. It goes by batches, each with one query.

    Args:
        allows_empty_database: remove also when the database names no object at all. It may be the wrong one, or one
            that still waits for its backup, and then every object would seem to have no release.

    Raises:
        ApiError: STORAGE_UNAVAILABLE, when what was yielded before has taken effect.
    """
    older_than = timezone.now() - grace
    removes = not is_dry_run and (allows_empty_database or _has_stored_release())
    for batch in _batches(list_artifacts(prefix=settings.OSS_BUNDLE_PREFIX), limits.PRUNE_BATCH_OBJECTS):
        named = _named_keys(artifact.key for artifact in batch)
        for artifact in batch:
            if artifact.key in named:
                yield Verdict(artifact, Outcome.NAMED)
            elif artifact.modified_at >= older_than:
                yield Verdict(artifact, Outcome.YOUNG)
            else:
                yield Verdict(artifact, _remove(artifact) if removes else Outcome.UNNAMED)


def prune_unfinished_uploads(*, grace: timedelta) -> int:
    """Delete what uploads that never ended have left in the store; return how many there were.

    A grace time of less than a day counts as one: an upload may still go on, or be repeated and go on where it was.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    return abort_stale_uploads(older_than=timezone.now() - max(grace, _DAY))


def _has_stored_release() -> bool:
    return BundleRelease.objects.exclude(artifact_key="").exists()


def _remove(artifact: StoredArtifact) -> Outcome:
    """Look again under the lock that uploads hold until their release is committed, and remove."""
    try:
        with holding_key(artifact.key, wait_seconds=0):
            if _named_keys([artifact.key]):
                return Outcome.NAMED
            if not artifact_exists(key=artifact.key):
                return Outcome.GONE
            delete_artifact(key=artifact.key)
    except ApiError as error:
        if error.code is not ErrorCode.SERVICE_UNAVAILABLE:
            raise
        return Outcome.BUSY
    return Outcome.REMOVED


def _named_keys(keys: Iterable[str]) -> set[str]:
    found = BundleRelease.objects.filter(artifact_key__in=list(keys))
    return set(found.values_list("artifact_key", flat=True))


def _batches(artifacts: Iterator[StoredArtifact], size: int) -> Iterator[list[StoredArtifact]]:
    while batch := list(islice(artifacts, size)):
        yield batch
