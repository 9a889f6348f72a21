"""What the commands on releases share: how options are read, errors told, and progress shown."""

import io
import logging
import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, Final, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.template.defaultfilters import filesizeformat
from tqdm import tqdm

from config.errors import ApiError
from courses.models import Chapter, Course
from courses.selectors import canonical_uuid
from updates.bundles.base import BundleError
from updates.models import BundleRelease, BundleType, chapter_scope_id

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""
_PERCENT: Final = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?\s*%?")
_UNDEFINED_TABLE: Final = "42P01"


# --- Options ------------------------------------------------------------------------------------------------------


def percent(text: str) -> int:
    """Read a percentage with at most two decimals; return basis points."""
    match = _PERCENT.fullmatch(text.strip())
    basis_points = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else -1
    if not 0 <= basis_points <= 10_000:
        raise ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100 with at most two decimals.")
    return basis_points


def moment(text: str) -> datetime:
    """Read an ISO 8601 time with its offset: on a server it is rarely the zone that the author has in mind."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-12-01T06:00:00+08:00.") from None
    if time.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} needs an offset, such as {text.strip()}+08:00, or Z for UTC.")
    return time.astimezone(UTC)


def resolve_scope(bundle_type: str, scope: str) -> str:
    """Return the scope as releases have it; a chapter may be named by its course's code, and without case.

    Raises:
        CommandError: there is no such course or chapter.
    """
    if bundle_type != BundleType.CHAPTER:
        return scope
    course_ref, _, chapter_code = scope.partition("/")
    course_id = canonical_uuid(course_ref)
    course = Course.objects.filter(pk=course_id) if course_id else Course.objects.filter(course_code__iexact=course_ref)
    found = course.first()
    if found is None:
        raise CommandError(f"There is no course {course_ref!r}; the scope of a chapter is COURSE/CHAPTER.")
    chapter = found.chapters.filter(chapter_code__iexact=chapter_code).first()
    if chapter is None:
        codes = ", ".join(Chapter.objects.filter(course=found).values_list("chapter_code", flat=True)) or "none"
        raise CommandError(f"The course {found.course_code} has no chapter {chapter_code!r}. It has: {codes}.")
    return chapter_scope_id(found.pk, chapter.chapter_code)


# --- Telling ------------------------------------------------------------------------------------------------------


def share(basis_points: int) -> str:
    """A rollout as people say it."""
    return f"{basis_points / 100:g} %"


def utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def printable(text: str) -> str:
    """Return a name that somebody chose, without what would steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def scope_name(release: BundleRelease) -> str:
    """Name a scope as it is typed: people know a course by its code, not by its UUID."""
    chapter = release.chapter
    scope = f"{chapter.course.course_code}/{chapter.chapter_code}" if chapter else release.scope_id
    return f"{release.bundle_type}/{scope}"


def name_of(release: BundleRelease) -> str:
    return f"{scope_name(release)} {release.version}"


def sentence(release: BundleRelease) -> str:
    """What holds for a release now."""
    name = name_of(release)
    if release.state != BundleRelease.State.PUBLISHED:
        return f"{name} is {'a draft' if release.state == BundleRelease.State.DRAFT else release.state}."
    begins = f" from {utc(release.publish_at)}" if release.publish_at else ""
    return f"{name} is published{begins}, to {share(release.rollout_basis_points)} of the devices."


def contents(release: BundleRelease) -> str:
    """How many files a checked archive has, and how large they are when it is unpacked."""
    sizes = [file["size_bytes"] for file in release.manifest["files"]]
    size = filesizeformat(sum(sizes)).replace("\N{NO-BREAK SPACE}", " ")
    return f"{len(sizes):,} file{'' if len(sizes) == 1 else 's'}, {size}"


def warn(command: BaseCommand, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        command.stderr.write(command.style.WARNING(f"Note: {printable(sentence)}"))


def lines_of(error: ApiError) -> str:
    """The message; or all details, each with the file or field that it is about."""
    details = [f"{detail['field']}: {detail['message']}" for detail in error.details]
    if len(details) > 1:
        return "\n".join([error.code.message, *(f"  {printable(line)}" for line in details)])
    return printable(error.message or "".join(details) or error.code.message)


@contextmanager
def telling_errors() -> Iterator[None]:
    """Tell what a person can mend in a line or a few, without a traceback.

    Raises:
        CommandError: for every refusal of a service, a fault of a file, a database that is away or empty, and Ctrl-C:
            each act is one transaction, so nothing is half-done then.
    """
    try:
        with told_once():
            yield
    except ApiError as error:
        raise CommandError(lines_of(error)) from error
    except BundleError as error:
        raise CommandError("\n  ".join(printable(str(fault)) for fault in error.faults)) from error
    except (OperationalError, InterfaceError) as error:
        raise CommandError(f"The database can't be used: {_first_line(error)}") from error
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", "") != _UNDEFINED_TABLE:
            raise
        raise CommandError("The database has no tables for this yet: run manage.py migrate.") from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'The machine'}: {error.strerror or error}") from error
    except KeyboardInterrupt as error:
        message = "Stopped. Nothing is half-done: manage.py releases shows what there is; the same command goes on."
        raise CommandError(message, returncode=INTERRUPTED) from error


@contextmanager
def told_once() -> Iterator[None]:
    """Keep the audit's log lines out of the terminal: the command tells the same, and the audit has it for ever."""
    logger = logging.getLogger("updates.audit")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


# --- Progress -----------------------------------------------------------------------------------------------------


class Progress:
    """A bar where somebody watches, a line for each stage where nobody does, nothing with `--verbosity 0`."""

    def __init__(self, command: BaseCommand, verbosity: int) -> None:
        self._stdout = command.stdout
        self._shows_bar = verbosity > 0 and command.stderr.isatty()
        self._shows_lines = verbosity > 0 and not self._shows_bar

    @contextmanager
    def stage(self, name: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """Show one stage; what is given has to be told of every number of bytes that was dealt with."""
        with self._bar(name, total_bytes) as bar:
            yield lambda count: _advance(bar, count)

    @contextmanager
    def reading(self, file: IO[bytes], size_bytes: int, *stages: str) -> Iterator[IO[bytes]]:
        """Give the file to somebody who reads it from its beginning to its end, once in each stage."""
        first, *others = stages
        with self._bar(first, size_bytes) as bar:
            yield cast(IO[bytes], _WatchedFile(file, bar, partial(self._begin, bar, iter(others))))

    @contextmanager
    def _bar(self, name: str, total_bytes: int) -> Iterator["tqdm[Any]"]:
        self._say(name)
        with tqdm(
            desc=name,
            total=total_bytes,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
            disable=not self._shows_bar,
        ) as bar:
            yield bar

    def _begin(self, bar: "tqdm[Any]", names: Iterator[str]) -> None:
        bar.reset()
        if name := next(names, ""):
            bar.set_description(name)
            self._say(name)

    def _say(self, name: str) -> None:
        if self._shows_lines:
            self._stdout.write(f"{name} ...")
            self._stdout.flush()


def _advance(bar: "tqdm[Any]", count: int) -> None:
    bar.update(count)


class _WatchedFile(io.RawIOBase):
    """A file to be read, that tells a bar how far it was read, and when it is read once more."""

    def __init__(self, file: IO[bytes], bar: "tqdm[Any]", begin_again: Callable[[], None]) -> None:
        self._file = file
        self._bar = bar
        self._begin_again = begin_again
        self._was_read = False
        self._is_rewound = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Only now: whoever went back to the beginning may have found a reason to stop there.
        if self._is_rewound:
            self._is_rewound = False
            self._begin_again()
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._bar.update(len(block))
        self._was_read = True
        return len(block)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = self._file.seek(offset, whence)
        if position == 0 and self._was_read:
            self._was_read, self._is_rewound = False, True
        return position

    def tell(self) -> int:
        return self._file.tell()
