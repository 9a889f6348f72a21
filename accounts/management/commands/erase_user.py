"""`manage.py erase_user`: everything that is kept of a person goes."""

import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.erasure import Erasure, find_subject
from accounts.management.personal_data import BEYOND_REACH, person, table, telling_errors
from accounts.management.reports import ReportFile, report_file
from config.personal_data import ERASED
from config.signals import undisturbed
from config.terminal import HelpFormatter, Progress, printable

_INTERRUPTED = "Stopped. What is not erased yet stays, and the account is shut out: run the command again to finish."


class Command(BaseCommand):
    help = (
        "Erase a person from everything that is kept (GDPR, article 17): account, devices, enrolments, progress and\n"
        "events.\n"
        "\n"
        "It shows what there is and asks first. The account is shut out before anything goes, and goes last; a run\n"
        "that is interrupted is finished by another one. The audit of what staff did has to stay; the person is taken\n"
        f'out of it, and "{ERASED}" stands there. An email without an account is looked for there as well.'
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("person", type=person, metavar="EMAIL_OR_ID", help="the account's email or id")
        parser.add_argument("--dry-run", action="store_true", help="only show what would be erased")
        parser.add_argument("--yes", action="store_true", help="don't ask")
        parser.add_argument("--staff", action="store_true", help="also an account of the staff")
        parser.add_argument(
            "--report",
            type=Path,
            metavar="FILE",
            help="write what was found and done as JSON, without the email",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with telling_errors("Stopped. Nothing was erased."), report_file(options["report"]) as file:
            self._erase(**{**options, "report": file})

    def _erase(
        self, *, person: str, dry_run: bool, yes: bool, staff: bool, report: ReportFile | None, verbosity: int, **_: Any
    ) -> None:
        erasure = Erasure(find_subject(named=person), may_be_staff=staff)
        erasure.look()
        began = timezone.now()
        self._show(erasure, person)
        if dry_run:
            self.stdout.write("Nothing was erased: this is a dry run.")
        if dry_run or erasure.is_empty:
            is_reported = self._write_report(report, erasure, began, is_dry=dry_run)
        else:
            if not yes:
                self._confirm(erasure.subject.email or person)
            with telling_errors(_INTERRUPTED):
                try:
                    erasure.run(Progress(self, verbosity))
                finally:
                    with undisturbed():
                        is_reported = self._write_report(report, erasure, began, is_dry=False)
                        self._tell(erasure)
        if not is_reported:
            raise CommandError("The report stands above, and in no file.")

    def _show(self, erasure: Erasure, typed: str) -> None:
        who = printable(erasure.subject.email or typed)
        if erasure.is_empty:
            self.stdout.write(f"Nothing is kept of {who}: there is no such account, and no other table names it.")
            return
        account = f"the account {erasure.subject.user_id}" if erasure.found["account"] else "no account any more"
        self.stdout.write(f"{who} ({account}):")
        for line in table(erasure.holdings, found=erasure.found):
            self.stdout.write(line)
        for holding in erasure.holdings:
            if holding.stays and erasure.found[holding.name]:
                self.stdout.write(f"{holding.title}: {holding.upon_erasure}")

    def _confirm(self, email: str) -> None:
        self.stdout.write("This can't be undone.")
        self.stdout.flush()
        answer = None
        try:
            answer = input(f"Type {printable(email)} to erase it: ")
        except EOFError as error:
            raise CommandError("Nobody answered, and nothing was erased. With --yes it doesn't ask.") from error
        finally:
            if answer is None or not sys.stdin.isatty():
                self.stdout.write("")  # nobody ended the question's line
        if answer.strip().lower() != email.lower():
            raise CommandError("That is another name. Nothing was erased.")

    def _tell(self, erasure: Erasure) -> None:
        # An erasure that was interrupted has not counted what is left.
        left = {"left": erasure.left} if erasure.is_complete or erasure.left else {}
        for line in table(erasure.holdings, found=erasure.found, erased=erasure.erased, **left):
            self.stdout.write(line)
        if erasure.is_complete:
            self.stdout.write(self.style.SUCCESS(f"Erased. In the report the person is {erasure.subject.pseudonym}."))
        elif erasure.left.total():
            self.stdout.write(self.style.WARNING("Something came in meanwhile: run the command again."))

    def _write_report(self, file: ReportFile | None, erasure: Erasure, began: datetime, *, is_dry: bool) -> bool:
        """Write the report whole, or else print it: what it proves is done, and can't be done again for it."""
        if file is None:
            return True
        text = json.dumps(_report(erasure, began, is_dry=is_dry), indent=2)
        try:
            file.write(f"{text}\n")
        except OSError as error:
            self.stdout.write(text)
            self.stderr.write(f"{file.path}: {error.strerror or error}")
            return False
        return True


def _report(erasure: Erasure, began: datetime, *, is_dry: bool) -> dict[str, Any]:
    return {
        "act": "dry run of an erasure" if is_dry else "erasure",
        "person": erasure.subject.pseudonym,
        "began_at": began.isoformat(),
        "ended_at": timezone.now().isoformat(),
        "complete": erasure.is_empty or erasure.is_complete,
        "holdings": [
            {
                "name": holding.name,
                "title": holding.title,
                "tables": list(holding.tables),
                "found": erasure.found[holding.name],
                "erased": erasure.erased[holding.name],
                "left": erasure.left[holding.name] if erasure.is_complete or erasure.left else None,
                "upon_erasure": holding.upon_erasure,
            }
            for holding in erasure.holdings
        ],
        "beyond_reach": list(BEYOND_REACH),
    }
