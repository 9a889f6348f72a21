"""Copies of bytes that come from elsewhere: bounded, counted and hashed on their way."""

import errno
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from django.utils.translation import gettext_lazy as _

from config import limits
from config.errors import ApiError, ErrorCode

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied."""

    size_bytes: int
    sha256: str


def copy_blocks(blocks: Iterable[bytes], target: IO[bytes], *, most: int) -> Copied:
    """Copy all blocks, up to the first byte too many: then the size is larger than `most`."""
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        if size > most:
            break
        digest.update(block)
        target.write(block)
    target.flush()
    return Copied(size, digest.hexdigest())


@contextmanager
def room_for_a_copy() -> Iterator[None]:
    """Tell of a full disk as what it is: something that staff can mend.

    Raises:
        ApiError: STORAGE_UNAVAILABLE.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ApiError(
            ErrorCode.STORAGE_UNAVAILABLE,
            _("The server has no room for a copy of the bundle."),
            retry_after=limits.RETRY_AFTER_OUTAGE_SECONDS,
        ) from error
