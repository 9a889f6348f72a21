"""How long the admin's pages take on a big school's database: `python -m bench.admin make`, then `… pages`.

`make` makes a database of its own, beside that of DATABASE_URL or in the embedded cluster, which stays for any number
of runs; `drop` removes it. `pages` starts a server with two workers on it and fetches each page and list, with its
searches and filters, several times as a superuser; the first time warms the caches and doesn't count. On a machine with
neighbours at work the shortest time tells most.
"""

import argparse
import logging
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import DeviceSession, User
from bench.admin_database import Sizes, fill
from courses.models import Enrollment
from telemetry.models import ChapterProgress
from tests.live import running_server
from updates.models import BundleRelease, ReleaseEvent

WORKERS: Final = 2
LIMIT_MILLISECONDS: Final = 300
"""What a page may take."""


@dataclass(frozen=True, slots=True)
class Target:
    """A page to measure."""

    name: str
    url: str


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("do", choices=["make", "pages", "drop"])
    arguments.add_argument("--database", default="bench_admin", help="its name")
    arguments.add_argument("--scale", type=float, default=1.0, help="make: share of the whole size, 0.01 for a try")
    arguments.add_argument("--times", type=int, default=9, help="pages: how often each is fetched")
    arguments.add_argument("--only", default="", help="pages: those whose name holds this")
    options = arguments.parse_args()
    settings.CACHES["default"]["KEY_PREFIX"] = options.database  # counts in Redis apart from those of a real server
    if options.do == "pages":
        connection.settings_dict["NAME"] = options.database
        call_command("migrate", verbosity=0)
        boss = User.objects.get(email="bench@example.com")
        show_pages(boss, [target for target in list_targets(boss) if options.only in target.name], options.times)
    else:
        sizes = Sizes.at(options.scale)
        replace_database(options.database, partial(fill, sizes) if options.do == "make" else None)


def replace_database(name: str, make_rows: Callable[[], None] | None) -> None:
    """Remove the database if it is there; with something that makes its rows, make it anew."""
    before = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = name
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    if make_rows is None:
        connection.creation.destroy_test_db(before, verbosity=0)
        return
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        # The rows are known to fit: checking each key again would take most of the time.
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() == (True,):
            cursor.execute("SET session_replication_role = replica")
        make_rows()
        cursor.execute("VACUUM ANALYZE")


# --- Measuring ----------------------------------------------------------------------------------------------------


def show_pages(user: User, targets: Iterable[Target], times: int) -> None:
    """Print a table of the pages: how long each takes, from the request to the last byte, and its queries."""
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    cookies = {name: cookie.value for name, cookie in client.cookies.items()}
    settings.ALLOWED_HOSTS = ["*"]
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request otherwise
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with (
            running_server(log, WEB_CONCURRENCY=str(WORKERS)) as base_url,
            httpx.Client(base_url=base_url, cookies=cookies, timeout=120) as http,
        ):
            print("| page | shortest, ms | median, ms | longest, ms | queries | KiB | |")
            print("|---|---:|---:|---:|---:|---:|---|")
            for target in targets:
                _print_row(target, http, times, _count_queries(client, target))


def _print_row(target: Target, http: httpx.Client, times: int, queries: int) -> None:
    measured = []
    for _ in range(times + WORKERS):  # as likely as not, each worker has been warmed
        began = time.perf_counter()
        response = http.get(target.url)
        measured.append(1_000 * (time.perf_counter() - began))
    measured = measured[WORKERS:]
    slow = "**slow**" if statistics.median(measured) > LIMIT_MILLISECONDS else ""
    notes = slow if response.status_code == 200 else f"**{response.status_code}**"
    print(
        f"| {target.name} | {min(measured):.0f} | {statistics.median(measured):.0f} | {max(measured):.0f} | {queries} "
        f"| {len(response.content) / 1024:.0f} | {notes} |",
        flush=True,
    )


def _count_queries(client: Client, target: Target) -> int:
    with CaptureQueriesContext(connection) as captured:
        client.get(target.url)
    return len(captured)


# --- What is measured ---------------------------------------------------------------------------------------------


def list_targets(boss: User) -> Iterator[Target]:
    """The first page, the search, each list with its searches and filters, a page of each kind, the choice fields."""
    yield Target("first page", reverse("admin:index"))
    for text in ("soc", "statistics part", "expert_7", "learner777", "chen wang", "1.49", "zzz"):
        yield Target(f"search {text}", f"{reverse('admin:search')}?{urlencode({'q': text})}")
    yield from _releases()
    yield from _teaching()
    yield from _people(boss)


def _releases() -> Iterator[Target]:
    release = BundleRelease.objects.filter(bundle_type="chapter", state="published").latest("published_at")
    app = BundleRelease.objects.filter(bundle_type="app_agents").latest("created_at")
    yield from _list(
        "updates_bundlerelease",
        [
            "",
            "q=expert_7",
            "q=1.777.0",
            "q=soc",
            "state__exact=draft",
            "state__exact=published",
            "bundle_type__exact=chapter",
            "p=100",
        ],
    )
    yield from _list("updates_releaseevent", ["", "q=expert_7", "action__exact=published", "p=100"])
    yield from _list("updates_apitoken", [""])
    for one in (release, app):
        yield from _pages("updates_bundlerelease", one.pk, f"of {one.bundle_type}")
        scope = reverse("admin:updates_scope", args=[one.bundle_type, one.scope_id])
        yield Target(f"scope of {one.bundle_type}", scope)
        yield Target(f"scope of {one.bundle_type}, history", f"{scope}?tab=history")
    yield Target("release: upload", reverse("admin:updates_bundlerelease_add"))
    event = ReleaseEvent.objects.latest("pk")
    yield Target("audit entry", reverse("admin:updates_releaseevent_change", args=[event.pk]))


def _teaching() -> Iterator[Target]:
    big = Enrollment.objects.earliest("pk").course
    enrollment = Enrollment.objects.latest("pk")
    progress = ChapterProgress.objects.latest("pk")
    yield from _list("courses_course", ["", "q=soc", "q=statistics", "is_active__exact=1", "progression__exact=open"])
    yield from _list("courses_enrollment", ["", "q=learner777", "p=100", f"course__id__exact={big.pk}"])
    yield from _list("telemetry_chapterprogress", ["", "q=learner777", "status__exact=20", "p=100"])
    yield from _pages("courses_course", big.pk, "with most learners")
    yield Target("course with most learners, copy", reverse("admin:courses_course_copy", args=[big.pk]))
    yield from _pages("courses_enrollment", enrollment.pk)
    yield from _pages("telemetry_chapterprogress", progress.pk)
    for model, field, text in (
        ("courses.enrollment", "course", "soc"),
        ("courses.enrollment", "user", "learner77"),
        ("updates.bundlerelease", "chapter", "ch1"),
    ):
        app_label, model_name = model.split(".")
        query = {"app_label": app_label, "model_name": model_name, "field_name": field, "term": text}
        yield Target(f"choices of {model}.{field}", f"{reverse('admin:autocomplete')}?{urlencode(query)}")


def _people(boss: User) -> Iterator[Target]:
    learner = User.objects.exclude(pk=boss.pk).latest("created_at")
    session = DeviceSession.objects.latest("created_at")
    yield from _list(
        "accounts_user",
        [
            "",
            "q=learner777",
            "q=chen+wang",
            "q=learner777777@uni.example",
            "is_staff__exact=1",
            "is_active__exact=0",
            "p=100",
        ],
    )
    yield from _list("accounts_devicesession", ["", "q=device-777", "q=learner777", "p=100"])
    yield from _pages("accounts_user", learner.pk)
    yield from _pages("accounts_devicesession", session.pk)
    yield from _list("auth_group", [""])


def _list(model: str, queries: Iterable[str]) -> Iterator[Target]:
    for query in queries:
        yield Target(f"{model} {query}".strip(), f"{reverse(f'admin:{model}_changelist')}?{query}")


def _pages(model: str, pk: uuid.UUID | int, note: str = "") -> Iterator[Target]:
    for page in ("change", "history"):
        yield Target(f"{model} {page} {note}".strip(), reverse(f"admin:{model}_{page}", args=[pk]))


if __name__ == "__main__":
    main()
