"""`manage.py export_user_data`: a copy of everything that is kept of a person."""

import sys
from argparse import ArgumentParser
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.erasure import find_subject
from accounts.management.personal_data import person, table, telling_errors
from config.personal_data import get_holdings
from config.personal_data_export import Export, Folder, archive, archive_to, directory
from config.terminal import HelpFormatter, Progress, printable

_STDOUT = "-"


class Command(BaseCommand):
    help = (
        "Write a copy of everything that is kept of a person (GDPR, articles 15 and 20): a JSON file for each kind of\n"
        "data, README.txt and report.json that say what each is, why it is kept and for how long.\n"
        "\n"
        "It is written whole or not at all, and only its owner can read it. Secrets are left out, and what would name\n"
        "other people."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("person", type=person, metavar="EMAIL_OR_ID", help="the account's email or id")
        parser.add_argument(
            "--output",
            required=True,
            metavar="FILE.zip|FOLDER|-",
            help="where to; `-` is a ZIP file on the standard output, and the report goes to the standard error",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with telling_errors("Stopped. Nothing was written."):
            self._export(**options)

    def _export(self, *, person: str, output: str, verbosity: int, **_: Any) -> None:
        subject = find_subject(named=person)
        export = Export(subject, get_holdings())
        if not any(holding.count(subject) for holding in export.holdings):
            raise CommandError(f"Nothing is kept of {printable(person)}: there is no such account.")
        # With the archive on the standard output, a line of progress would be a part of it.
        progress = Progress(self, 0 if output == _STDOUT and not self.stderr.isatty() else verbosity)
        with self._folder(output) as folder:
            export.write(folder, progress)
        said = self.stderr if output == _STDOUT else self.stdout
        said.write(f"{printable(subject.email or person)}:")
        for line in table(export.holdings, rows=export.rows):
            said.write(line)
        if output != _STDOUT:
            said.write(f"Written to {output}.")

    def _folder(self, output: str) -> AbstractContextManager[Folder]:
        if output == _STDOUT:
            if sys.stdout.isatty():
                raise CommandError("A ZIP file would garble the terminal: redirect it, or name a file.")
            return archive_to(sys.stdout.buffer)
        return archive(Path(output)) if output.lower().endswith(".zip") else directory(Path(output))
