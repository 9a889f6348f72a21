"""Bounds on slow work, so that a burst of it never takes every worker from the calls that must not fail."""

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from django.conf import settings

from config import limits
from config.errors import ApiError, ErrorCode

_POLL_SECONDS: Final = 0.05
_password_hashes: Final = threading.BoundedSemaphore(limits.PASSWORD_HASHES_IN_FLIGHT)


def _busy() -> ApiError:
    return ApiError(ErrorCode.SERVICE_UNAVAILABLE, retry_after=limits.RETRY_AFTER_BUSY_SECONDS)


@contextmanager
def password_hash_slot() -> Iterator[None]:
    """Hold one of this process's places for an Argon2 run.

    Raises:
        ApiError: SERVICE_UNAVAILABLE after `limits.PASSWORD_HASH_WAIT_SECONDS` without a place.
    """
    if not _password_hashes.acquire(timeout=limits.PASSWORD_HASH_WAIT_SECONDS):
        raise _busy()
    try:
        yield
    finally:
        _password_hashes.release()


def mail_slot_count() -> int:
    """Fewer than this server's workers: a mail server that hangs never holds a thread of every one of them."""
    return max(1, settings.WEB_CONCURRENCY - 1)


@contextmanager
def mail_slot() -> Iterator[None]:
    """Hold one of this server's places for sending a mail.

    Places are locked files, since all workers of a server share them and the kernel frees a killed worker's.

    Raises:
        ApiError: SERVICE_UNAVAILABLE after `limits.MAIL_SLOT_WAIT_SECONDS` without a place.
    """
    deadline = time.monotonic() + limits.MAIL_SLOT_WAIT_SECONDS
    while (held := _take_mail_slot()) is None:
        if time.monotonic() >= deadline:
            raise _busy()
        time.sleep(_POLL_SECONDS)
    with held:
        yield


def _take_mail_slot() -> IO[str] | None:
    """Return the locked file of a free place, or None; closing it frees the place."""
    for number in range(mail_slot_count()):
        file = open(_slot_folder() / f"mail-{number}", "a", encoding="ascii")  # noqa: SIM115  held by the caller
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return file
    return None


def _slot_folder() -> Path:
    """A folder of this server, which its port tells apart; it holds only locks, so losing it loses nothing."""
    server = f"{settings.BASE_DIR}:{os.getuid()}:{settings.APP_HOST}:{settings.APP_PORT}"
    name = hashlib.sha256(server.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"llm-course-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
