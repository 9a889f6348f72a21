"""What the commands on a person's data share."""

from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from django.core.management.base import CommandError

from accounts.erasure import ErasureError
from accounts.models import normalize_email
from config.personal_data import Holding
from config.signals import ended_by_sigterm
from config.terminal import errors_told

BEYOND_REACH: Final = (
    "Backups of the database.",
    "Exports that were made before. In those for research the person has the pseudonym that the report has.",
    "Log files of the server and of proxies in front of it, and mails that were sent.",
    "What the app keeps on the person's own devices.",
    "What others, or staff in courses' content, wrote about the person in their own words.",
)
"""What no command can erase or hand out."""


def person(text: str) -> str:
    """Read an email or an id.

    Raises:
        ArgumentTypeError: it can't be either.
    """
    name = text.strip()
    if "@" not in normalize_email(name) and len(name.replace("-", "")) != 32:
        raise ArgumentTypeError("name the person by the email or the id of the account.")
    return name


def table(holdings: Sequence[Holding], **columns: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of a table of counts by holding; those that are 0 throughout are left out."""
    shown = [holding for holding in holdings if any(counts[holding.name] for counts in columns.values())]
    width = max((len(holding.title) for holding in shown), default=0)
    sizes = {name: max(len(name), *(len(f"{counts[h.name]:,}") for h in shown)) for name, counts in columns.items()}
    if shown:
        yield "  " + " " * width + "".join(f"  {name:>{sizes[name]}}" for name in columns)
    for holding in shown:
        counts = "".join(f"  {found[holding.name]:>{sizes[name]},}" for name, found in columns.items())
        yield f"  {holding.title:<{width}}{counts}"


@contextmanager
def telling_errors(interrupted: str) -> Iterator[None]:
    """Tell what a person can mend in a line, without a traceback; `interrupted` is said after Ctrl-C and SIGTERM.

    Raises:
        CommandError: for a refusal, a fault of a file, a database that is away or empty, Ctrl-C, and SIGTERM.
    """
    try:
        with ended_by_sigterm(), errors_told(interrupted):
            yield
    except ErasureError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'The machine'}: {error.strerror or error}") from error
