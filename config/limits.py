"""Sizes, counts and windows that the server holds to, in one place, with units.

What operators may want to change is an environment variable instead (see `.env.example`).
"""

from typing import Final

MIB: Final = 1024 * 1024

# --- Requests -------------------------------------------------------------------------------------------------
REQUEST_BODY_MAX_BYTES: Final = 1 * MIB
"""A larger body is 413. Chunked bodies are collected up to the largest that any call may have."""

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

# --- Courses --------------------------------------------------------------------------------------------------
CHAPTERS_PER_COURSE_MAX: Final = 400
"""Chapters that a course can get. Its page takes 0.15 s of a core to draw them and as long to save them, or 0.4 s when
each was changed. With titles of 200 Chinese characters in all of them they stay below `REQUEST_BODY_MAX_BYTES`."""

# --- Telemetry ------------------------------------------------------------------------------------------------
EVENTS_PER_CALL_MAX: Final = 1_000

EVENTS_BODY_MAX_BYTES: Final = 4 * MIB
"""Of a call that brings events, as sent and after decompression; a larger one is 413."""

EVENTS_PER_USER: Final = (6_000, 60)
"""(events, window in seconds). Clients try for about two minutes, so the window may have at most 60 s."""

EVENT_MAX_BYTES: Final = 32 * 1024
"""Of one event as sent, without the compression of the call."""

EVENT_PAYLOAD_NAMES_MAX: Final = 1_000
"""Names in an event's payload, on all levels together."""

EVENT_AHEAD_MAX_SECONDS: Final = 86_400
"""An event whose time is further ahead of the server's is marked: that clock is wrong, whatever its time zone."""

EVENT_ID_MAX_LENGTH: Final = 128
EVENT_TYPE_MAX_LENGTH: Final = 128
REFERENCE_MAX_LENGTH: Final = 255
"""Characters of a course, chapter or session id that a client sends with progress or an event."""

PROGRESS_ROWS_PER_ACT_MAX: Final = 1_000
"""Rows of the admin's list whose progress is set in one act; for all of a course there is a page."""

# --- Maintenance of the events ----------------------------------------------------------------------------------
EVENT_MONTHS_AHEAD: Final = 3
"""Partitions are made for the current month and so many after it."""

MAINTENANCE_LOCK_WAIT_MILLISECONDS: Final = 100
"""How long maintenance waits for a lock that ingest needs too: calls queue behind it meanwhile. At most three come
one after the other."""

MAINTENANCE_STATEMENT_MILLISECONDS: Final = 500
"""How long one statement may run under such a lock. Each changes the catalogue only, which takes about 1 ms."""

MAINTENANCE_LOCK_TRIES: Final = 60
MAINTENANCE_LOCK_PAUSE_SECONDS: Final = 1.0
"""Between two tries, for the calls that had to wait."""

MAINTENANCE_BATCH_BLOCKS: Final = 64
"""Blocks of 8 KiB in one batch of copied or deleted events: 2,000 to 5,000 of them."""

LATE_EVENTS_MOVED_MAX: Final = 2_000
"""Events of an expired month that are younger by their receipt, and are moved while the table is locked."""

# --- Updates --------------------------------------------------------------------------------------------------
CATALOGUE_MAX_AGE_SECONDS: Final = 0.8
"""How old a worker's picture of the published releases may get before its revision is looked at; the promise is 2 s."""

ADOPTION_MEMORY_MAX: Final = 50_000
"""Checks whose record a worker remembers, each about 0.3 KiB: those of as many devices in an hour."""

ADOPTION_MEMORY_SECONDS: Final = 3_600.0
"""How long it does; another worker may have recorded something else meanwhile."""

ADOPTION_LOCK_WAIT_MILLISECONDS: Final = 500
"""How long recording a device's versions waits for a row; the check's answer waits with it."""

ADOPTION_PAUSE_SECONDS: Final = 5.0
"""How long a worker records nothing after that failed: otherwise each check would wait in vain, and hold a thread."""

ADOPTION_CHECKS_SECONDS: Final = 10.0
"""How often a worker adds the checks that it counted to the day's, at most."""

ADOPTION_WARNING_SECONDS: Final = 60.0
"""How often a worker logs that recording fails, at most."""

ADOPTION_SLOTS_OF_EVERYBODY: Final = 16
"""Rows that share a count of a scope that every device checks, so that checks don't queue for one."""

ADOPTION_SLOTS: Final = 4
"""Rows that share a count of any other scope. Fewer, since there are thousands of scopes."""

ADOPTION_DAYS: Final = 400
"""How long the counts of a day are kept, so that months of two years compare; devices not seen for so long go too."""

ADOPTION_WINDOW_DAYS: Final = 30
"""How far back charts of versions look, and how recently a device was seen that a rollout's progress counts."""

BUNDLE_ARCHIVE_MAX_BYTES: Final = 2 * 1024 * MIB
"""Of an uploaded or fetched archive."""

UPLOAD_FORM_MAX_BYTES: Final = 1 * MIB
"""What a multipart upload may have besides the archive: its fields and boundaries."""

UPLOAD_FORM_FILES_MAX: Final = 10
"""Files of a form; one of them is wanted, the bytes of the others are dropped."""

UPLOAD_MAX_SECONDS: Final = 1_800.0
"""How long an upload that holds a place may take to arrive."""

UPLOAD_MIN_BYTES_PER_SECOND: Final = 16 * 1024
"""What such an upload has to reach on average; one byte every few seconds would hold its place for days."""

UPLOAD_GRACE_SECONDS: Final = 60.0
"""How long it may be slower at first."""

UPLOAD_WATCH_SECONDS: Final = 5.0
"""How often that is looked at."""

BUNDLE_MANIFEST_MAX_BYTES: Final = 4 * MIB
"""Of `bundle.manifest.json`; a bundle of 20,000 files has about 3 MiB."""

BUNDLE_FILES_MAX: Final = 20_000
"""Members of an archive: files, links and folders, also those that it only implies."""

BUNDLE_UNPACKED_MAX_BYTES: Final = 8 * 1024 * MIB
"""All of an archive when unpacked; reading a larger one ends there."""

BUNDLE_RATIO_MAX: Final = 200
"""Unpacked bytes for each packed one; gzip reaches 1,032, text and tables rarely 50."""

BUNDLE_RATIO_FREE_BYTES: Final = 64 * MIB
"""Unpacked bytes before the ratio counts: a small table of zeros harms nobody."""

BUNDLE_PATH_MAX_CHARACTERS: Final = 200
"""Of a file's path in an archive: Windows allows 260 in all, and the client's folder comes before it."""

BUNDLE_PATH_MAX_PARTS: Final = 32
"""Of a file's path in an archive: the folders that it lies in, and its name."""

BUNDLE_PART_MAX_BYTES: Final = 255
"""Of a folder's or file's name, in UTF-8: what ext4, XFS and APFS can hold."""

BUNDLE_LINKS_FOLLOWED_MAX: Final = 8
"""Symbolic links on the way to where one leads: as many as POSIX promises to follow (`_POSIX_SYMLOOP_MAX`)."""

BUNDLE_TAR_EXTENSION_MAX_BYTES: Final = 64 * 1024
"""Of one extension header in a tar archive: a long name, or pax records."""

BUNDLE_PAX_RECORDS_MAX: Final = 100
"""Records in one extended header: tools write times, ids and some extended attributes, a dozen or two."""

BUNDLE_GZIP_MEMBERS_MAX: Final = 200_000
"""Members of a gzip file; block-wise tools (bgzip) write one for every 64 KiB."""

BUNDLE_MANIFEST_VALUES_MAX: Final = 240_000
"""Commas, colons and opening brackets in a manifest, as a measure of the memory that it takes: 12 for each file."""

BUNDLE_EXCERPT_MAX_CHARACTERS: Final = 200
"""Of a name or value in an archive, where a fault quotes it."""

REQUIRED_EXPERTS_MAX: Final = 100
"""Experts that a release may require."""

BUNDLE_FAULTS_MAX: Final = 20
"""Faults of one archive that an answer lists."""

ARTIFACT_LOCK_WAIT_SECONDS: Final = 30.0
"""How long an upload waits for another one under the same version before it is answered 503."""

VERIFY_MAX_SECONDS: Final = 300.0
"""How long fetching a bundle that lies elsewhere may take, from the first packet to the last."""

VERIFY_CONNECT_SECONDS: Final = 10.0
"""How long connecting may take: to each address of the host's name, and then the TLS handshake."""

VERIFY_STALL_SECONDS: Final = 30.0
"""How long the host may send nothing."""

VERIFY_REDIRECTS_MAX: Final = 5
"""Redirects that fetching such a bundle follows."""

BUNDLES_PER_PAGE_MAX: Final = 200
"""Releases in one answer of the pipeline's list."""

BUNDLES_PER_PAGE_DEFAULT: Final = 50
BUNDLES_OFFSET_MAX: Final = 1_000_000

RELEASES_PER_ACT_MAX: Final = 100
"""Releases that are published in one act."""

ACTIVE_DEVICE_DAYS: Final = 30
"""A device counts as active when it logged in or refreshed so recently."""

RELEASE_FILES_SHOWN: Final = 500
"""Files in the tree on a release's page; of more it says how many are left out."""

RELEASE_CHANGES_SHOWN: Final = 100
"""Files in the difference between two releases on that page, likewise."""

TEXT_DIFF_FILE_MAX_BYTES: Final = 64 * 1024
"""Of a file that is compared with its predecessor line by line."""

TEXT_DIFF_LINES_MAX: Final = 2_000
"""Of such a file: comparing takes time by more than their number."""

TEXT_DIFF_ROWS_SHOWN: Final = 1_000
"""Lines of a difference that a page shows."""

TEXT_DIFF_UNPACKED_MAX_BYTES: Final = 256 * MIB
"""How far into an archive a file is looked for: about a second of unpacking."""

REACH_EXACT_MAX_DEVICES: Final = 20_000
"""Device sessions up to which all are counted to say how many devices an act reaches."""

REACH_SAMPLE_DEVICES: Final = 10_000
"""Of more sessions so many are looked at: what they say of all is right to one or two hundredths."""

REACH_PLACES_MAX: Final = 100_000
"""Enrolments up to which learners of some courses are counted, or a part of them; of more, a part of all devices."""

REACH_SAMPLE_PLACES: Final = 2_000
"""Enrolments whose devices are looked up, one by one, where there are more."""

REACH_VERSIONS_MAX: Final = 5_000
"""Pairs of desktop and sidecar versions that are told apart, the most frequent ones; a hostile client may send any."""

API_TOKEN_MAX_DAYS: Final = 366
"""Lifetime of an API token."""

PRUNE_GRACE_HOURS: Final = 24
"""How old an object without a release has to be before it is removed."""

PRUNE_BATCH_OBJECTS: Final = 1_000
"""Objects whose releases are looked up by one query."""

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

OSS_PART_BYTES: Final = 8 * MIB
"""Larger objects go to OSS in parts of this size, each held in memory while it is sent. OSS allows 10,000 parts."""

OSS_CONNECT_SECONDS: Final = 5.0
"""How long connecting to OSS may take, and how long the way there may take no byte of an upload."""

OSS_ANSWER_SECONDS: Final = 20.0
"""How long OSS may send nothing."""

OSS_TRIES: Final = 3
"""How often a request to OSS is sent before the storage counts as unavailable."""

OSS_BACKOFF_SECONDS: Final = 0.5
"""Longest pause after the first failure; it doubles with each further one, and a pause is drawn by chance below it."""

OSS_BACKOFF_MAX_SECONDS: Final = 4.0

OSS_PAGE_ENTRIES: Final = 1_000
"""Objects, uploads or parts in one answer to a listing: the most that OSS gives."""

OSS_RESUMED_UPLOADS_MAX: Final = 5
"""Unfinished uploads of a key, the newest ones, that are looked at for one to go on with."""

OSS_SIGNED_URL_MAX_SECONDS: Final = 604_800
"""OSS's limit on the validity of a URL with a signature of version 4: seven days."""

# --- Pages of the admin -------------------------------------------------------------------------------------------

FORM_FIELDS_MAX: Final = 2 * 7 * CHAPTERS_PER_COURSE_MAX
"""Fields of a form; the page of a course has seven for each chapter. Twice as many as a course can have, so that rows
too many are refused with the reason, and a course that came with nearly twice as many can be made smaller."""

ADMIN_ROWS_PER_ACT_MAX: Final = 1_000
"""Rows of one of the admin's lists that are changed in one act."""

ADMIN_RELATED_COUNTED_MAX_ROWS: Final = 1_000
"""Rows that an object's page, or the one before its deletion, counts of what belongs to it."""

ADMIN_LIST_COUNTED_MAX_ROWS: Final = 10_000
"""A list pages through so many rows; an exact count of millions would take longer than the page."""

OVERVIEW_ROWS: Final = 5
"""Rows in each list of the first page: the newest; the lists themselves have the rest."""

OVERVIEW_ACTIVITY_DAYS: Final = 30
"""Days of its charts."""

OVERVIEW_FAILED_DAYS: Final = 7
"""For how long it shows an upload or act that failed."""

OVERVIEW_LOOKED_AT_MAX: Final = 100
"""Rollouts and failures that it looks at, the newest ones; of more it says "more than"."""

ROLLOUT_STANDS_STILL_DAYS: Final = 7
"""A rollout that nobody widened for so long was probably forgotten."""

ADMIN_SEARCH_MAX_CHARACTERS: Final = 100
"""Of the search over everything; the rest is not looked for."""

ADMIN_SEARCH_WORDS_MAX: Final = 6
"""Words of it; each narrows the search."""

ADMIN_SEARCH_HITS_WHILE_TYPING: Final = 5
"""Finds of each kind that are shown below what is being typed."""

ADMIN_SEARCH_HITS: Final = 25
"""Finds of each kind on the page of the search."""


# --- Insights into courses ----------------------------------------------------------------------------------------

INSIGHTS_STOPPED_AFTER_DAYS: Final = 14
"""A learner of whom nothing came for so long, and who is not through, has stopped."""

INSIGHTS_ACTIVE_DAYS: Final = 7
"""A learner of whom something came in so many days is active."""

INSIGHTS_STALE_AFTER_HOURS: Final = 24
"""Counts that are older are shown with a warning: they are to be refreshed every 15 minutes."""

INSIGHTS_CHAPTERS_SHOWN: Final = 100
"""Chapters in the charts of a course."""

INSIGHTS_TYPES_KEPT: Final = 100
"""Types of events that are counted for each day of a course, the most frequent ones."""

INSIGHTS_TYPES_SHOWN: Final = 6
"""Types of events with a colour of their own; the rest share one."""

INSIGHTS_TYPES_LOOKED_AT: Final = 25
"""Types of each day, the most frequent ones, among which those that are shown are looked for."""

INSIGHTS_LEARNERS_FOUND: Final = 200
"""Learners whom a search by pseudonym finds."""

INSIGHTS_PSEUDONYM_MIN_LETTERS: Final = 6
"""Letters of a pseudonym that are looked for: 30 bits, which hardly two learners of a course share."""

INSIGHTS_EVENTS_SHOWN: Final = 200
"""Events of a learner's day on one page."""

INSIGHTS_EVENT_PAGES_MAX: Final = 50
"""Pages of a learner's day; an export has all events."""

INSIGHTS_EVENTS_MAX_MILLISECONDS: Final = 3_000
"""How long reading these may take; an ordinary learner's take less than 1 ms."""

EXPORT_DOWNLOAD_MAX_SECONDS: Final = 3_600.0
"""How long an export from a course's page may take; then it breaks off, and the browser tells of a failed download.

Meanwhile it holds a thread, and keeps `maintain_telemetry` from the partitions. `CLIENT_STALL_SECONDS` alone doesn't
bound it: it is for each part of 256 KiB or so, of which a large export has thousands. `manage.py export_events` has no
such limit."""

# --- What is kept of a person -------------------------------------------------------------------------------------

PERSONAL_DATA_ROWS_READ: Final = 500
"""Rows that an export of a person's data holds in memory; an event has up to 32 KiB."""

ERASURE_BATCH_ROWS: Final = 1_000
"""Events of a person, or records of their devices, that are deleted in one transaction: some 50 ms."""

ERASURE_TRIES: Final = 10
"""How often a transaction of an erasure begins anew after a deadlock, with maintenance for one."""

ERASURE_PAUSE_SECONDS: Final = 0.2
"""Between two of these tries."""

AUDIT_NAME_MAX_LENGTH: Final = 200
"""Characters of the name of what an entry of the admin's log is about: Django's column."""
