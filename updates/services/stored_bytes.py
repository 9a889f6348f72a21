"""The bytes of releases in the artifact store: under which key they lie, and who may touch it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from config import limits
from config.errors import ApiError, ErrorCode
from storage.artifacts import artifact_size
from updates.models import BundleRelease

_KEY_LOCK: Final = 7_201_003
"""First number of the advisory locks of the store's keys; the second is a hash of the key."""
_LOCK_POLL_SECONDS: Final = 0.1


def artifact_key(*, bundle_type: str, scope_id: str, version: str) -> str:
    """The key of a release's archive in the store."""
    return f"{settings.OSS_BUNDLE_PREFIX}{bundle_type}/{scope_id}/{version}/bundle.tar.gz"


def bytes_are_there(release: BundleRelease) -> bool:
    """Say whether the store has as many bytes of a release as it should; of one that lies elsewhere, always.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    if not release.artifact_key:
        return True
    try:
        return artifact_size(key=release.artifact_key) == release.size_bytes
    except FileNotFoundError:
        return False


@contextmanager
def holding_key(key: str, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Be the only one who stores or deletes under this key; none for an empty one.

    A lock of the connection, not of a transaction: storing may take minutes.

    Args:
        wait_seconds: for somebody else who holds it. Default: ARTIFACT_LOCK_WAIT_SECONDS.

    Raises:
        ApiError: SERVICE_UNAVAILABLE when somebody else holds it for longer than a request should wait.
    """
    if not key:
        yield
        return
    with connection.cursor() as cursor:
        wait = limits.ARTIFACT_LOCK_WAIT_SECONDS if wait_seconds is None else wait_seconds
        ends = time.monotonic() + wait
        while not _try_lock(cursor, key):
            if time.monotonic() > ends:
                message = _("Another upload of this version is under way. Please try again in a moment.")
                raise ApiError(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS)
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [_KEY_LOCK, key])


def _try_lock(cursor: Any, key: str) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_KEY_LOCK, key])
    return bool(cursor.fetchone()[0])
