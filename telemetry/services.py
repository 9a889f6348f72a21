"""Every write of progress: what learners' devices report, and what staff set."""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop
from psycopg.types.json import Jsonb

from accounts.models import User
from accounts.people import learners_of_entry, said
from config import limits
from config.errors import ApiError, ErrorCode
from config.redaction import redact, redact_text
from courses.models import Chapter
from courses.progress import ChapterStatus
from courses.selectors import canonical_uuid
from telemetry.models import ChapterProgress

# The row is written also when the report would lower its status, with what it has: only so does RETURNING tell the
# status that it really has, whatever another call has just made of it. No index changes, so that is cheap.
# `locked` is the rule of `courses.selectors.list_chapters`.
_UPSERT_PROGRESS: Final = """
    WITH place AS (
        SELECT course.id AS course_id, course.progression
        FROM courses_enrollment AS enrollment JOIN courses_course AS course ON course.id = enrollment.course_id
        WHERE enrollment.user_id = %(user_id)s AND course.id = %(course_id)s AND enrollment.removed_at IS NULL
    ), target AS (
        SELECT chapter.id, place.progression = 'sequential' AND before.id IS NOT NULL AND NOT EXISTS (
            SELECT FROM telemetry_chapterprogress AS progress
            WHERE progress.user_id = %(user_id)s AND (
                (progress.chapter_id = chapter.id AND progress.status > %(locked)s)
                OR (progress.chapter_id = before.id AND progress.status = %(completed)s)
            )
        ) AS locked
        FROM courses_chapter AS chapter JOIN place USING (course_id)
        LEFT JOIN LATERAL (
            SELECT earlier.id FROM courses_chapter AS earlier
            WHERE earlier.course_id = chapter.course_id AND earlier.is_active
                AND (earlier."order", earlier.chapter_code) < (chapter."order", chapter.chapter_code)
            ORDER BY earlier."order" DESC, earlier.chapter_code DESC LIMIT 1
        ) AS before ON true
        WHERE chapter.id = %(chapter_uuid)s OR chapter.chapter_code = %(chapter_code)s
    ), written AS (
        INSERT INTO telemetry_chapterprogress AS kept (
            user_id, chapter_id, status, session_id, task_snapshot, created_at, updated_at, completed_at,
            reported_while_locked
        )
        SELECT %(user_id)s, id, %(status)s, %(session_id)s, %(task_snapshot)s::jsonb, %(now)s, %(now)s,
            %(completed_at)s::timestamptz, locked AND %(status)s > %(locked)s
        FROM target
        ON CONFLICT (user_id, chapter_id) DO UPDATE SET
            status = greatest(kept.status, excluded.status),
            session_id = CASE WHEN excluded.status < kept.status THEN kept.session_id ELSE excluded.session_id END,
            task_snapshot = CASE WHEN excluded.status < kept.status THEN kept.task_snapshot
                ELSE coalesce(excluded.task_snapshot, kept.task_snapshot) END,
            updated_at = CASE WHEN excluded.status < kept.status THEN kept.updated_at ELSE excluded.updated_at END,
            completed_at = coalesce(kept.completed_at, excluded.completed_at),
            reported_while_locked = kept.reported_while_locked
                OR (excluded.reported_while_locked AND kept.status = %(locked)s)
        RETURNING status
    )
    SELECT EXISTS (SELECT FROM place), (SELECT status FROM written)
"""

_RAISE_PROGRESS: Final = """
    INSERT INTO telemetry_chapterprogress AS kept
        (user_id, chapter_id, status, session_id, created_at, updated_at, completed_at)
    SELECT user_id, %(chapter_id)s, %(status)s, '', %(now)s, %(now)s, %(completed_at)s::timestamptz
    FROM courses_enrollment
    WHERE course_id = %(course_id)s AND removed_at IS NULL
        AND (%(user_ids)s::uuid[] IS NULL OR user_id = ANY (%(user_ids)s))
    ORDER BY user_id
    ON CONFLICT (user_id, chapter_id) DO UPDATE SET
        status = excluded.status,
        updated_at = excluded.updated_at,
        completed_at = coalesce(kept.completed_at, excluded.completed_at)
    WHERE kept.status < excluded.status
    RETURNING id, user_id
"""
_RESET_PROGRESS: Final = """
    WITH going AS (
        SELECT progress.id
        FROM telemetry_chapterprogress AS progress JOIN courses_enrollment AS enrollment USING (user_id)
        WHERE progress.chapter_id = %(chapter_id)s AND enrollment.course_id = %(course_id)s
            AND enrollment.removed_at IS NULL
            AND (%(user_ids)s::uuid[] IS NULL OR user_id = ANY (%(user_ids)s))
        ORDER BY user_id
        FOR UPDATE OF progress
    )
    DELETE FROM telemetry_chapterprogress AS progress USING going WHERE progress.id = going.id
    RETURNING progress.id, user_id
"""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """What became of a report. It was `applied` unless it would have lowered the `status`, which is the row's now."""

    applied: bool
    status: ChapterStatus
    server_time: datetime

    @property
    def accepted(self) -> bool:
        """Clients drop a report at the 200; there is none that a later try could cure."""
        return True


def record_chapter_progress(
    *,
    user_id: uuid.UUID,
    course_id: str,
    chapter_id: str,
    status: str,
    session_id: str | None = None,
    task_snapshot: dict[str, Any] | None = None,
) -> ProgressReport:
    """Take a learner's report on a chapter, by code or UUID. One statement.

    A report that would lower the status leaves the row as it is and is no error. A report without a snapshot keeps
    the one before. Deactivated courses and chapters still take reports: the client's queue would lose them. So does a
    chapter that is locked for the learner, whose device may know more than we do: the first such report, if it says
    that the chapter is not locked, marks the row as `reported_while_locked` for good.

    Raises:
        ApiError: COURSE_ACCESS_DENIED for a stranger, a removed learner and a course that doesn't exist alike;
            CHAPTER_NOT_FOUND.
    """
    course = canonical_uuid(course_id)
    if course is None:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    now = timezone.now()
    rank = ChapterProgress.Status[status]
    report = {
        "user_id": user_id,
        "course_id": course,
        "chapter_uuid": canonical_uuid(chapter_id),
        "chapter_code": chapter_id,
        "status": rank.value,
        "session_id": redact_text(session_id or "")[: limits.REFERENCE_MAX_LENGTH],
        "task_snapshot": None if task_snapshot is None else Jsonb(redact(task_snapshot)),
        "now": now,
        "completed_at": now if rank is ChapterProgress.Status.COMPLETED else None,
        "locked": ChapterProgress.Status.LOCKED.value,
        "completed": ChapterProgress.Status.COMPLETED.value,
    }
    try:
        enrolled, after = _upsert_progress(report)
    except IntegrityError:
        # The chapter or the account was deleted while the statement ran; a second one sees that.
        enrolled, after = _upsert_progress(report)
    if not enrolled:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    if after is None:
        raise ApiError(ErrorCode.CHAPTER_NOT_FOUND)
    return ProgressReport(applied=after is rank, status=ChapterStatus(after.label), server_time=now)


def _upsert_progress(report: Mapping[str, Any]) -> tuple[bool, ChapterProgress.Status | None]:
    """Return whether the learner is enrolled, and the status that the row has now; None without a chapter."""
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT_PROGRESS, report)
        enrolled, status = cursor.fetchone()
    return enrolled, None if status is None else ChapterProgress.Status(status)


# --- What staff set -----------------------------------------------------------------------------------------------


# What the audit says was changed.
COMPLETED: Final = gettext_noop("the status to “Completed”")
UNLOCKED: Final = gettext_noop("the status to “In progress”")
RESET: Final = gettext_noop("the status to “Not begun”")


def complete_chapter(*, chapter: Chapter, user_ids: Collection[uuid.UUID] | None, actor: User) -> int:
    """Set the chapter to COMPLETED for these learners of its course, or for all; return for how many it changed.

    Only learners who are in the course count. In a sequential course this opens the next chapter for them.
    """
    now = timezone.now()
    raised = {"status": ChapterProgress.Status.COMPLETED.value, "now": now, "completed_at": now}
    return _set_progress(COMPLETED, _RAISE_PROGRESS, raised, chapter, user_ids, actor)


def unlock_chapter(*, chapter: Chapter, user_ids: Collection[uuid.UUID] | None, actor: User) -> int:
    """Set the chapter to at least IN_PROGRESS for these learners of its course, or for all; return how many changed."""
    raised = {"status": ChapterProgress.Status.IN_PROGRESS.value, "now": timezone.now(), "completed_at": None}
    return _set_progress(UNLOCKED, _RAISE_PROGRESS, raised, chapter, user_ids, actor)


def reset_chapter(*, chapter: Chapter, user_ids: Collection[uuid.UUID] | None, actor: User) -> int:
    """Take away these learners' progress in the chapter, or that of all of the course; return how many had some.

    Reports carry no time, so a device's next one starts anew, even if it was made before.
    """
    return _set_progress(RESET, _RESET_PROGRESS, {}, chapter, user_ids, actor)


def _set_progress(
    change: str,
    statement: str,
    parameters: Mapping[str, Any],
    chapter: Chapter,
    user_ids: Collection[uuid.UUID] | None,
    actor: User,
) -> int:
    """Run the statement, and write an entry for each row that it changed, and one for the course."""
    chosen = None if user_ids is None else list(user_ids)
    target = {"chapter_id": chapter.pk, "course_id": chapter.course_id, "user_ids": chosen}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statement, {**parameters, **target})
            changed: dict[int, uuid.UUID] = dict(cursor.fetchall())
        _log_rows(change, changed, chapter, actor)
        _log_course(change, len(changed), chapter, chosen, actor)
    return len(changed)


def progress_label(email: str, chapter: Chapter) -> str:
    """Name a learner's progress in the audit: the same for a row that was reset and for the one that comes after."""
    return f"{email}: {chapter.course.course_code} {chapter.chapter_code}"[:200]


def _log_rows(change: str, changed: Mapping[int, uuid.UUID], chapter: Chapter, actor: User) -> None:
    emails = dict(User.objects.filter(pk__in=changed.values()).values_list("pk", "email"))
    kind = ContentType.objects.get_for_model(ChapterProgress)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=actor.pk,
            content_type=kind,
            object_id=str(row_id),
            object_repr=progress_label(emails[user_id], chapter),
            action_flag=DELETION if change == RESET else CHANGE,
            change_message=json.dumps(said(change)),
        )
        for row_id, user_id in changed.items()
    )


def _log_course(change: str, changed: int, chapter: Chapter, chosen: Collection[uuid.UUID] | None, actor: User) -> None:
    course = chapter.course
    about = learners_of_entry(chosen, changed=changed)
    message = said(change, name=gettext_noop("chapter"), object=chapter.chapter_code, learners=about)
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(course),
        object_id=str(course.pk),
        object_repr=str(course)[:200],
        action_flag=CHANGE,
        change_message=json.dumps(message),
    )
