"""The commands as staff run them: in a process of their own, on the test database."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

from django.conf import settings
from django.core.management import call_command

from tests.live import BASE_DIR, clean_environment, test_database_url

WAIT_SECONDS = 60.0
TERMINAL_SIZE = (40, 100)  # rows, columns

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    out: str
    err: str


def call(*arguments: object) -> tuple[str, str]:
    """Run a command in this process; return what it says on stdout and stderr."""
    out, err = StringIO(), StringIO()
    name, *others = map(str, arguments)
    call_command(name, *others, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def start(arguments: Sequence[object], variables: Mapping[str, str], terminal: int = subprocess.PIPE) -> Process:
    """Start manage.py, with these variables in its environment; `terminal` is where it says what it says."""
    environment = {
        **clean_environment(),
        "APP_ENV": "test",
        "DATABASE_URL": test_database_url(),
        "JWT_SECRET": settings.JWT_SECRET,
        "ARTIFACT_ROOT": str(settings.ARTIFACT_ROOT),
        **variables,
    }
    command = [sys.executable, "manage.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=BASE_DIR, env=environment, stdout=terminal, stderr=terminal)


def manage(*arguments: object, **variables: str) -> Ended:
    """Run manage.py to its end."""
    process = start(arguments, variables)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    return Ended(process.returncode, out.decode(), err.decode())


def watch(arguments: Sequence[object], **variables: str) -> Ended:
    """Run manage.py under a pseudo-terminal; what it shows there comes as `out`."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, TERMINAL_SIZE)
    process = start(arguments, variables, theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65_536):
            shown += block
    except OSError:  # how Linux tells that nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
    return Ended(process.wait(WAIT_SECONDS), shown.decode(), "")
