"""The insights into courses, and exports, at 10 million events: `python -m bench.insights make`, then the others.

`make` makes a database of its own, beside that of DATABASE_URL or in the embedded cluster, which stays for any number
of runs; `drop` removes it. `refresh` counts all events from nothing, then again, then what came in since. `pages`
fetches each page several times, as a superuser and as an instructor, from a server with two workers; `plans` shows how
PostgreSQL runs each statement of these pages, and fails when one reads a whole partition of events. `export` exports
all events in each format. Both need the counts that `refresh` makes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from bench.admin import Target, replace_database, show_pages
from bench.insights_database import Sizes, fill, mark_all_days
from bench.plans import explain
from config.pseudonyms import pseudonym
from config.terminal import Progress
from courses.models import Chapter, Course, CourseInstructor, Enrollment
from telemetry import rollups
from telemetry.exports import Format, Selection, estimate_rows
from telemetry.ingest import ingest_events
from telemetry.insights import access
from telemetry.insights.learners import Group, Order
from telemetry.insights.pages import list_url, page_url
from telemetry.models import (
    ChapterStanding,
    CourseDay,
    CourseStanding,
    CourseWeek,
    EventTypeDay,
    LearnerDay,
    LearnerStanding,
    TouchedDay,
)
from tests.live import BASE_DIR, clean_environment, test_database_url

KEPT: Final = tuple(
    model._meta.db_table
    for model in (LearnerDay, CourseDay, CourseWeek, EventTypeDay, LearnerStanding, ChapterStanding, CourseStanding)
)
"""The tables of counts."""
MEMORY_LIMIT_MIB: Final = 150
"""What an export may take."""
NEW_LEARNERS: Final = 100
NEW_EVENTS_EACH: Final = 100
LATE_EVENTS: Final = 100
"""One on each of so many days before today."""
SLOWEST_STATEMENTS: Final = 10


def main() -> None:
    acts: dict[str, Callable[[argparse.Namespace], None]] = {
        "refresh": lambda options: show_refresh(),
        "pages": lambda options: show_all_pages(options.times, options.only),
        "plans": lambda options: show_plans(options.only),
        "export": lambda options: show_exports(options.only),
    }
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("do", choices=["make", *acts, "drop"])
    arguments.add_argument("--database", default="bench_insights", help="its name")
    arguments.add_argument("--scale", type=float, default=1.0, help="make: share of the whole size, 0.01 for a try")
    arguments.add_argument("--times", type=int, default=9, help="pages: how often each is fetched")
    arguments.add_argument("--only", default="", help="pages, plans, export: those whose name holds this")
    options = arguments.parse_args()
    settings.CACHES["default"]["KEY_PREFIX"] = options.database  # counts in Redis apart from those of a real server
    if options.do in acts:
        connection.settings_dict["NAME"] = options.database
        call_command("migrate", verbosity=0)
        acts[options.do](options)
    else:
        replace_database(options.database, partial(fill, Sizes.at(options.scale)) if options.do == "make" else None)


# --- Counting -----------------------------------------------------------------------------------------------------


def show_refresh() -> None:
    """Print how long the counts take from nothing, when nothing is new, and after new and late events."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TouchedDay._meta.db_table}, {', '.join(KEPT)}")
        mark_all_days(cursor)
    statements = _Statements()
    print("| refresh | seconds | days | rows inserted | updated | deleted | temporary files, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with connection.execute_wrapper(statements):
        _refresh("from nothing", statements)
        first = statements.slowest()
        _refresh("nothing new", statements)
        new = _store_new_events()
        _refresh(f"{new:,} events of the last hour and {LATE_EVENTS} late ones", statements)
    for title, rows in (("from nothing", first), ("after new events", statements.slowest())):
        print(f"\n| statement, {title} | times | seconds in all | longest, s |")
        print("|---|---:|---:|---:|")
        for name, seconds in rows:
            print(f"| {name} | {len(seconds)} | {sum(seconds):.2f} | {max(seconds):.2f} |")


def _refresh(name: str, statements: "_Statements") -> None:
    statements.seconds.clear()
    before = _written()
    began = time.perf_counter()
    refreshed = rollups.refresh(progress=Progress(BaseCommand(), verbosity=0))
    seconds = time.perf_counter() - began
    inserted, updated, deleted, temporary = (after - earlier for after, earlier in zip(_written(), before, strict=True))
    print(
        f"| {name} | {seconds:.1f} | {refreshed.days:,} | {inserted:,} | {updated:,} | {deleted:,} "
        f"| {temporary / 2**20:,.0f} |",
        flush=True,
    )


def _written() -> tuple[int, ...]:
    """Return how many rows of counts were inserted, updated and deleted so far, and the bytes of temporary files."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            """
            SELECT sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint,
                (SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database())
            FROM pg_stat_user_tables WHERE relname = ANY (%s)
            """,
            [list(KEPT)],
        )
        row: tuple[int, ...] = cursor.fetchone()
        return row


def _store_new_events() -> int:
    """Let the server's code store events of the last hour, and one late one on each of some days; return how many."""
    now = timezone.now()
    places = Enrollment.objects.filter(removed_at=None).order_by("-pk").values_list("user_id", "course_id")
    stored = 0
    for user_id, course_id in places[:NEW_LEARNERS]:
        times = [now - timedelta(seconds=number * 36) for number in range(NEW_EVENTS_EACH)]
        stored += ingest_events(user_id=user_id, events=[_event(course_id, at) for at in times]).accepted
    for number, (user_id, course_id) in enumerate(places[NEW_LEARNERS : NEW_LEARNERS + LATE_EVENTS]):
        ingest_events(user_id=user_id, events=[_event(course_id, now - timedelta(days=number + 1))])
    return stored


def _event(course_id: uuid.UUID, at: datetime) -> msgspec.Raw:
    event = {"event_type": "message_sent", "event_time": at, "course_id": course_id, "payload": {"source": "bench"}}
    return msgspec.Raw(msgspec.json.encode(event))


class _Statements:
    """Notes how long each statement takes, by what it writes first."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            written = re.search(r"(INSERT INTO|CREATE TEMPORARY TABLE|DELETE FROM) \S+", sql)
            self.seconds[written[0] if written else " ".join(sql.split())[:60]].append(time.perf_counter() - began)

    def slowest(self) -> list[tuple[str, list[float]]]:
        return sorted(self.seconds.items(), key=lambda item: -sum(item[1]))[:SLOWEST_STATEMENTS]


# --- Pages --------------------------------------------------------------------------------------------------------


def viewers() -> list[tuple[str, User]]:
    """Whoever sees all courses with their learners' emails, and an instructor who sees pseudonyms in some."""
    shy = CourseInstructor.objects.filter(may_see_emails=False).order_by("pk")[0]
    return [("superuser", User.objects.get(email="bench@example.com")), ("instructor", shy.user)]


def list_targets(user: User) -> Iterator[Target]:
    """Each page of the insights, of the user's course with the most learners and of its busiest learner."""
    courses = access.limit_to_seen(user, Course.objects.all())
    course = CourseStanding.objects.filter(course__in=courses).latest("learners").course
    yield Target("first page", reverse("admin:index"))
    yield Target("search", f"{reverse('admin:search')}?{urlencode({'q': course.course_code})}")
    for query in ({}, {"q": course.title[:4]}, {"is_active__exact": 1}, {"o": "-6"}):
        yield Target(f"courses {urlencode(query)}".strip(), list_url(**query))
    for days in (30, 180):
        yield Target(f"course, {days} days", page_url("change", course.pk, days=days))
    busiest = LearnerDay.objects.filter(course=course).order_by("-events")[0]
    learner = LearnerStanding.objects.get(course=course, user=busiest.user_id)
    chapter = Chapter.objects.filter(course=course, is_active=True)[4]
    queries: list[dict[str, Any]] = [{}, {"p": 5}, {"q": pseudonym(busiest.user_id)[:10]}, {"q": "learner77"}]
    queries += [{"order": str(order)} for order in Order] + [{"show": str(group)} for group in Group]
    queries += [{"show": str(Group.STOPPED_IN), "chapter": str(chapter.pk)}]
    for query in queries:
        yield Target(f"learners {urlencode(query)}".strip()[:40], page_url("learners", course.pk, **query))
    yield Target("learner, 180 days", page_url("learner", course.pk, learner.pk, days=180))
    yield Target("learner, a day", page_url("day", course.pk, learner.pk, busiest.day.isoformat()))
    yield Target("export, the form", page_url("export", course.pk))


def show_all_pages(times: int, only: str) -> None:
    for name, user in viewers():
        print(f"\nAs {name}:\n")
        show_pages(user, [target for target in list_targets(user) if only in target.name], times)


# --- Plans --------------------------------------------------------------------------------------------------------

_READS: Final = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_LITERAL: Final = re.compile(r"'[^']*'|\b\d+\b")


def show_plans(only: str) -> None:
    """Print the plan of each statement by which a page reads; those that an earlier page has too are left out."""
    seen: set[str] = set()
    whole = 0
    for viewer, user in viewers():
        client = Client(headers={"host": "localhost"})
        client.force_login(user)
        for target in list_targets(user):
            if only not in target.name:
                continue
            with CaptureQueriesContext(connection) as captured:
                client.get(target.url)
            print(f"\n{viewer}: {target.name}, {len(captured)} queries")
            for statement in (query["sql"] for query in captured):
                shape = _LITERAL.sub("?", statement)
                if shape not in seen and _READS.match(statement):
                    seen.add(shape)
                    plan = explain(statement)
                    whole += len(plan.whole_partitions)
                    print(f"  {plan.milliseconds:6.1f} ms, {plan.blocks:6,} blocks: {plan.nodes}")
                    for partition in plan.whole_partitions:
                        print(f"    **reads the whole partition {partition}**")
    print(f"\n{len(seen)} statements. Partitions of events that were read whole: {whole}.")
    if whole:
        sys.exit(1)


# --- Exports ------------------------------------------------------------------------------------------------------


def show_exports(only: str) -> None:
    """Print how long it takes to export all events in each format, and the most memory that the command had."""
    print("| export | seconds | events/s | MiB | peak memory, MiB | |")
    print("|---|---:|---:|---:|---:|---|")
    names = [f"events{one.suffix}{gzip}" for one in Format for gzip in ("", ".gz") if not gzip or one.is_text]
    for name in names:
        if only in name:
            with tempfile.TemporaryDirectory() as folder:
                _show_export(Path(folder) / name)


def _show_export(path: Path) -> None:
    command = [sys.executable, "manage.py", "export_events", str(path), "--verbosity", "0"]
    environment = {
        **clean_environment(),
        "APP_ENV": "test",
        "DATABASE_URL": test_database_url(),
        "JWT_SECRET": settings.JWT_SECRET,
    }
    began, memory_mib = time.perf_counter(), 0.0
    process = subprocess.Popen(command, cwd=BASE_DIR, env=environment)
    while process.poll() is None:
        memory_mib = max(memory_mib, _peak_memory_mib(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    notes = f"**exit status {process.returncode}**" if process.returncode else ""
    if memory_mib > MEMORY_LIMIT_MIB:
        notes = f"{notes} **more than {MEMORY_LIMIT_MIB} MiB**".strip()
    size_mib = path.stat().st_size / 2**20 if path.exists() else 0
    print(
        f"| {path.name} | {seconds:.0f} | {estimate_rows(Selection()) / seconds:,.0f} | {size_mib:,.0f} "
        f"| {memory_mib:.0f} | {notes} |",
        flush=True,
    )


def _peak_memory_mib(pid: int) -> float:
    """Return the most memory that a running process had so far; 0 when it has ended.

    What the system reports of ended processes (`ru_maxrss`) begins with the memory of whoever started them.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
