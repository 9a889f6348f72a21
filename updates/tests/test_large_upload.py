"""Uploads through a real server: the memory that they take, and what is left of those that break off."""

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pytest_django.plugin import DjangoDbBlocker

from config import limits
from config.limits import MIB
from config.tests.processes import eventually
from tests.live import running_server
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.giants import Giant
from updates.tests.pipelines import ADMIN_API_KEY, BUNDLES, archive_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the worker is watched by /proc"),
]

BOUNDARY: Final = b"boundary-of-the-tests"
HEADERS: Final = {
    "X-Admin-Key": ADMIN_API_KEY,
    "Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}",
}
END: Final = b"\r\n--%s--\r\n" % BOUNDARY


def head_of_form(**fields: str) -> bytes:
    """All of a form up to the first byte of its file."""
    form = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0", **fields}
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, name.encode(), value.encode())
        for name, value in form.items()
    ]
    file = b'--%s\r\nContent-Disposition: form-data; name="file"; filename="bundle.tar.gz"\r\n\r\n' % BOUNDARY
    return b"".join([*parts, file])


@dataclass
class Answer:
    status: int
    retry_after: str | None
    body: Any

    @classmethod
    def read(cls, response: HTTPResponse) -> "Answer":
        return cls(response.status, response.getheader("Retry-After"), json.loads(response.read()))

    @classmethod
    def of(cls, client: socket.socket) -> "Answer":
        """Read the answer from a bare connection."""
        response = HTTPResponse(client, method="POST")
        response.begin()
        with response:
            return cls.read(response)

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


@dataclass
class Server:
    """A server with one worker, and the folders in which an upload could leave something."""

    url: str
    temporary: Path
    artifacts: Path
    log: Path

    @property
    def worker(self) -> int:
        """The one process with the server's environment whose parent has it as well."""
        port = f"APP_PORT={self.url.rpartition(':')[2]}\0".encode()
        ours = {int(path.name) for path in Path("/proc").glob("[0-9]*") if port in _environment(path)}
        (worker,) = (pid for pid in ours if int(_status(pid, "PPid")) in ours)
        return worker

    def post(self, body: Iterable[bytes], length: int | None = None) -> "Answer":
        """Send a body as it comes; without its length it goes in chunks. Quicker than by httpx, which copies much."""
        size = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        connection = HTTPConnection(self.url.removeprefix("http://"), timeout=120)
        try:
            connection.request("POST", f"{BUNDLES}/upload", body, {**HEADERS, **size}, encode_chunked=length is None)
            return Answer.read(connection.getresponse())
        finally:
            connection.close()

    def connect(self, head: str) -> socket.socket:
        """Begin an upload on a bare connection."""
        host, port = self.url.removeprefix("http://").split(":")
        opened = socket.create_connection((host, int(port)), timeout=30)
        lines = [f"POST {BUNDLES}/upload HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in HEADERS.items()), head]
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        return opened

    def holds_temporary_file(self) -> bool:
        """Say whether the worker has a file open among the temporary ones, with a name or without."""
        for descriptor in Path(f"/proc/{self.worker}/fd").iterdir():
            try:
                if os.readlink(descriptor).startswith(str(self.temporary)):
                    return True
            except OSError:
                continue
        return False

    def files(self) -> list[Path]:
        return [path for folder in (self.temporary, self.artifacts) for path in folder.rglob("*") if path.is_file()]

    def has_nothing_left(self) -> bool:
        return eventually(lambda: not self.holds_temporary_file()) and not self.files() and not _rows()


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def _rows() -> bool:
    return BundleRelease.objects.exists()


@contextmanager
def a_server(folder: Path, **variables: str) -> Iterator[Server]:
    temporary, artifacts = folder / "temporary", folder / "artifacts"
    temporary.mkdir()
    artifacts.mkdir()
    settings = {
        "WEB_CONCURRENCY": "1",
        "ADMIN_API_KEY": ADMIN_API_KEY,
        "ARTIFACT_ROOT": str(artifacts),
        "TMPDIR": str(temporary),
        **variables,
    }
    with running_server(folder / "log", **settings) as url:
        yield Server(url, temporary, artifacts, folder / "log")


@pytest.fixture(scope="module")
def shared_server(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with django_db_blocker.unblock(), a_server(folder, CLIENT_STALL_SECONDS="1", WEB_THREADS="4") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """One whose folders are empty."""
    for path in shared_server.files():
        path.unlink()
    return shared_server


# --- Memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.disk_usage(tempfile.gettempdir()).free < 4 * 1024 * MIB, reason="it needs 3 GiB of disk")
def test_a_gibibyte_through_a_small_worker(tmp_path: Path) -> None:
    with a_server(tmp_path) as server:
        giant, head = Giant(1024), head_of_form()

        def body() -> Iterator[bytes]:
            yield head
            yield from giant
            yield END

        answer = server.post(body(), len(head) + giant.size_bytes + len(END))
        assert answer.status == 201, answer.body
        assert answer.body["sha256"] == giant.sha256
        assert answer.body["size_bytes"] == giant.size_bytes > 1024 * MIB
        assert int(_status(server.worker, "VmHWM")) < 150 * 1024, "KiB, at the worker's highest"
        assert eventually(lambda: not server.holds_temporary_file()), "it is closed after the answer went out"
        (only,) = server.files()
        assert only == server.artifacts / BundleRelease.objects.get().artifact_key
        assert only.stat().st_size == giant.size_bytes


# --- In chunks ------------------------------------------------------------------------------------------------------


def test_without_a_length(server: Server) -> None:
    """More than what a chunked body of any other call may have: it streams."""
    giant = Giant(8)

    def body() -> Iterator[bytes]:
        yield head_of_form()
        yield from giant
        yield END

    answer = server.post(body())
    assert answer.status == 201, answer.body
    assert answer.body["sha256"] == giant.sha256
    assert len(server.files()) == 1


def test_the_connection_serves_the_next_call(server: Server) -> None:
    with httpx.Client(headers={"X-Admin-Key": ADMIN_API_KEY}) as http:
        form = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0"}
        for status in (201, 200):
            response = http.post(f"{server.url}{BUNDLES}/upload", data=form, files={"file": archive_of()})
            assert response.status_code == status
        assert http.get(f"{server.url}{BUNDLES}").json()["total"] == 1


# --- What is refused, and what breaks off -----------------------------------------------------------------------------


def test_a_length_beyond_the_limit_is_answered_at_once(server: Server) -> None:
    length = limits.BUNDLE_ARCHIVE_MAX_BYTES + limits.UPLOAD_FORM_MAX_BYTES + 1
    with server.connect(f"Content-Length: {length}") as client:
        answer = Answer.of(client)
    assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")
    assert server.has_nothing_left()


def test_a_bad_archive(server: Server) -> None:
    answer = server.post([head_of_form(), os.urandom(4 * MIB), END])
    assert (answer.status, answer.code) == (422, "BUNDLE_INVALID")
    assert server.has_nothing_left()


def test_a_credential_that_is_none_does_not_wait_for_the_body(server: Server) -> None:
    headers = {**HEADERS, "X-Admin-Key": "wrong"}
    response = httpx.post(f"{server.url}{BUNDLES}/upload", content=iter([bytes(MIB)] * 8), headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "INVALID_TOKEN"
    assert eventually(lambda: not server.holds_temporary_file())


CUTS: Final = {"in the file": 0.5, "before the end of the form": -10, "in the last boundary": -3}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_breaks_off(server: Server, cut: str, chunked: bool) -> None:
    """A whole archive in a broken body is none: what comes after it may say for whom it is."""
    body = head_of_form() + archive_of() + END
    at = int(len(body) * CUTS[cut]) if CUTS[cut] > 0 else len(body) + int(CUTS[cut])
    with server.connect("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}") as client:
        client.sendall(b"%x\r\n%s" % (len(body), body[:at]) if chunked else body[:at])
        client.shutdown(socket.SHUT_WR)
        answer = Answer.of(client)
    assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE")
    assert server.has_nothing_left()
    assert not ReleaseEvent.objects.exists()


def test_a_client_that_vanishes_or_stalls(server: Server) -> None:
    """Places and threads come back, more often than there are any."""
    for number in range(6):
        with server.connect(f"Content-Length: {50 * MIB}") as client:
            client.sendall(head_of_form() + bytes(2 * MIB))
            assert eventually(server.holds_temporary_file)
            if number == 0:
                assert Answer.of(client).status == 503, "CLIENT_STALL_SECONDS are over"
        assert server.has_nothing_left()
    body = head_of_form() + archive_of() + END
    assert server.post([body], len(body)).status == 201
    assert "Traceback" not in server.log.read_text()


def test_a_killed_worker_leaves_nothing(server: Server) -> None:
    worker = server.worker
    with server.connect(f"Content-Length: {50 * MIB}") as client:
        client.sendall(head_of_form() + bytes(2 * MIB))
        assert eventually(server.holds_temporary_file)
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: not Path(f"/proc/{worker}").exists())
    assert not server.files()
    assert not _rows()
    assert eventually(lambda: httpx.get(f"{server.url}/healthz", timeout=30).status_code == 200)


def test_learners_are_answered_while_staff_upload(tmp_path: Path) -> None:
    """Of four threads one may be held by a large upload; the next is told when to come again."""
    large = f"Content-Length: {50 * MIB}"
    with a_server(tmp_path, WEB_THREADS="4") as server, server.connect(large) as first:
        first.sendall(head_of_form() + bytes(MIB))
        assert eventually(server.holds_temporary_file)
        began = time.monotonic()
        for _ in range(3):
            with server.connect(large) as another:
                refused = Answer.of(another)
            assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
            assert int(refused.retry_after or 0) >= 1
        small = head_of_form() + archive_of() + END
        assert server.post([small], len(small)).status == 201, "a small one takes no place"
        assert httpx.get(f"{server.url}/healthz", timeout=30).status_code == 200
        assert time.monotonic() - began < 10, "CLIENT_STALL_SECONDS is 15"
