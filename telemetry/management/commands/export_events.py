"""`manage.py export_events`: events as a file, for research and for other systems."""

import os
import re
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat

from config.signals import ended_by_sigterm
from config.terminal import HelpFormatter, Progress, errors_told, printable
from courses.models import Course
from courses.selectors import canonical_uuid
from telemetry.exports import Export, Format, Selection, estimate_rows, stream

_STDOUT: Final = "-"
_READER_LEFT: Final = 141
"""Exit status when whoever reads a pipe has left, as shells have it: 128 + SIGPIPE."""
_GZIP_SUFFIX: Final = ".gz"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d))?")
_TYPES_TOLD: Final = 10
_NO_HOME: Final = (
    "The ids of these statements lie at http://localhost, since neither XAPI_BASE_URL nor PUBLIC_BASE_URL is set:"
    " statements of other servers would have the same. Set XAPI_BASE_URL before they go to a learning record store."
)

_HELP: Final = """\
Write analytics events to a file, in order of their time.

Learners are pseudonyms, and the ids of events and sessions are hashed, unless --identify says otherwise. What clients
say freely stays: `payload` (unless --without-payload), `event_type` and `chapter_id`. Whoever has the file should be
somebody who may know what is in there.

The format follows from the file's name: .ndjson, .csv, .parquet, .xapi.ndjson; .gz after it compresses a text format.
The file appears when it is whole, readable by its owner only. docs/exports.md describes all formats."""


class Command(BaseCommand):
    help = _HELP
    # The checks load all URLs, and the memory of everything behind them.
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("output", metavar="FILE", help="where to write; - for the standard output")
        parser.add_argument("--format", choices=[str(one) for one in Format], help="default: by the file's name")
        parser.add_argument(
            "--course", action="append", metavar="CODE|ID", help="only events of this course; may be repeated"
        )
        parser.add_argument("--type", action="append", metavar="TYPE", help="only events of this type; may be repeated")
        parser.add_argument(
            "--since",
            type=_moment,
            metavar="TIME",
            help="only events at this time or later: 2026-03-01 (UTC), or 2026-03-01T08:00:00+08:00",
        )
        parser.add_argument("--until", type=_moment, metavar="TIME", help="only events before this time")
        parser.add_argument(
            "--identify",
            action="store_true",
            help="with each learner's email and user id, and the ids of events and sessions unhashed",
        )
        parser.add_argument("--without-payload", action="store_true", help="leave out what clients say freely")
        parser.add_argument("--force", action="store_true", help="overwrite the file if there is one")

    def handle(self, *args: Any, **options: Any) -> None:
        """Export. Raises CommandError for what a person can mend; no file is left then."""
        with _telling_errors(options["output"]):
            chosen, gzip = _format(options["output"], options["format"])
            selection = _selection(options)
            export = stream(
                chosen,
                selection,
                identify=options["identify"],
                with_payload=not options["without_payload"],
                gzip=gzip,
            )
            with closing(export):
                self._write(export, selection, options)
            self._report(export, options)
            if chosen is Format.XAPI and urlsplit(settings.XAPI_BASE_URL).hostname == "localhost":
                self.stderr.write(_NO_HOME, self.style.WARNING)

    def _write(self, export: Export, selection: Selection, options: dict[str, Any]) -> None:
        to_stdout = options["output"] == _STDOUT
        # Lines about progress belong into no output; a bar is shown beside it.
        verbosity = 0 if to_stdout and not self.stderr.isatty() else options["verbosity"]
        with (
            _stdout() if to_stdout else _new_file(Path(options["output"]), overwrites=options["force"]) as file,
            Progress(self, verbosity).counting("Exporting", estimate_rows(selection), "events") as advance,
        ):
            told = 0
            for part in export:
                file.write(part)
                advance(export.rows - told)
                told = export.rows

    def _report(self, export: Export, options: dict[str, Any]) -> None:
        """Tell what was written: beside the output, where that is the standard one."""
        if not options["verbosity"]:
            return
        output = options["output"]
        say = (lambda line: self.stderr.write(line, str)) if output == _STDOUT else self.stdout.write
        left_out = export.left_out.total()
        place = "" if output == _STDOUT else f" to {printable(output)}, {_size(Path(output))}"
        say(f"Exported {export.rows - left_out:,} events{place}.")
        if left_out:
            told = export.left_out.most_common(_TYPES_TOLD)
            others = len(export.left_out) - len(told)
            names = ", ".join([f"{reason} ({count:,})" for reason, count in told])
            more = f", and {others:,} other types" if others else ""
            say(f"Left out {left_out:,} events, which no verb of xAPI is known for: {names}{more}.")


# --- Options ------------------------------------------------------------------------------------------------------


def _format(output: str, named: str | None) -> tuple[Format, bool]:
    """Return the format, and whether the file is to be compressed."""
    name = output.lower()
    gzip = name.endswith(_GZIP_SUFFIX)
    stem = name.removesuffix(_GZIP_SUFFIX)
    fitting = [one for one in Format if stem.endswith(one.suffix)]
    if not named and not fitting:
        suffixes = ", ".join(one.suffix for one in Format)
        raise CommandError(f"Say which --format, or give the file a name that ends in one of: {suffixes}.")
    chosen = Format(named) if named else max(fitting, key=lambda one: len(one.suffix))
    if gzip and not chosen.is_text:
        raise CommandError("Parquet is compressed by itself: give the file a name without .gz.")
    return chosen, gzip


def _selection(options: dict[str, Any]) -> Selection:
    since, until = options["since"], options["until"]
    if since and until and since >= until:
        raise CommandError("--since must be before --until.")
    courses, types = options["course"], options["type"]
    return Selection(
        course_ids=frozenset(map(_course_id, courses)) if courses else None,
        event_types=frozenset(types) if types else None,
        since=since,
        until=until,
    )


def _course_id(text: str) -> UUID:
    course_id = canonical_uuid(text)
    courses = Course.objects.filter(pk=course_id) if course_id else Course.objects.filter(course_code__iexact=text)
    found = courses.values_list("pk", flat=True).first()
    if found is None:
        raise CommandError(f"There is no course {printable(text)!r}.")
    return found


def _moment(text: str) -> datetime:
    """Read a date, which is its first moment in UTC, or a time of RFC 3339."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        reason = f"{text!r} is neither a date such as 2026-03-01 nor a time such as 2026-03-01T08:00:00Z."
        raise ArgumentTypeError(reason) from None


# --- Output -------------------------------------------------------------------------------------------------------


@contextmanager
def _stdout() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError:
        # Python would try once more at its end, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise


@contextmanager
def _new_file(path: Path, *, overwrites: bool) -> Iterator[IO[bytes]]:
    """Give a file beside the path, which takes that name when everything went well, and goes otherwise."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise CommandError(f"{printable(str(path))} is no file that could be written.")
    if path.exists() and not overwrites:
        raise _exists(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrites:
            os.replace(name, path)
        else:
            _rename_new(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _rename_new(name: str, path: Path) -> None:
    """Rename, but for the case that the path has come into being meanwhile."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise _exists(path) from None
        os.rename(name, path)


def _exists(path: Path) -> CommandError:
    return CommandError(f"{printable(str(path))} exists; --force overwrites it.")


def _size(path: Path) -> str:
    return filesizeformat(path.stat().st_size).replace("\N{NO-BREAK SPACE}", " ")


@contextmanager
def _telling_errors(output: str) -> Iterator[None]:
    try:
        with ended_by_sigterm(), errors_told("Stopped. No file was written."):
            yield
    except BrokenPipeError as error:
        raise CommandError("Whoever read the output has left.", returncode=_READER_LEFT) from error
    except OSError as error:
        place = "the standard output" if output == _STDOUT else printable(output)
        raise CommandError(f"Can't write {place}: {error.strerror or error}.") from error
