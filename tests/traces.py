"""A person with something in every store, and a search for what is left of them in the whole database."""

import json
from collections.abc import Iterable
from datetime import timedelta
from io import StringIO
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from redis import Redis

from accounts.models import DeviceSession, User
from accounts.people import neutral_name
from courses.models import Course, CourseInstructor, Enrollment
from telemetry import services as progress
from telemetry.tests.partitioned import make_event, month
from tests.cast import Actor, make_actor, open_session
from updates.models import Ability, BundleRelease, ReleaseEvent
from updates.principals import person
from updates.services.publication import publish_releases
from updates.services.tokens import create_token
from updates.tests.shelf import APP, draft

INGEST = "/v1/analytics/events:ingest"
PROGRESS = "/v1/progress/chapter"


def event(course: Course | None, number: int, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"{number}",
        "event_type": "opened",
        "event_time": (timezone.now() - timedelta(minutes=number)).isoformat(),
        "course_id": course and str(course.pk),
        **fields,
    }


def learner_with_everything(name: str, course: Course, boss: User) -> Actor:
    """Make a learner of whom everything is kept that can be kept of a learner, most of it by calls of their device."""
    actor = make_actor(name, device_id=f"{name}-laptop", display_name=f"{name} of Testing")
    open_session(actor.user, device_id=f"{name}-phone", confirmed=False)
    email, chapter = actor.user.email, course.chapters.earliest("order")
    DeviceSession.objects.filter(user=actor.user).update(desktop_version="1.2.3")
    assert actor.post("/v1/courses/join", {"course_code": course.course_code}).status_code == 200
    body = {"course_id": str(course.pk), "chapter_id": chapter.chapter_code, "status": "IN_PROGRESS"}
    assert actor.post(PROGRESS, {**body, "task_snapshot": {"of": email}, "session_id": name}).status_code == 200
    events = [event(course, number, payload={"who": email}, session_id=name) for number in range(3)]
    assert actor.post(INGEST, {"events": [*events, event(None, 9)]}).json()["accepted"] == 4
    scatter(actor.user, "old", range(-3, 2), 2)
    versions = {"app_agents": "", "experts_shared": ""}
    check = {"desktop_version": "1.2.3", "sidecar_version": "", "installed": versions}
    assert actor.post("/v1/updates/check-app", check).status_code == 200
    assert actor.post("/v1/auth/request-email-code", {"email": email, "purpose": "register"}).status_code == 200
    progress.complete_chapter(chapter=chapter, user_ids=[actor.user.pk], actor=boss)
    note = [{"changed": {"fields": ["Display name"]}}]
    log(boss, actor.user, json.dumps(note), shown=f"earlier-{email}")
    log(boss, actor.session, "Revoked.")
    log(boss, course, "Something.", shown=f"{neutral_name(actor.user.pk)}: reset")
    log(boss, Enrollment.objects.get(user=actor.user, course=course), "Removed.")
    call_command("refresh_insights", verbosity=0)
    return actor


def scatter(user: User, name: str, months: Iterable[int], number: int) -> None:
    """Store so many events in each of the months, counted from the current one."""
    for offset in months:
        for index in range(number):
            moment = month(offset) + timedelta(minutes=index)
            make_event(user, f"{name} {offset} {index}", moment, payload={"who": user.email})


def staff_with_everything(name: str, course: Course, learner: User) -> Actor:
    """Make a member of staff of whom everything is kept that can be kept of one."""
    actor = make_actor(name, is_staff=True)
    publishers = Group.objects.get_or_create(name="Publishers")[0]
    abilities = ("view_bundlerelease", "add_bundlerelease", "publish_bundlerelease")
    publishers.permissions.add(*Permission.objects.filter(codename__in=abilities))
    actor.user.groups.add(publishers)
    actor.user.user_permissions.add(Permission.objects.get(codename="view_user"))
    CourseInstructor.objects.create(course=course, user=actor.user)
    Course.objects.filter(pk=course.pk).update(instructor=f"{name} <{actor.user.email}>")
    browser = Client()
    browser.force_login(actor.user)
    release = draft(APP, "7.7.7")  # the store keeps what other tests put there, and has other bytes of 1.0.0
    publish_releases(releases=[release], principal=person(actor.user))
    BundleRelease.objects.filter(pk=release.pk).update(created_by=actor.user)
    create_token(
        name="night builds",
        abilities=[Ability.READ],
        expires_at=timezone.now() + timedelta(days=9),
        created_by=actor.user,
    )
    ReleaseEvent.objects.filter(user=actor.user).update(notices=[f"Told to {actor.user.email}."])
    log(actor.user, learner, "Deactivated.")
    return actor


def log(actor: User, about: Any, message: str, *, shown: str = "") -> None:
    LogEntry.objects.create(
        user=actor,
        content_type=ContentType.objects.get_for_model(about),
        object_id=str(about.pk),
        object_repr=(shown or str(about))[:200],
        action_flag=CHANGE,
        change_message=message,
    )


def table_names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace"
        )
        return sorted(name for (name,) in cursor.fetchall())


def traces(*texts: Any) -> dict[str, list[str]]:
    """Return the rows of all tables, all partitions and Redis in which one of the texts is, in whatever column."""
    found: dict[str, list[str]] = {}
    for table, rows in dump().items():
        named = [row for row in rows if any(str(text).lower() in row.lower() for text in texts)]
        if named:
            found[table] = named
    return found


def dump(tables: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Return all rows of all tables as PostgreSQL writes them; what sessions of browsers hold is decoded."""
    rows: dict[str, list[str]] = {}
    with connection.cursor() as cursor:
        for table in tables or table_names():
            cursor.execute(f'SELECT kept::text FROM "{table}" AS kept')
            rows[table] = sorted(row for (row,) in cursor.fetchall())
    rows["sessions, decoded"] = [str(session.get_decoded()) for session in Session.objects.all()]
    if settings.REDIS_URL:
        client = Redis.from_url(settings.REDIS_URL)
        rows["redis"] = sorted(key.decode() for key in client.scan_iter("*"))
        client.close()
    return rows


def erase(actor_or_name: Actor | str, *options: str) -> str:
    name = actor_or_name if isinstance(actor_or_name, str) else actor_or_name.user.email
    output = StringIO()
    call_command("erase_user", name, "--yes", *options, stdout=output, stderr=output)
    return output.getvalue()
