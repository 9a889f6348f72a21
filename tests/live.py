"""A real server for tests: gunicorn with several workers, on the test database."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

import httpx
from django.conf import settings
from django.db import connection

BASE_DIR = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0


def clean_environment() -> dict[str, str]:
    """What every process needs, and nothing that could change a setting."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_database_url() -> str:
    """The test database as a URL; its host may be the folder of a Unix socket."""
    parameters = connection.get_connection_params()
    user = quote(str(parameters.get("user") or ""), safe="")
    password = quote(str(parameters.get("password") or ""), safe="")
    query = {name: str(parameters[name]) for name in ("host", "port") if parameters.get(name)}
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"postgresql://{credentials}/{parameters['dbname']}?{urlencode(query)}"


test_database_url.__test__ = False  # type: ignore[attr-defined]


def start_server(port: int, output: IO[bytes], **variables: str) -> subprocess.Popen[bytes]:
    """Start gunicorn as the image does, in a session and process group of its own."""
    environment = {
        **clean_environment(),
        "APP_ENV": "test",
        "APP_PORT": str(port),
        "DATABASE_URL": test_database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "REDIS_KEY_PREFIX": settings.CACHES["default"]["KEY_PREFIX"],
        "JWT_SECRET": settings.JWT_SECRET,
        "ARTIFACT_ROOT": str(settings.ARTIFACT_ROOT),
        "WEB_CONCURRENCY": "4",
        "PGAPPNAME": f"server-{port}",
        **variables,
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn_conf.py", "config.wsgi:application"]
    return subprocess.Popen(
        command, cwd=BASE_DIR, env=environment, stdout=output, stderr=output, start_new_session=True
    )


@contextmanager
def running_server(log: Path, **variables: str) -> Iterator[str]:
    """Start gunicorn as the image does and yield its base URL; `variables` are its environment."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        process = start_server(port, output, **variables)
        try:
            _wait(base_url, process, log)
            yield base_url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _await_end_of_sessions(port)


def _await_end_of_sessions(port: int) -> None:
    """Wait until PostgreSQL has noticed that the server is gone: a database in use can't be dropped."""
    deadline = time.monotonic() + START_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [f"server-{port}"])
            if cursor.fetchone() == (0,):
                break
            time.sleep(0.05)


def _wait(base_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{base_url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"The server did not start:\n{log.read_text()}")
