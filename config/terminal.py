"""What commands share: how progress and errors are shown, and what of strangers' texts may reach a terminal."""

import io
import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, Final, cast

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import DatabaseError, InterfaceError, OperationalError
from tqdm import tqdm

from config.signals import TERMINATED, Terminated

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Django's order of the options, and the paragraphs of the description as they are written."""


@contextmanager
def errors_told(interrupted: str) -> Iterator[None]:
    """Tell in a line, without a traceback, what the database refuses; `interrupted` is said after Ctrl-C and SIGTERM.

    Raises:
        CommandError.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise CommandError(f"The database can't be used: {first_line(error)}") from error
    except DatabaseError as error:
        raise CommandError(f"The database refuses: {first_line(error)}") from error
    except KeyboardInterrupt as error:
        status = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        raise CommandError(interrupted, returncode=status) from error


def first_line(error: Exception) -> str:
    """Return what PostgreSQL says of an error, without the place in the statement."""
    return str(error).strip().partition("\n")[0]


def printable(text: str) -> str:
    """Return a name that somebody chose, without what would steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


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
    def counting(self, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show one stage in things, of which `unit` is the plural; what is given has to be told of more of them."""
        with self._bar(name, total, unit=f" {unit}", unit_divisor=1000) as bar:
            yield lambda count: _advance(bar, count)

    @contextmanager
    def reading(self, file: IO[bytes], size_bytes: int, *stages: str) -> Iterator[IO[bytes]]:
        """Give the file to somebody who reads it from its beginning to its end, once in each stage."""
        first, *others = stages
        with self._bar(first, size_bytes) as bar:
            yield cast(IO[bytes], _WatchedFile(file, bar, partial(self._begin, bar, iter(others))))

    @contextmanager
    def _bar(self, name: str, total: int, *, unit: str = "B", unit_divisor: int = 1024) -> Iterator["tqdm[Any]"]:
        self._say(name)
        with tqdm(
            desc=name,
            total=total,
            unit=unit,
            unit_scale=True,
            unit_divisor=unit_divisor,
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
