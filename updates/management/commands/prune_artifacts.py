"""`manage.py prune_artifacts`: remove what broken uploads and deleted drafts have left in the artifact store."""

from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from config import limits
from config.terminal import HelpFormatter, printable
from updates.management import terminal
from updates.services.pruning import Outcome, Verdict, prune_artifacts, prune_unfinished_uploads

_GRACE_HOURS_MAX: Final = 10 * 366 * 24
_HELP: Final = """\
Remove objects below OSS_BUNDLE_PREFIX that no release names, and what uploads that never ended have left.

Each object without a release is listed. It stays while it is younger than the grace time, or an upload of its version
goes on. Run it daily; several machines may run it at once. Where two deployments share a bucket, each needs its own
OSS_BUNDLE_PREFIX: what the other one's releases name has no release here."""


class Command(BaseCommand):
    help = _HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--grace-hours",
            type=_hours,
            default=limits.PRUNE_GRACE_HOURS,
            metavar="N",
            help="how old an object without a release has to be; default: %(default)s",
        )
        parser.add_argument("--dry-run", action="store_true", help="only list; unfinished uploads stay as well")
        parser.add_argument(
            "--allow-empty-database",
            action="store_true",
            help="remove objects even though the database names none at all",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        grace = timedelta(hours=options["grace_hours"])
        is_dry_run = options["dry_run"]
        with terminal.telling_errors():
            verdicts = prune_artifacts(
                grace=grace, is_dry_run=is_dry_run, allows_empty_database=options["allow_empty_database"]
            )
            left = self._report(verdicts, lists=options["verbosity"] > 0)
            if left and not is_dry_run:
                raise CommandError(
                    "Nothing was removed: the database names no object at all. Is DATABASE_URL the right one? "
                    "If it is, use --allow-empty-database."
                )
            if not is_dry_run:
                self._prune_unfinished(grace)

    def _report(self, verdicts: Iterable[Verdict], *, lists: bool) -> int:
        """Tell of each object without a release, and the totals, also of a run that breaks off.

        Returns:
            The number of objects that could be removed and were not.
        """
        counts, sizes = Counter[Outcome](), Counter[Outcome]()
        try:
            for verdict in verdicts:
                counts[verdict.outcome] += 1
                sizes[verdict.outcome] += verdict.artifact.size_bytes
                if lists and verdict.outcome is not Outcome.NAMED:
                    self.stdout.write(_line(verdict))
        finally:
            for line in _totals(counts, sizes):
                self.stdout.write(line)
        return counts[Outcome.UNNAMED]

    def _prune_unfinished(self, grace: timedelta) -> None:
        count = prune_unfinished_uploads(grace=grace)
        self.stdout.write(f"{count:,} unfinished uploads were given up.")


def _totals(counts: Counter[Outcome], sizes: Counter[Outcome]) -> Iterator[str]:
    unnamed = counts.total() - counts[Outcome.NAMED]
    yield f"{counts.total():,} objects, {unnamed:,} without a release."
    for outcome in counts:
        if outcome is not Outcome.NAMED:
            yield f"  {outcome}: {counts[outcome]:,} ({sizes[outcome]:,} bytes)"


def _hours(text: str) -> int:
    try:
        hours = int(text)
    except ValueError:
        hours = -1
    if not 0 <= hours <= _GRACE_HOURS_MAX:
        raise ArgumentTypeError(f"{text!r} is not a number of hours from 0 to {_GRACE_HOURS_MAX}.")
    return hours


def _line(verdict: Verdict) -> str:
    artifact = verdict.artifact
    size, since = f"{artifact.size_bytes:,} bytes", terminal.utc(artifact.modified_at)
    return f"{printable(artifact.key)}  {size}  {since}  {verdict.outcome}"
