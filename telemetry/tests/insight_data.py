"""A course with learners at various places, counted; and instructors who look at it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from html import unescape
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from accounts.models import User
from config.pseudonyms import pseudonym
from courses.models import Chapter, Course, CourseInstructor, Enrollment
from telemetry.models import ChapterProgress, LearnerStanding
from tests.cast import Actor, make_actor

LIST = "/admin/telemetry/courseinsights/"
Status = ChapterProgress.Status


def at(days_ago: float, hour: int = 12) -> datetime:
    """Return a time on a day (UTC) that is so long ago."""
    return datetime.combine(timezone.now().date() - timedelta(days=int(days_ago)), time(hour), UTC)


def day(days_ago: int) -> date:
    return at(days_ago).date()


def refresh() -> None:
    call_command("refresh_insights", verbosity=0)


def send(actor: Actor, course: Course, moment: datetime, event_type: str = "opened", **fields: Any) -> None:
    event = {"event_type": event_type, "event_time": moment.isoformat(), "course_id": str(course.pk), **fields}
    answer = actor.post("/v1/analytics/events:ingest", {"events": [event]})
    assert answer.json()["accepted"] == 1, answer.json()


def reach(actor: Actor, chapter: Chapter, status: Status, began: datetime, took: timedelta | None = None) -> None:
    """Let the learner have begun a chapter then, and completed it after so long."""
    completed = began + took if took else None
    ChapterProgress.objects.create(
        user=actor.user,
        chapter=chapter,
        status=status,
        created_at=began,
        updated_at=completed or began,
        completed_at=completed,
    )


@dataclass
class Taught:
    """A course of three chapters, and of four learners.

    `through` has completed all; `stopped_in` was last seen in the second chapter, and `stopped_after` after the first,
    both 30 days ago; `absent` has begun nothing.
    """

    course: Course
    chapters: list[Chapter]
    through: Actor
    stopped_in: Actor
    stopped_after: Actor
    absent: Actor

    @property
    def url(self) -> str:
        return f"{LIST}{self.course.pk}/change/"

    @property
    def learners_url(self) -> str:
        return f"{LIST}{self.course.pk}/learners/"

    @property
    def export_url(self) -> str:
        return f"{LIST}{self.course.pk}/export/"

    @property
    def learners(self) -> list[Actor]:
        return [self.through, self.stopped_in, self.stopped_after, self.absent]

    def standing(self, actor: Actor) -> LearnerStanding:
        return LearnerStanding.objects.get(course=self.course, user=actor.user)

    def learner_url(self, actor: Actor) -> str:
        return f"{self.learners_url}{self.standing(actor).pk}/"

    def day_url(self, actor: Actor, shown: date) -> str:
        return f"{self.learner_url(actor)}{shown}/"


def make_taught(code: str, title: str = "Teaching", *, event_type: str = "opened") -> Taught:
    course = Course.objects.create(course_code=code, title=title)
    chapters = [
        Chapter.objects.create(course=course, chapter_code=f"{code}-ch{n}", title=f"{title} part {n}", order=n)
        for n in (1, 2, 3)
    ]
    actors = {}
    for name in ("through", "stopped_in", "stopped_after", "absent"):
        actor = make_actor(f"{name}-{code}".lower(), display_name=f"{name} of {code}")
        Enrollment.objects.create(user=actor.user, course=course, joined_at=at(40))
        actors[name] = actor
    taught = Taught(course, chapters, **actors)
    for number, chapter in enumerate(chapters):
        reach(taught.through, chapter, Status.COMPLETED, at(20 - number), timedelta(hours=10 + 2 * number))
    reach(taught.stopped_in, chapters[0], Status.COMPLETED, at(33), timedelta(hours=30))
    reach(taught.stopped_in, chapters[1], Status.IN_PROGRESS, at(31))
    reach(taught.stopped_after, chapters[0], Status.COMPLETED, at(32), timedelta(hours=26))
    send(
        taught.through, course, at(1, 9), event_type, chapter_id=chapters[0].chapter_code, payload={"said": f"{code}!"}
    )
    send(taught.through, course, at(1, 10), "other")
    send(taught.stopped_in, course, at(30), event_type, chapter_id=str(chapters[1].pk))
    refresh()
    return taught


def make_instructor(name: str, *courses: Course, may_see_emails: bool = False, may: tuple[str, ...] = ()) -> User:
    """Make somebody who may see and export the insights into these courses, and has these permissions besides."""
    user = make_actor(name, is_staff=True).user
    group, _ = Group.objects.get_or_create(name="Instructors")
    group.permissions.set(Permission.objects.filter(codename__in=["view_courseinsights", "export_courseinsights"]))
    user.groups.add(group)
    user.user_permissions.set(Permission.objects.filter(codename__in=may))
    for course in courses:
        CourseInstructor.objects.create(user=user, course=course, may_see_emails=may_see_emails)
    return user


def text_of(response: Any) -> str:
    """Return what a page says below its head."""
    assert response.status_code == 200
    page = response.content.decode()
    return " ".join(unescape(strip_tags(page[page.index('id="content-main"') :])).split())


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def hidden_name(actor: Actor) -> str:
    """Return the pseudonym of a learner."""
    return pseudonym(actor.user.pk)
