"""Reads of the learners of a course, and of one learner's way through it.

A learner's address is the id of their `LearnerStanding`: it tells nothing of who they are.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from config import limits
from config.places import Places
from config.pseudonyms import pseudonym
from courses.models import Course, Enrollment
from telemetry.models import AnalyticsEvent, ChapterProgress, LearnerDay, LearnerStanding

_PSEUDONYM: Final = re.compile(rf"[a-z2-7]{{{limits.INSIGHTS_PSEUDONYM_MIN_LETTERS},26}}")
"""What may begin a pseudonym; shorter ones begin too many."""

_searches: Final = Places(1)
"""Looking for a pseudonym makes those of all learners of a course: a second of a core for 100,000 of them."""


# --- Lists --------------------------------------------------------------------------------------------------------


class Group(StrEnum):
    """Which learners of a course are listed."""

    ALL = "all"
    ACTIVE = "active"
    BEGUN = "begun"
    STOPPED = "stopped"
    STOPPED_IN = "stopped-in"
    STOPPED_AFTER = "stopped-after"
    NOT_BEGUN = "not-begun"
    FINISHED = "finished"


class Order(StrEnum):
    """In which order."""

    LAST_ACTIVE = "last-active"
    LONGEST_AWAY = "longest-away"
    FURTHEST = "furthest"
    LEAST_FAR = "least-far"


_ORDERS: Final[dict[Order, Sequence[Any]]] = {
    Order.LAST_ACTIVE: (F("last_active_at").desc(nulls_last=True), "-pk"),
    Order.LONGEST_AWAY: (F("last_active_at").asc(nulls_last=True), "pk"),
    Order.FURTHEST: ("-completed", F("last_active_at").desc(nulls_last=True), "-pk"),
    Order.LEAST_FAR: ("completed", F("last_active_at").desc(nulls_last=True), "-pk"),
}


def list_learners(
    *,
    course: Course,
    shows_people: bool,
    chapters: int,
    group: Group = Group.ALL,
    chapter_id: uuid.UUID | None = None,
    text: str = "",
    order: Order = Order.LAST_ACTIVE,
) -> QuerySet[LearnerStanding]:
    """Return those who are in the course, by where they stand. One query; one more to look for a pseudonym.

    Args:
        shows_people: with their users, and found by the beginning of their email too.
        chapters: how many active chapters the course has.
        chapter_id: those for whom it is the last chapter that they have begun.
        text: the beginning of a pseudonym, or of an email.

    Raises:
        ApiError: SERVICE_UNAVAILABLE while this process looks for another pseudonym.
    """
    rows = _learners_in(course).select_related("chapter", *(["user"] if shows_people else []))
    rows = rows.filter(_in_group(group, chapters))
    if chapter_id is not None:
        rows = rows.filter(chapter_id=chapter_id)
    if text:
        rows = rows.filter(_named(course, text.strip().lower(), shows_people=shows_people))
    return rows.order_by(*_ORDERS[order])


def _learners_in(course: Course) -> QuerySet[LearnerStanding]:
    """Who was removed since they were counted isn't listed any more."""
    enrolled = Enrollment.objects.filter(course=course, user=OuterRef("user"), removed_at=None)
    return LearnerStanding.objects.filter(Exists(enrolled), course=course)


def _in_group(group: Group, chapters: int) -> Q:
    match group:
        case Group.ACTIVE:
            return Q(last_active_at__gte=timezone.now() - timedelta(days=limits.INSIGHTS_ACTIVE_DAYS))
        case Group.BEGUN:
            return ~Q(chapter=None)
        case Group.STOPPED:
            return Q(has_stopped=True)
        case Group.STOPPED_IN:
            return Q(has_stopped=True, chapter_is_completed=False)
        case Group.STOPPED_AFTER:
            return Q(has_stopped=True, chapter_is_completed=True)
        case Group.NOT_BEGUN:
            return Q(chapter=None)
        case Group.FINISHED:
            return Q(completed__gte=max(chapters, 1))
        case Group.ALL:
            return Q()


def _named(course: Course, text: str, *, shows_people: bool) -> Q:
    """Return the condition for those whose pseudonym begins so, and for those whose email does, if that is shown."""
    condition = Q(pk__in=_with_pseudonym(course, text) if _PSEUDONYM.fullmatch(text) else [])
    return condition | Q(user__email__startswith=text) if shows_people else condition


def _with_pseudonym(course: Course, beginning: str) -> list[int]:
    """Return the keys of the learners whose pseudonym begins so. No table has pseudonyms: they are made."""
    give_back = _searches.take()
    try:
        learners = LearnerStanding.objects.filter(course=course).values_list("pk", "user_id")
        found = (key for key, user_id in learners if pseudonym(user_id).startswith(beginning))
        return list(islice(found, limits.INSIGHTS_LEARNERS_FOUND))
    finally:
        give_back()


# --- One learner --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that happened once on a learner's way: of what kind, when, and in which chapter."""

    class Kind(StrEnum):
        JOINED = "joined"
        BEGUN = "begun"
        COMPLETED = "completed"

    kind: Kind
    at: datetime
    chapter: str = ""
    early: bool = False
    """It was reported while the chapter was locked."""


def find_learner(*, course: Course, shows_people: bool, key: int) -> LearnerStanding | None:
    """Return a learner who is in the course, with `joined_at`; None for those of other courses. One query."""
    joined = Enrollment.objects.filter(course=course, user=OuterRef("user"))
    rows = _learners_in(course).annotate(joined_at=Subquery(joined.values("joined_at")[:1]))
    return rows.select_related("chapter", *(["user"] if shows_people else [])).filter(pk=key).first()


def list_days(*, learner: LearnerStanding, first: date) -> list[LearnerDay]:
    """Return the days from this one on on which the learner had events of the course, the newest first. One query."""
    days = LearnerDay.objects.filter(user_id=learner.user_id, course_id=learner.course_id, day__gte=first)
    return list(days.order_by("-day"))


def list_milestones(*, learner: LearnerStanding, joined_at: datetime) -> list[Milestone]:
    """Return what happened once, the newest first. One query."""
    rows = ChapterProgress.objects.filter(
        user_id=learner.user_id,
        chapter__course_id=learner.course_id,
        status__gt=ChapterProgress.Status.LOCKED,
    ).values_list("chapter__chapter_code", "chapter__title", "created_at", "completed_at", "reported_while_locked")
    found = [Milestone(Milestone.Kind.JOINED, joined_at)]
    for code, title, begun_at, completed_at, early in rows:
        found.append(Milestone(Milestone.Kind.BEGUN, begun_at, f"{code} {title}", early))
        if completed_at:
            found.append(Milestone(Milestone.Kind.COMPLETED, completed_at, f"{code} {title}"))
    # What happened at the same moment stands in the order in which it must have happened.
    found.sort(key=lambda milestone: milestone.at)
    return found[::-1]


class TooManyEventsError(Exception):
    """A learner has so many events that those of a day could not be read in time."""


def list_events(*, learner: LearnerStanding, day: date, start: int, with_payload: bool) -> list[AnalyticsEvent]:
    """Return events of the learner in this course on a day, from number `start` on, and one more than are shown.

    One query, by the events' own key (it begins with the learner) in the one partition that has the day. It is given
    up when it takes long, of which the events of others are no cause.

    Raises:
        TooManyEventsError
    """
    begin = datetime.combine(day, time.min, UTC)
    events = AnalyticsEvent.objects.filter(
        user_id=learner.user_id,
        course_id=learner.course_id,
        event_time__gte=begin,
        event_time__lt=begin + timedelta(days=1),
        time_mark=AnalyticsEvent.TimeMark.PLAIN,
    ).order_by("event_time", "event_id")
    if not with_payload:
        events = events.defer("payload")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [limits.INSIGHTS_EVENTS_MAX_MILLISECONDS])
            found = list(events[start : start + limits.INSIGHTS_EVENTS_SHOWN + 1])
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise TooManyEventsError from error
        raise
    return found
