"""A big school's database for `bench.admin`: made by set-based SQL, chunk by chunk, the same rows each time.

Every id follows from a row's number, so rows point at each other without a look-up. At scale 1 it holds what the
admin has to bear.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction
from tqdm import tqdm

CHUNK_ROWS: Final = 50_000
CHAPTERS_PER_COURSE: Final = 20
STAFF: Final = 50
"""The first users are staff; the very first is the superuser that looks at the pages."""
EXPERTS: Final = 500
DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows of each kind."""

    users: int
    courses: int
    releases: int
    enrolments: int
    progress: int
    events: int
    log_entries: int

    @classmethod
    def at(cls, scale: float) -> "Sizes":
        """Return the sizes at a share of the whole, each at least so large that every kind of row occurs."""

        def part(whole: int, least: int) -> int:
            return max(least, round(whole * scale))

        return cls(
            users=part(1_000_000, 200),
            courses=part(1_000, 10),
            releases=part(50_000, 400),
            enrolments=part(3_000_000, 300),
            progress=part(1_000_000, 200),
            events=part(200_000, 200),
            log_entries=part(100_000, 100),
        )

    @property
    def chapters(self) -> int:
        return self.courses * CHAPTERS_PER_COURSE


# --- Rows ---------------------------------------------------------------------------------------------------------
# In each statement `n` runs over a chunk's numbers, from 0; `%(users)s` and the like are the sizes.

_GIVEN: Final = (
    "ARRAY['Ada','Bo','Chen','Dana','Emil','Fang','Grace','Hugo','Ines','Jun','Kofi','Lin','Maria','Noor','Olga',"
    "'Pia','Qing','Rosa','Sam','Tao','Uma','Vera','Wei','Xin','Yara','Zoe','伟','芳','娜','敏']"
)
_FAMILY: Final = (
    "ARRAY['Adams','Bauer','Costa','Diaz','Evans','Fischer','Garcia','Huang','Ito','Jones','Kim','Li','Moreau',"
    "'Nguyen','Okafor','Patel','Quinn','Rossi','Silva','Tanaka','Usman','Vogel','Wang','Xu','Young','Zhang','王','李']"
)
_SUBJECT: Final = "ARRAY['SOC','ECO','BIO','MAT','PHY','LAW','HIS','LIN','MED','ART']"
_TOPIC: Final = (
    "ARRAY['Statistics','Society','Markets','Cells','Proof','Motion','Justice','Empires','Grammar','Medicine',"
    "'Painting','Surveys','Networks','Inference','Ethics']"
)


def _pick(array: str, number: str) -> str:
    return f"({array})[1 + mod({number}, array_length({array}, 1))]"


def _id(kind: str, number: str = "n") -> str:
    return f"md5('{kind}' || ({number}))::uuid"


def _past(days: int) -> str:
    """Some moment of the last days, another for each row."""
    return f"now() - interval '1 second' * mod(n::bigint * 7919, 86400 * {days})"


# Of each learner's enrolments the first is in one course for every twentieth of them; the others are spread alike.
_ENROLLED_IN: Final = """
    CASE WHEN n < %(users)s AND mod(n, 20) = 0 THEN 0
         ELSE mod(n::bigint * 7 + n / %(users)s * 331, %(courses)s) END
"""
_PROGRESS_IN: Final = f"""
    mod(n::bigint * 7, %(courses)s) * {CHAPTERS_PER_COURSE} + mod(n / %(users)s + n, {CHAPTERS_PER_COURSE})
"""


def _chapter_code(number: str) -> str:
    place = f"(1 + mod({number}, {CHAPTERS_PER_COURSE}))"
    return f"'ch' || {place} || '_' || lower({_pick(_TOPIC, number)})"


# A release's scope follows from its number: the app's, the shared experts', an expert's, and mostly a chapter's.
_SCOPES: Final = f"""
    SELECT n,
        CASE WHEN mod(n, 250) = 0 THEN 'app_agents' WHEN mod(n, 250) = 1 THEN 'experts_shared'
             WHEN mod(n, 250) < 50 THEN 'experts' ELSE 'chapter' END AS bundle_type,
        mod(n::bigint * 31, %(chapters)s) AS chapter_n,
        mod(n / 250 * 48 + mod(n, 250) - 2, {EXPERTS}) AS expert_n,
        -- Of a thousand: 30 drafts, 40 withdrawn, 20 at less than everybody, 5 for later; the rest reaches all.
        mod(n::bigint * 7919, 1000) AS fate,
        now() - interval '1 minute' * (%(releases)s - n) * (260000.0 / %(releases)s) AS made_at
    FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""
_FILES: Final = """
    (SELECT jsonb_agg(jsonb_build_object('path', 'datasets/part_' || f || '.csv', 'sha256', repeat(md5('f' || f), 2),
                                         'size_bytes', 1000 + f * 37))
     FROM generate_series(1, CASE WHEN mod(n, 20) = 0 THEN 100 ELSE 5 END) AS f)
"""

STATEMENTS: Final[dict[str, str]] = {
    "users": f"""
        INSERT INTO accounts_user (id, password, is_superuser, email, display_name, is_active, is_staff, created_at)
        SELECT {_id("user")}, '!', n = 0,
            CASE WHEN n = 0 THEN 'bench@example.com'
                 ELSE 'learner' || n || '@' || {_pick("ARRAY['uni','school','campus']", "n")} || '.example' END,
            {_pick(_GIVEN, "n")} || ' ' || {_pick(_FAMILY, "n / 30")}, mod(n, 100) <> 99, n < {STAFF},
            {_past(400)}
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    """,
    "courses": f"""
        INSERT INTO courses_course
            (id, course_code, invite_code, title, description, instructor, semester, progression, is_active, created_at)
        SELECT {_id("course")}, {_pick(_SUBJECT, "n")} || (1000 + n), 'JOIN' || (100000 + n),
            {_pick(_TOPIC, "n")} || ' and ' || {_pick(_TOPIC, "n / 15 + 3")} || ' ' || (1 + mod(n, 4)),
            repeat('What this course is about. ', 10),
            {_pick(_GIVEN, "n * 3")} || ' ' || {_pick(_FAMILY, "n * 5")},
            (2024 + mod(n, 3)) || CASE WHEN mod(n, 2) = 0 THEN ' Fall' ELSE ' Spring' END,
            CASE WHEN mod(n, 4) = 0 THEN 'sequential' ELSE 'open' END, mod(n, 10) <> 9, {_past(900)}
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    """,
    "chapters": f"""
        INSERT INTO courses_chapter (id, course_id, chapter_code, title, "order", is_active, created_at)
        SELECT {_id("chapter")}, {_id("course", f"n / {CHAPTERS_PER_COURSE}")},
            {_chapter_code("n")}, {_pick(_TOPIC, "n")} || ', part ' || (1 + mod(n, {CHAPTERS_PER_COURSE})),
            1 + mod(n, {CHAPTERS_PER_COURSE}),
            mod(n, 50) <> 49, {_past(900)}
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    """,
    "enrolments": f"""
        INSERT INTO courses_enrollment (user_id, course_id, joined_at, removed_at)
        SELECT {_id("user", "mod(n, %(users)s)")},
            {_id("course", _ENROLLED_IN)},
            {_past(400)}, CASE WHEN mod(n, 40) = 39 THEN now() - interval '1 day' * mod(n, 30) END
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
        ON CONFLICT DO NOTHING
    """,
    "progress": f"""
        INSERT INTO telemetry_chapterprogress
            (user_id, chapter_id, status, session_id, task_snapshot, created_at, updated_at, completed_at)
        SELECT {_id("user", "mod(n, %(users)s)")},
            {_id("chapter", _PROGRESS_IN)},
            CASE mod(n, 3) WHEN 0 THEN 20 ELSE 10 END, 'session-' || n, '{{"tasks": [{{"id": 1, "done": true}}]}}',
            {_past(200)}, {_past(60)},
            CASE mod(n, 3) WHEN 0 THEN {_past(60)} END
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
        ON CONFLICT DO NOTHING
    """,
    "devices": f"""
        INSERT INTO accounts_devicesession (id, user_id, device_id, device_confirmed_at, refresh_digest, created_at,
            expires_at, last_refreshed_at, superseded_at, revoked_at, desktop_version, sidecar_version)
        SELECT {_id("session")}, {_id("user")}, 'device-' || n, now(),
            md5('digest' || n) || md5('tsegid' || n), {_past(200)},
            now() + interval '1 day' * mod(n, 30), {_past(40)},
            CASE WHEN mod(n, 50) = 48 THEN now() END, CASE WHEN mod(n, 50) = 49 THEN now() END,
            CASE WHEN mod(n, 2) = 0 THEN '1.' || mod(n, 9) || '.0' ELSE '' END,
            CASE WHEN mod(n, 2) = 0 THEN '2.' || mod(n, 5) || '.1' ELSE '' END
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    """,
    "releases": f"""
        INSERT INTO updates_bundlerelease (id, bundle_type, scope_id, version, chapter_id, state, artifact_key,
            external_url, sha256, size_bytes, manifest, required_experts, is_mandatory, min_desktop_version,
            min_sidecar_version, strict_versions, rollout_basis_points, cohort_key, publish_at, published_at,
            first_published_at, withdrawn_at, verified_at, created_by_id, created_at)
        SELECT {_id("release")}, bundle_type,
            CASE bundle_type WHEN 'app_agents' THEN 'core' WHEN 'experts_shared' THEN 'shared'
                WHEN 'experts' THEN 'expert_' || expert_n
                ELSE {_id("course", f"chapter_n / {CHAPTERS_PER_COURSE}")} || '/'
                    || {_chapter_code("chapter_n::int")} END,
            '1.' || n || '.0', CASE bundle_type WHEN 'chapter' THEN {_id("chapter", "chapter_n")} END,
            CASE WHEN fate < 30 THEN 'draft' WHEN fate < 70 THEN 'withdrawn' ELSE 'published' END,
            'bundles/bench/' || n || '.tar.gz', '', md5('bytes' || n) || md5('setyb' || n), 40000 + mod(n * 37, 900000),
            jsonb_build_object('format_version', 'bundle-v2', 'bundle_type', bundle_type, 'files', {_FILES}),
            CASE WHEN bundle_type = 'chapter' AND mod(n, 5) = 0
                 THEN jsonb_build_array('expert_' || mod(n, {EXPERTS}), 'expert_' || mod(n + 1, {EXPERTS}))
                 ELSE '[]'::jsonb END,
            mod(n, 3) <> 0, '', '', false, CASE WHEN fate BETWEEN 70 AND 89 THEN 500 + 50 * fate ELSE 10000 END,
            CASE WHEN fate >= 30 THEN {_id("cohort")} END,
            CASE WHEN fate BETWEEN 90 AND 94 THEN now() + interval '1 hour' * (1 + mod(n, 200)) END,
            CASE WHEN fate >= 30 THEN made_at + interval '1 hour' END,
            CASE WHEN fate >= 30 THEN made_at + interval '1 hour' END,
            CASE WHEN fate BETWEEN 30 AND 69 THEN made_at + interval '2 hours' END, NULL,
            {_id("user", f"mod(n, {STAFF})")}, made_at
        FROM ({_SCOPES}) AS scopes
    """,
    "events": f"""
        INSERT INTO updates_releaseevent (act_id, release_id, bundle_type, scope_id, version, action, refusal, changes,
            notices, actor_kind, actor_name, user_id, created_at)
        SELECT {_id("act")}, release.id, release.bundle_type, release.scope_id, release.version,
            CASE mod(n, 4) WHEN 0 THEN 'created' WHEN 1 THEN 'published' WHEN 2 THEN 'widened' ELSE 'changed' END,
            CASE WHEN mod(n, 20) = 0 THEN 'The archive has no bundle.manifest.json at its root.' ELSE '' END,
            '{{"rollout_basis_points": [1000, 10000]}}', '[]', 'user', 'learner' || mod(n, {STAFF}) || '@uni.example',
            {_id("user", f"mod(n, {STAFF})")},
            now() - interval '1 minute' * (%(events)s - n) * (260000.0 / %(events)s)
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
        JOIN updates_bundlerelease AS release
            ON release.id = {_id("release", "n::bigint * %(releases)s / %(events)s")}
        ORDER BY n
    """,
    "log_entries": f"""
        INSERT INTO django_admin_log
            (action_time, object_id, object_repr, action_flag, change_message, content_type_id, user_id)
        SELECT {_past(200)}, {_id("user")}::text, 'learner' || n || '@uni.example', 2,
            '[{{"changed": {{"fields": ["Active"]}}}}]',
            (SELECT id FROM django_content_type WHERE app_label = 'accounts' AND model = 'user'),
            {_id("user", f"mod(n, {STAFF})")}
        FROM generate_series(%(first)s::int, %(last)s::int) AS n
    """,
    # Each device itself and its app, which is one of the last ten of the app's releases; and some chapter's release.
    "device_bundles": f"""
        WITH device AS (
            SELECT {_id("session")} AS session_id,
                current_date - mod(n::bigint * 7919, {DAYS})::int AS seen_on,
                '1.' || greatest((%(releases)s - 1) / 250 - mod(n, 10), 0) * 250 || '.0' AS app,
                '1.' || (%(releases)s - 1) / 250 * 250 || '.0' AS newest,
                {_id("release", "mod(n::bigint * 13, %(releases)s)")} AS release_id
            FROM generate_series(%(first)s::int, %(last)s::int) AS n
        ), said AS (
            SELECT session_id, seen_on, 'device' AS bundle_type, '' AS scope_id, '' AS version, '' AS offered
            FROM device
            UNION ALL
            SELECT session_id, seen_on, 'app_agents', 'core', app, CASE WHEN app = newest THEN '' ELSE newest END
            FROM device
            UNION ALL
            SELECT session_id, seen_on, bundle_type, scope_id, version, ''
            FROM device JOIN updates_bundlerelease AS release ON release.id = release_id AND bundle_type = 'chapter'
        )
        INSERT INTO updates_devicebundle (session_id, bundle_type, scope_id, version, counted_as, offered_version,
            first_seen_on, last_seen_on)
        SELECT session_id, bundle_type, scope_id, version, version, offered, seen_on - 30, seen_on FROM said
    """,
}
"""In the order in which rows may point at each other."""

COUNT_DEVICES: Final = """
    INSERT INTO updates_adoptionday
        (bundle_type, scope_id, day, version, offered_version, slot, devices, latest, checks)
    SELECT bundle_type, scope_id, last_seen_on, counted_as, offered_version, 0, 3 * count(*), count(*),
        CASE WHEN bundle_type = 'device' THEN 20 * count(*) ELSE 0 END
    FROM updates_devicebundle GROUP BY bundle_type, scope_id, last_seen_on, counted_as, offered_version
"""
"""What the devices said, by day: on each day also two that have checked since for each that has not."""


def _rows(sizes: Sizes, kind: str) -> int:
    return sizes.users if kind in ("devices", "device_bundles") else int(getattr(sizes, kind))


def fill(sizes: Sizes, *, quiet: bool = False) -> None:
    """Make all rows, with a progress bar of the rows that were asked for."""
    total = sum(_rows(sizes, kind) for kind in STATEMENTS)
    parameters = {name: getattr(sizes, name) for name in ("users", "courses", "chapters", "releases", "events")}
    with tqdm(total=total, unit=" rows", unit_scale=True, disable=quiet or None) as bar:
        for kind, statement in STATEMENTS.items():
            bar.set_description(kind)
            for first, last in _chunks(_rows(sizes, kind)):
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute(statement, {**parameters, "first": first, "last": last})
                bar.update(last - first + 1)
        bar.set_description("counts by day")
        with connection.cursor() as cursor:
            cursor.execute(COUNT_DEVICES)


def _chunks(rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last number of each chunk: a statement that ends soon, and a bar that moves."""
    for first in range(0, rows, CHUNK_ROWS):
        yield first, min(first + CHUNK_ROWS, rows) - 1
