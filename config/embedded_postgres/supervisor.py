"""Run one PostgreSQL cluster for as long as anybody uses it.

Started by ``server.py`` as a script of its own (standard library only, so it starts in some 20 ms) and detached
from whoever started it: Ctrl-C in a terminal does not reach it. It makes the cluster if there is none, starts
PostgreSQL, and then waits for an exclusive lock on ``users.lock``. Every process that uses the database holds a
shared one, so the wait ends when the last of them is gone, also by ``kill -9``. Then PostgreSQL is stopped.

A second lock, ``server.lock``, is held by this process and inherited by PostgreSQL and all its backends. Whoever can
take it knows that nothing runs in the folder, whatever process id a left-over ``postmaster.pid`` names.
"""

from __future__ import annotations

import ctypes
import fcntl
import locale
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

MAJOR_VERSION: Final = "16"
SUPERUSER: Final = "postgres"
PORT: Final = 5432  # only part of the socket's file name: PostgreSQL listens on no TCP port
MAX_CONNECTIONS: Final = 200
READY: Final = "ready"

POLL_SECONDS: Final = 0.01
STOP_SECONDS: Final = 60.0  # for the checkpoint of a fast shutdown; then PostgreSQL is made to quit at once

OVERFLOW_ID: Final = 65534  # user and group "nobody" on most systems
PR_SET_PDEATHSIG: Final = 1  # of prctl(2)

# Only a cluster that is made for tests gets these, at its creation, in its own postgresql.conf. What it commits is lost
# when the machine crashes, but not with any process.
WITHOUT_DURABILITY: Final = {"fsync": "off", "full_page_writes": "off"}
WITH_DURABILITY: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class ClusterError(Exception):
    """The cluster can't be made or started; the message is one sentence for a person."""


class PostgresEndedError(Exception):
    """PostgreSQL ended by itself while it was in use."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """How to start PostgreSQL's programs, which refuse to run as root.

    uid and gid are None when they run as the current user; the prefix is the command that puts them into a user
    namespace.
    """

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def of_account(cls, uid: int) -> Identity:
        try:
            return cls(uid=uid, gid=pwd.getpwuid(uid).pw_gid)
        except KeyError:
            return cls(uid=uid, gid=uid)

    def reaches(self, *paths: Path) -> bool:
        """Whether the account may enter every one of the paths (folders) or execute it (programs)."""
        child = os.fork()
        if child == 0:
            with suppress(OSError):
                os.setgroups([])
                os.setgid(self.gid or 0)
                os.setuid(self.uid or 0)
                os._exit(0 if all(os.access(path, os.X_OK) for path in paths) else 1)
            os._exit(1)
        return os.waitpid(child, 0)[1] == 0

    @property
    def owner(self) -> int:
        """The user id that owns the files, seen from outside a user namespace."""
        return os.geteuid() if self.uid is None else self.uid


def namespace_identity() -> Identity | None:
    """Root under another user's number in a user namespace of its own, or None where that is not allowed.

    It needs no mode changed on the way to a checkout that only root may enter.
    """
    prefix = ("unshare", "--user", f"--map-user={OVERFLOW_ID}", f"--map-group={OVERFLOW_ID}")
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return None
    return Identity(prefix=prefix) if allowed else None


def unprivileged_account() -> Identity | None:
    """The account of the system that owns nothing, or None."""
    try:
        return Identity.of_account(pwd.getpwnam("nobody").pw_uid)
    except KeyError:
        return None


def end_with_parent() -> None:
    """Have the kernel interrupt this child, a fast shutdown, when the supervisor is killed. Runs before exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def clean_environment() -> dict[str, str]:
    """The environment without what PostgreSQL's programs would read from it (PGDATA, PGPORT, a language)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def default_locale() -> str:
    """C.UTF-8 where the system has it: it knows the case of letters beyond ASCII. C elsewhere."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


def process_options(identity: Identity, server_lock: int) -> dict[str, Any]:
    """How every process that works in the folder is started: it holds the lock as long as it lives."""
    return {
        "stdin": subprocess.DEVNULL,
        "cwd": "/",
        "env": clean_environment(),
        "user": identity.uid,
        "group": identity.gid,
        "extra_groups": None if identity.uid is None else [],
        "preexec_fn": end_with_parent,
        "pass_fds": (server_lock,),
    }


def as_options(settings: dict[str, str], flag: str) -> list[str]:
    return [part for name, value in settings.items() for part in (flag, f"{name}={value}")]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster's folder, the programs for it, and its socket's folder."""

    folder: Path
    programs: Path
    socket_folder: Path
    durable: bool

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def advice(self) -> str:
        return f"Move {self.data} away or delete it to begin with an empty database"

    def identity(self) -> Identity:
        """Who runs PostgreSQL: the current user; for root, who owns the data, else an unprivileged account.

        Raises ClusterError when root has no way to run it.
        """
        if os.geteuid() != 0:
            return Identity()
        if self.data.exists():
            owner = self.data.stat().st_uid
            identity = self._account_that_reaches(Identity.of_account(owner)) if owner else namespace_identity()
        else:
            identity = self._account_that_reaches(unprivileged_account()) or namespace_identity()
        if identity:
            return identity
        raise ClusterError(
            f"PostgreSQL refuses to run as root, and an unprivileged account can't reach {self.folder} or "
            f"{self.programs}: run this as an ordinary user, move the checkout to a folder that every user may enter, "
            "or set DATABASE_URL to a PostgreSQL server of your own."
        )

    def _account_that_reaches(self, account: Identity | None) -> Identity | None:
        return account if account and account.reaches(self.folder, self.programs / "postgres") else None

    def prepare(self, identity: Identity, server_lock: int) -> None:
        """Make the cluster unless it is there, and clear away what a killed server left behind."""
        if not self.data.exists():
            self._create(identity, server_lock)
        self._check_version()
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._prepare_socket_folder(identity)

    def _create(self, identity: Identity, server_lock: int) -> None:
        """Make the cluster under another name first, so that one that is killed half-way is never taken for whole."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, -1 if identity.uid is None else identity.uid, -1 if identity.gid is None else identity.gid)
        command = [
            *identity.prefix,
            str(self.programs / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth=trust",  # the socket's folder lets only its owner in
            "--encoding=UTF8",
            f"--locale={default_locale()}",
            "--no-instructions",
            *([] if self.durable else ["--no-sync", *as_options(WITHOUT_DURABILITY, "--set")]),
        ]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **process_options(identity, server_lock),
        )
        if result.returncode != 0:
            reason = next((line for line in result.stderr.splitlines() if "error:" in line), result.stderr.strip())
            raise ClusterError(f"PostgreSQL could not make its database folder {self.data}: {reason}")
        unfinished.rename(self.data)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """Make the new name as durable as what is committed under it later."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise ClusterError(f"The database folder {self.data} is broken. {self.advice}.") from None
        if version != MAJOR_VERSION:
            raise ClusterError(
                f"The database folder {self.data} was made by PostgreSQL {version[:10]} and this is "
                f"PostgreSQL {MAJOR_VERSION}. {self.advice}."
            )

    def _prepare_socket_folder(self, identity: Identity) -> None:
        """Make the socket's folder, empty and closed to everybody else; refuse one that somebody else made."""
        with suppress(FileExistsError):
            self.socket_folder.mkdir(mode=0o700)
            if identity.uid is not None and identity.gid is not None:
                os.chown(self.socket_folder, identity.uid, identity.gid)
        found = self.socket_folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != identity.owner or found.st_mode & 0o077:
            raise ClusterError(f"{self.socket_folder} belongs to somebody else: delete it, the server makes its own.")
        for leftover in self.socket_folder.iterdir():
            leftover.unlink()

    def start(self, identity: Identity, server_lock: int) -> subprocess.Popen[bytes]:
        """Start PostgreSQL and wait until it takes connections, however long a recovery takes.

        Raises ClusterError, with PostgreSQL's own reason, when it ends instead.
        """
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "log",  # no statements that failed: they hold people's data
            **(WITH_DURABILITY if self.durable else {}),
        }
        command = [*identity.prefix, str(self.programs / "postgres"), "-D", str(self.data), *as_options(settings, "-c")]
        with self.log.open("wb") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdout=log, stderr=log, **process_options(identity, server_lock)
            )
        while not self._is_ready():
            if process.poll() is not None:
                raise ClusterError(self._why_not_started())
            time.sleep(POLL_SECONDS)
        return process

    def _is_ready(self) -> bool:
        """Whether PostgreSQL says so in the eighth line of its pid file, which was removed before the start."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _why_not_started(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        reasons = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        reasons = reasons or [line for line in lines if "could not" in line]
        # Without the time and process number that each line of the log begins with.
        reason = (
            re.sub(r"^.*?(?:FATAL|PANIC|LOG|postgres):\s*", "", reasons[-1]).strip() if reasons else "no reason given"
        )
        return (
            f"The database in {self.data} does not start: {reason.rstrip('.')}. {self.advice}; "
            f"everything that PostgreSQL said is in {self.log}."
        )

    def wait_for_last_user(self, process: subprocess.Popen[bytes]) -> None:
        """Return when no process uses the database any more, or PostgreSQL has ended by itself.

        The lock is then held until this process ends, so nobody new comes in while PostgreSQL stops.
        """
        users = os.open(self.folder / "users.lock", os.O_RDWR)
        try:
            signal.signal(signal.SIGCHLD, raise_postgres_ended)
            if process.poll() is None:
                fcntl.flock(users, fcntl.LOCK_EX)
        except PostgresEndedError:
            pass
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()
        shutil.rmtree(self.socket_folder, ignore_errors=True)


def raise_postgres_ended(_number: int, _frame: FrameType | None) -> NoReturn:
    raise PostgresEndedError


def raise_system_exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def report(descriptor: int, message: str) -> None:
    """Tell who started this process how it went; they may be gone by now."""
    with suppress(BrokenPipeError):
        os.write(descriptor, message.encode())
    os.close(descriptor)


def detach() -> None:
    """Leave the parent, which waits only for this, and its folder; it has put us into a session of our own."""
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    signal.signal(signal.SIGTERM, raise_system_exit)


def supervise(cluster: Cluster, server_lock: int, report_to: int) -> None:
    try:
        identity = cluster.identity()
        cluster.prepare(identity, server_lock)
        process = cluster.start(identity, server_lock)
    except ClusterError as error:
        report(report_to, str(error))
        return
    except OSError as error:
        report(report_to, f"PostgreSQL could not be started in {cluster.folder}: {error}")
        return
    try:
        report(report_to, READY)
        cluster.wait_for_last_user(process)
    finally:
        cluster.stop(process)


def main(folder: str, programs: str, socket_folder: str, durability: str, server_lock: str, report_to: str) -> None:
    detach()
    cluster = Cluster(
        folder=Path(folder),
        programs=Path(programs),
        socket_folder=Path(socket_folder),
        durable=durability == "durable",
    )
    supervise(cluster, int(server_lock), int(report_to))


if __name__ == "__main__":
    main(*sys.argv[1:])
