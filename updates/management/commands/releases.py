"""`manage.py releases`: list releases; publish, reschedule, widen, withdraw, verify and delete them from the shell."""

import json
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import prefetch_related_objects
from django.template.defaultfilters import filesizeformat

from config import limits
from config.errors import ApiError
from config.terminal import HelpFormatter, printable
from courses.selectors import canonical_uuid
from updates.management import terminal
from updates.models import BundleRelease, BundleType, ReleaseEvent
from updates.principals import Principal, command
from updates.selectors import find_release, list_releases
from updates.services.drafts import delete_draft
from updates.services.publication import (
    Act,
    Terms,
    publish_releases,
    reschedule_releases,
    widen_rollout,
    withdraw_releases,
)
from updates.services.verification import verify_release

State = BundleRelease.State

_DEFAULT_LIMIT: Final = 50
_SHORT_ID_CHARACTERS: Final = 8
_SHORT_ID: Final = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}", re.IGNORECASE)
_BY_CHARACTERS: Final = 28
_HEADINGS: Final = ("STATE", "RELEASE", "ROLLOUT", "SIZE", "FROM (UTC)", "MANDATORY", "PUBLISHED BY", "ID")
_RIGHT: Final = ("ROLLOUT", "SIZE")
_HELP: Final = """\
List releases, the newest first; or act on some: publish, reschedule, widen, withdraw, verify, delete.

An ID is a release's id, its first 8 characters, or TYPE/SCOPE@VERSION as the list shows it, such as
experts/data_inspector@1.2.0 or chapter/SOC101/ch1_intro@1.0.0. What is published in one act is rescheduled,
widened and withdrawn together."""


class Command(BaseCommand):
    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--type", dest="bundle_type", choices=BundleType.values)
        parser.add_argument("--scope", help="as in publish_bundle; with --type only")
        parser.add_argument("--state", choices=State.values)
        parser.add_argument("--limit", type=int, default=_DEFAULT_LIMIT, help="default: %(default)s")
        parser.add_argument("--json", action="store_true", dest="as_json", help="a JSON object for each release")
        acts = parser.add_subparsers(dest="act", metavar="ACT")
        self._add_publish(acts)
        self._add_reschedule(acts)
        self._add_others(acts)

    def _add_publish(self, acts: Any) -> None:
        publish = acts.add_parser("publish", help="publish drafts or withdrawn releases in one act")
        publish.add_argument("references", nargs="+", metavar="ID")
        publish.add_argument(
            "--rollout",
            type=terminal.percent,
            dest="rollout_basis_points",
            metavar="PERCENT",
            help="for all of them; default: their own",
        )
        publish.add_argument(
            "--at",
            type=terminal.moment,
            dest="publish_at",
            metavar="TIME",
            help="for all of them, with its offset: 2026-12-01T06:00:00+08:00; default: their own",
        )

    def _add_reschedule(self, acts: Any) -> None:
        reschedule = acts.add_parser("reschedule", help="move the time of scheduled releases")
        reschedule.add_argument("references", nargs="+", metavar="ID")
        time = reschedule.add_mutually_exclusive_group(required=True)
        time.add_argument(
            "--at",
            type=terminal.moment,
            dest="publish_at",
            metavar="TIME",
            help="a time to come, with its offset: 2026-12-01T06:00:00+08:00",
        )
        time.add_argument("--now", action="store_true", help="offer them at once")

    def _add_others(self, acts: Any) -> None:
        widen = acts.add_parser("widen", help="offer published releases to more devices")
        widen.add_argument("references", nargs="+", metavar="ID")
        widen.add_argument(
            "--rollout", type=terminal.percent, dest="rollout_basis_points", metavar="PERCENT", required=True
        )
        withdraw = acts.add_parser("withdraw", help="take published releases back: devices get the ones before")
        withdraw.add_argument("references", nargs="+", metavar="ID")
        withdraw.add_argument("--alone", action="store_true", help="without those that were published with them")
        verify = acts.add_parser("verify", help="fetch the bytes from where they lie, and check them")
        verify.add_argument("references", nargs="+", metavar="ID")
        delete = acts.add_parser("delete", help="delete drafts that were never published, and their bytes")
        delete.add_argument("references", nargs="+", metavar="ID")

    def handle(self, *args: Any, **options: Any) -> None:
        principal = command("releases")
        with terminal.telling_errors():
            if options["act"] is None:
                self._list(principal, options)
                return
            releases = list({r.pk: r for r in map(_find, options["references"])}.values())
            if options["act"] == "verify":
                self._verify(releases, principal, options["verbosity"])
            elif options["act"] == "delete":
                self._delete(releases, principal)
            else:
                self._report(_act(releases, principal, options))

    def _report(self, act: Act) -> None:
        for release in act.releases:
            self.stdout.write(self.style.SUCCESS(terminal.sentence(release)))
        terminal.warn(self, act.notices)

    def _verify(self, releases: Sequence[BundleRelease], principal: Principal, verbosity: int) -> None:

        def verify(release: BundleRelease) -> str:
            if verbosity > 0:
                self.stdout.write(f"Verifying {terminal.name_of(release)} ...")
                self.stdout.flush()
            verify_release(release=release, principal=principal)
            return f"is right: {release.size_bytes:,} bytes."

        self._one_by_one(releases, verify, "verified")

    def _delete(self, releases: Sequence[BundleRelease], principal: Principal) -> None:
        def delete(release: BundleRelease) -> str:
            delete_draft(release=release, principal=principal)
            return "is deleted."

        self._one_by_one(releases, delete, "deleted")

    def _one_by_one(
        self, releases: Sequence[BundleRelease], act: Callable[[BundleRelease], str], participle: str
    ) -> None:
        """Do it to each one, also when one before it failed; the act returns what holds for the release then."""
        failed = 0
        for release in releases:
            name = terminal.name_of(release)
            try:
                outcome = act(release)
            except ApiError as error:
                failed += 1
                self.stderr.write(f"{name}: {terminal.lines_of(error)}")
            else:
                self.stdout.write(self.style.SUCCESS(f"{name} {outcome}"))
        if failed:
            raise CommandError(f"{failed} of {len(releases)} could not be {participle}.")

    def _list(self, principal: Principal, options: Mapping[str, Any]) -> None:
        releases, total = _read(principal, options)
        prefetch_related_objects(releases, "chapter__course")
        publishers = _publishers(releases)
        if options["as_json"]:
            self._print(json.dumps(_facts(release, publishers.get(release.pk))) for release in releases)
        else:
            self._print(_table([_HEADINGS, *(_row(r, publishers.get(r.pk, "-")) for r in releases)]))
        if len(releases) < total:
            self.stderr.write(f"{len(releases)} of {total}; --limit shows more.")

    def _print(self, lines: Iterable[str]) -> None:
        try:
            for line in lines:
                self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # Whoever reads (head, less) has seen enough. Python would complain once more when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _act(releases: Sequence[BundleRelease], principal: Principal, options: Mapping[str, Any]) -> Act:
    if options["act"] == "publish":
        terms = Terms(options["rollout_basis_points"], options["publish_at"])
        return publish_releases(releases=releases, principal=principal, terms=terms)
    if options["act"] == "reschedule":
        return reschedule_releases(releases=releases, principal=principal, publish_at=options["publish_at"])
    if options["act"] == "widen":
        rollout = options["rollout_basis_points"]
        return widen_rollout(releases=releases, principal=principal, rollout_basis_points=rollout)
    return withdraw_releases(releases=releases, principal=principal, together=not options["alone"])


def _find(reference: str) -> BundleRelease:
    """Return the release that somebody typed a name of.

    Raises:
        CommandError: there is none, or more than one.
    """
    if release_id := canonical_uuid(reference):
        found = list(BundleRelease.objects.filter(pk=release_id))
    elif _SHORT_ID.fullmatch(reference):
        found = list(BundleRelease.objects.filter(pk__startswith=reference.lower())[:2])
    else:
        found = _find_named(reference)
    if len(found) != 1:
        raise CommandError(f"{'More than one' if found else 'No'} release is called {reference!r}.")
    return found[0]


def _find_named(reference: str) -> list[BundleRelease]:
    bundle_type, _, rest = reference.partition("/")
    scope, _, version = rest.rpartition("@")
    if bundle_type not in BundleType.values or not scope:
        raise CommandError(f"{reference!r} is neither an id, nor its first 8 characters, nor TYPE/SCOPE@VERSION.")
    scope_id = terminal.resolve_scope(bundle_type, scope)
    release = find_release(bundle_type=bundle_type, scope_id=scope_id, version=version)
    return [release] if release else []


# --- The list -----------------------------------------------------------------------------------------------------


def _read(principal: Principal, options: Mapping[str, Any]) -> tuple[list[BundleRelease], int]:
    """Return the releases that are wanted, and how many there are in all."""
    bundle_type, scope, limit = options["bundle_type"], options["scope"], options["limit"]
    if limit < 1:
        raise CommandError("--limit must be at least 1.")
    if scope and not bundle_type:
        raise CommandError("--scope needs --type.")
    wanted = {
        "bundle_type": bundle_type or "",
        "scope_id": terminal.resolve_scope(bundle_type, scope) if scope else "",
        "state": options["state"] or "",
    }
    found: list[BundleRelease] = []
    while True:
        size = min(limit - len(found), limits.BUNDLES_PER_PAGE_MAX)
        page, total = list_releases(principal=principal, **wanted, limit=size, offset=len(found))
        found += page
        if len(page) < size or len(found) >= limit:
            return found, total


def _publishers(releases: Sequence[BundleRelease]) -> dict[UUID, str]:
    """Return who published each one last."""
    events = ReleaseEvent.objects.filter(release__in=releases, action=ReleaseEvent.Action.PUBLISHED, refusal="")
    last = events.order_by("release_id", "-pk").distinct("release_id")
    return dict(last.values_list("release_id", "actor_name"))


def _row(release: BundleRelease, publisher: str) -> tuple[str, ...]:
    return (
        "scheduled" if release.is_scheduled else release.state,
        f"{terminal.scope_name(release)}@{release.version}",
        terminal.share(release.rollout_basis_points),
        filesizeformat(release.size_bytes).replace("\N{NO-BREAK SPACE}", " "),
        _offered_from(release),
        "yes" if release.is_mandatory else "no",
        _shortened(printable(publisher.removeprefix("manage.py "))),
        str(release.pk)[:_SHORT_ID_CHARACTERS],
    )


def _offered_from(release: BundleRelease) -> str:
    times = [time for time in (release.published_at, release.publish_at) if time]
    return max(times).astimezone(UTC).strftime("%Y-%m-%d %H:%M") if times else "-"


def _shortened(name: str) -> str:
    return name if len(name) <= _BY_CHARACTERS else f"{name[: _BY_CHARACTERS - 1]}…"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _facts(release: BundleRelease, publisher: str | None) -> dict[str, Any]:
    times = ("publish_at", "published_at", "first_published_at", "withdrawn_at", "verified_at", "created_at")
    names = (
        "bundle_type",
        "scope_id",
        "version",
        "state",
        "sha256",
        "size_bytes",
        "is_mandatory",
        "min_desktop_version",
        "min_sidecar_version",
        "strict_versions",
        "required_experts",
        "artifact_key",
        "external_url",
    )
    return {
        "id": str(release.pk),
        **{name: getattr(release, name) for name in names},
        "rollout_percent": release.rollout_basis_points / 100,
        **{name: time and time.isoformat() for name in times for time in [getattr(release, name)]},
        "published_by": publisher,
    }
