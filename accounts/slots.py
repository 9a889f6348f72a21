"""Bounds on slow work, so that a burst of it never takes every worker from the calls that must not fail."""

import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from django.conf import settings

from config import limits
from config.errors import ApiError, ErrorCode

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
    """Hold one of this server's places for sending a mail. Never waits.

    Places are locked files, since all workers of a server share them and the kernel frees a killed worker's.

    Raises:
        ApiError: SERVICE_UNAVAILABLE when every place is taken.
    """
    with ExitStack() as stack:
        for number in range(mail_slot_count()):
            file = stack.enter_context(open(_slot_folder() / f"mail-{number}", "a", encoding="ascii"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield
            return
        raise _busy()


def _slot_folder() -> Path:
    """A folder of this checkout and this user; it holds nothing but locks, so losing it loses nothing."""
    name = hashlib.sha256(f"{settings.BASE_DIR}:{os.getuid()}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"llm-course-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
