"""Names that stand for learners in what leaves the server.

A pseudonym is a keyed hash: the same for the same learner, so that what they did can be put together, and nobody who
lacks the key can tell whose it is, or try the ids of all learners until one fits (ENISA, "Pseudonymisation techniques
and best practices", 2019, section 5.1.3). The key is the setting PSEUDONYM_KEY; without one it is derived from
SECRET_KEY, for this use alone, and all pseudonyms change with that.
"""

import base64
import functools
import hashlib
import hmac
import uuid
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.utils.crypto import salted_hmac

_BYTES: Final = 16
"""Of the hash: 128 bits, so that no two of any number of learners share a pseudonym."""


def pseudonym(user_id: uuid.UUID) -> str:
    """Return the learner's pseudonym: 26 lower-case letters and digits (Base32 of RFC 4648)."""
    digest = hmac.digest(_key(), str(user_id).encode(), "sha256")[:_BYTES]
    return base64.b32encode(digest).decode().rstrip("=").lower()


def keyed_hasher(kind: str) -> Callable[[str], str]:
    """Return what makes 32 hexadecimal digits of other texts that tell of a learner.

    The same text of another kind has another hash, so that nobody links the two. It is for one text of each event, so
    it is BLAKE2b with a key (RFC 7693, section 2.9), which takes a third of the time of an HMAC.
    """
    keyed = functools.partial(hashlib.blake2b, digest_size=_BYTES, key=_key(), person=kind.encode())
    return lambda text: keyed(text.encode()).hexdigest()


def _key() -> bytes:
    return _derived_key(settings.PSEUDONYM_KEY or settings.SECRET_KEY)


@functools.lru_cache(maxsize=4)
def _derived_key(secret: str) -> bytes:
    """Derived once: a search makes the pseudonyms of all learners, and that took two fifths of its time."""
    return salted_hmac("config.pseudonyms", "key", secret=secret, algorithm="sha256").digest()
