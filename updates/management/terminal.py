"""What the commands on releases share: how options are read, and errors told."""

import logging
import re
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.template.defaultfilters import filesizeformat
from django_stubs_ext import StrOrPromise

from config.errors import ApiError
from config.terminal import INTERRUPTED, first_line, printable
from courses.models import Chapter, Course
from courses.selectors import canonical_uuid
from updates.bundles.base import BundleError
from updates.models import BundleRelease, BundleType, chapter_scope_id

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
    to_whom = f"to {share(release.rollout_basis_points)} of the devices"
    if release.is_scheduled and release.publish_at:
        return f"{name} is scheduled for {utc(release.publish_at)}, {to_whom}."
    begins = f" from {utc(release.publish_at)}" if release.publish_at else ""
    return f"{name} is published{begins}, {to_whom}."


def contents(release: BundleRelease) -> str:
    """How many files a checked archive has, and how large they are when it is unpacked."""
    sizes = [file["size_bytes"] for file in release.manifest["files"]]
    size = filesizeformat(sum(sizes)).replace("\N{NO-BREAK SPACE}", " ")
    return f"{len(sizes):,} file{'' if len(sizes) == 1 else 's'}, {size}"


def warn(command: BaseCommand, sentences: Sequence[StrOrPromise]) -> None:
    for sentence in sentences:
        command.stderr.write(command.style.WARNING(f"Note: {printable(str(sentence))}"))


def lines_of(error: ApiError) -> str:
    """The message; or all details, each with the file or field that it is about."""
    details = [f"{detail['field']}: {detail['message']}" for detail in error.details]
    if len(details) > 1:
        return "\n".join([str(error.code.message), *(f"  {printable(line)}" for line in details)])
    return printable(str(error.message or "".join(details) or error.code.message))


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
        raise CommandError(f"The database can't be used: {first_line(error)}") from error
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
