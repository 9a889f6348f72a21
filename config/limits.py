"""Sizes, counts and windows that the server holds to, in one place, with units.

What operators may want to change is an environment variable instead (see `.env.example`).
"""

from typing import Final

MIB: Final = 1024 * 1024

# --- Requests -------------------------------------------------------------------------------------------------
REQUEST_BODY_MAX_BYTES: Final = 1 * MIB
"""A larger body is 413. Chunked bodies are collected up to this size."""

JSON_MAX_DEPTH: Final = 64
"""Nesting of objects and lists in a stored JSON value (a task snapshot, an event's payload)."""

DEVICE_ID_MAX_LENGTH: Final = 255
"""Characters; also of the header `X-Device-Id`, which is ignored when longer."""

RETRY_AFTER_BUSY_SECONDS: Final = 2
"""What a 503 suggests when the server is short of slots for slow work."""

RETRY_AFTER_OUTAGE_SECONDS: Final = 5
"""What a 503 suggests when the database, the cache or the storage is away."""

# --- Accounts -------------------------------------------------------------------------------------------------
VERIFICATION_CODE_DIGITS: Final = 6
VERIFICATION_CODE_MAX_TRIES: Final = 5
"""NIST SP 800-63B 5.2.2: with six digits, five tries leave a guess a chance of 5 in 1,000,000."""

PASSWORD_HASHES_IN_FLIGHT: Final = 2
"""At most so many Argon2 runs at a time in one worker process, each 19 MiB and about 30 ms of a core."""

PASSWORD_HASH_WAIT_SECONDS: Final = 2.0
"""How long a request waits for its turn before it is answered 503."""

MAIL_SLOT_WAIT_SECONDS: Final = 1.0
"""How long a request waits for a place to send its mail before it is answered 503."""

# --- Rate limits: (requests, window in seconds) -----------------------------------------------------------------
# A lecture hall shares one address behind NAT, so the limits by address are wide and those by account narrow.
LOGIN_PER_ADDRESS: Final = (300, 300)
LOGIN_PER_ACCOUNT_AND_ADDRESS: Final = (10, 300)
REGISTER_PER_ADDRESS: Final = (300, 600)
JOIN_PER_USER: Final = (30, 60)
"""Invite codes have 31^8 values; at this rate guessing one of 1,000 takes longer than a career."""
ADMIN_LOGIN_PER_ADDRESS: Final = (50, 300)
ADMIN_LOGIN_PER_ACCOUNT_AND_ADDRESS: Final = (10, 300)

# --- Telemetry ------------------------------------------------------------------------------------------------
EVENTS_PER_CALL_MAX: Final = 1_000
EVENT_ID_MAX_LENGTH: Final = 128
EVENT_TYPE_MAX_LENGTH: Final = 128
REFERENCE_MAX_LENGTH: Final = 255
"""Characters of a course, chapter or session id that a client sends with progress or an event."""

# --- Updates --------------------------------------------------------------------------------------------------
CATALOGUE_MAX_AGE_SECONDS: Final = 1.0
"""How old a worker's picture of the published releases may get before its revision is looked at; the promise is 2 s."""

BUNDLE_MANIFEST_MAX_BYTES: Final = 4 * MIB
"""Of `bundle.manifest.json`; a bundle of 20,000 files has about 3 MiB."""

BUNDLE_UNPACKED_MAX_BYTES: Final = 8 * 1024 * MIB
"""All files of an archive together, and what follows them; reading a larger one ends there."""

# --- Storage --------------------------------------------------------------------------------------------------
ARTIFACT_URL_MIN_SECONDS: Final = 900
"""Clients start a download up to 15 minutes after the check that named it."""

ARTIFACT_URL_ROUNDING_SECONDS: Final = 300
"""Expiry times are rounded up to a multiple of this, so that a URL stays the same for a while and caches well."""

STS_POLICY_MAX_CHARACTERS: Final = 2_048
"""Alibaba Cloud's limit on the length of a session policy in AssumeRole."""

ARTIFACT_NAME_MAX_LENGTH: Final = 2_048
"""Characters of a key, prefix or URL that a client sends; keys have at most 512."""

ARTIFACT_PREFIXES_MAX: Final = 1_000
"""Prefixes in one call for download credentials."""
