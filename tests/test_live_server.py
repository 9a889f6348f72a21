"""What only real workers can show: limits across processes, races, slow mail, odd requests on the socket."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from django.db import connection
from django_ratelimit.core import _get_window

from accounts.models import DeviceSession, User
from config import limits
from storage.artifacts import artifact_exists, artifact_url, store_artifact
from tests.cast import make_actor
from tests.flow import core_flow
from tests.live import running_server
from tests.races import in_parallel

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_code_makes_one_account_across_workers(server: str) -> None:
    body = {"email": "new@example.com", "purpose": "register"}
    code = httpx.post(f"{server}/v1/auth/request-email-code", json=body).json()["dev_code"]

    def register(number: int) -> int:
        fields = {
            "email": "new@example.com",
            "verification_code": code,
            "password": "a good password",
            "device_id": f"device-{number}",
        }
        return httpx.post(f"{server}/v1/auth/register", json=fields, timeout=60).status_code

    statuses = in_parallel(50, register)
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 400, 503}
    assert User.objects.count() == DeviceSession.objects.count() == 1


def wait_for_a_whole_window(address: str, period: int) -> None:
    """Don't begin in the last seconds of the server's rate window: the count would start anew in between."""
    left = _get_window(address, period) - time.time()
    if left < 15:
        time.sleep(left + 1)


def test_limits_hold_exactly_with_four_workers(server: str) -> None:
    """AUTH_CODE_MAX_PER_IP_WINDOW is 20; 100 addresses ask at once, spread over the workers."""
    wait_for_a_whole_window("127.0.0.1", 600)

    def ask(number: int) -> int:
        body = {"email": f"new{number}@example.com", "purpose": "register"}
        response = httpx.post(f"{server}/v1/auth/request-email-code", json=body, timeout=60)
        if response.status_code == 503:  # no mail slot was free: it counted for the address all the same
            return 200
        return response.status_code

    statuses = in_parallel(100, ask)
    assert (statuses.count(200), statuses.count(429)) == (20, 80)


def test_refresh_and_me_answer_while_logins_are_held_back(server: str) -> None:
    learner = make_actor("learner")
    refresh = {"refresh_token": learner.refresh_token, "device_id": "learner-device"}
    me = {"Authorization": f"Bearer {learner.access_token}"}

    def call(number: int) -> tuple[str, int]:
        if number % 3 == 0:
            return "refresh", httpx.post(f"{server}/v1/auth/refresh", json=refresh, timeout=60).status_code
        if number % 3 == 1:
            return "me", httpx.get(f"{server}/v1/me", headers=me, timeout=60).status_code
        body = {"email": f"nobody{number}@example.com", "password": "wrong password", "device_id": "d"}
        return "login", httpx.post(f"{server}/v1/auth/login", json=body, timeout=60).status_code

    answers = in_parallel(120, call)
    assert {status for kind, status in answers if kind != "login"} == {200}
    assert {status for kind, status in answers if kind == "login"} <= {401, 503}


@pytest.fixture
def silent_mail_server() -> Iterator[int]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


def test_mails_that_hang_leave_the_server_free(silent_mail_server: int, tmp_path: Path) -> None:
    mail = {
        "EMAIL_SENDER_BACKEND": "smtp",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(silent_mail_server),
        "SMTP_USE_TLS": "false",
        "SMTP_FROM_EMAIL": "courses@example.com",
    }
    with running_server(tmp_path / "log", **mail) as server:

        def ask(number: int) -> httpx.Response:
            body = {"email": f"new{number}@example.com", "purpose": "register"}
            return httpx.post(f"{server}/v1/auth/request-email-code", json=body, timeout=60)

        with ThreadPoolExecutor(10) as pool:
            asked = [pool.submit(ask, number) for number in range(10)]
            time.sleep(1)
            began = time.monotonic()
            assert httpx.get(f"{server}/healthz", timeout=60).status_code == 200
            assert time.monotonic() - began < 3, "a hanging mail server must not hold up other calls"
            answers = [future.result() for future in asked]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [502] * 3 + [503] * 7, "one mail fewer than workers at a time"
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 503)


# --- On the socket ----------------------------------------------------------------------------------------------


def raw(server: str, request: bytes) -> bytes:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_clients_that_stall_free_their_threads(tmp_path: Path) -> None:
    """More stalled connections than threads, in the head and in the body: the server answers all the same."""
    head = b"POST /v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    log = tmp_path / "log"
    with running_server(log, WEB_CONCURRENCY="2", WEB_THREADS="2", CLIENT_STALL_SECONDS="1") as server:
        host, port = server.removeprefix("http://").split(":")
        stalled = [socket.create_connection((host, int(port)), timeout=10) for _ in range(8)]
        for number, connection in enumerate(stalled):
            connection.sendall(head if number % 2 else head + b"Content-Length: 50\r\n\r\n{")
        time.sleep(0.5)
        assert httpx.get(f"{server}/healthz", timeout=20).status_code == 200
        for connection in stalled[::2]:  # a broken body is no fault of the caller
            assert "SERVICE_UNAVAILABLE" in read_answer(connection)
        for connection in stalled:
            connection.close()
    assert "Traceback" not in log.read_text()


def test_a_download_that_stalls_gives_its_place_back(tmp_path: Path) -> None:
    key = "stall-test/bundle.tar.gz"
    if not artifact_exists(key=key):
        store_artifact(key=key, content=BytesIO(bytes(32 * limits.MIB)))  # more than the sockets' buffers hold
    with running_server(tmp_path / "log", WEB_CONCURRENCY="1", WEB_THREADS="2", CLIENT_STALL_SECONDS="1") as server:
        url = artifact_url(key=key, base_url=server)
        host, port = server.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as idle:
            path = url.removeprefix(server)
            idle.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert idle.recv(1)
            refused = httpx.get(url)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert httpx.get(f"{server}/healthz").status_code == 200
            time.sleep(2.5)
            assert len(httpx.get(url, timeout=30).content) == 32 * limits.MIB


def read_answer(connection: socket.socket) -> str:
    """Read head and body of one answer; they may come in several pieces."""
    with connection.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length, head
        return head + stream.read(int(length[1])).decode()


def chunked(*chunks: bytes) -> bytes:
    head = (
        b"POST /v1/auth/logout HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def test_connections_that_the_database_cut_off_are_replaced(server: str) -> None:
    """As after its restart: the workers' threads keep theirs between calls."""
    headers = {"Authorization": f"Bearer {make_actor('learner').access_token}"}

    def ask(_number: int) -> int:
        return httpx.get(f"{server}/v1/me", headers=headers, timeout=60).status_code

    with connection.cursor() as cursor:
        for _ in range(3):
            assert set(in_parallel(24, ask)) == {200}
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s",
                [f"server-{httpx.URL(server).port}"],
            )
            assert cursor.fetchone()[0] > 0
    assert set(in_parallel(24, ask)) == {200}


def test_a_chunked_body_is_read(server: str) -> None:
    """Without this it would read as empty, and the 422 would make clients throw the item away."""
    learner = make_actor("learner")
    token = learner.refresh_token.encode()
    assert b" 200 " in raw(server, chunked(b'{"refresh_to', b'ken": "', token, b'"}')).split(b"\r\n")[0]
    assert DeviceSession.objects.get().revoked_at is not None


def test_a_chunked_body_that_is_too_large(server: str) -> None:
    answer = raw(server, chunked(*[b" " * 65536] * 17))
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"PAYLOAD_TOO_LARGE" in answer


def test_chunked_events_may_be_as_many_bytes_as_a_call_may_have(server: str) -> None:
    headers = {"Authorization": f"Bearer {make_actor('learner').access_token}", "Content-Type": "application/json"}
    event = {"event_type": "x", "event_time": "2026-01-01T00:00:00Z", "payload": {"text": "y" * 2_500}}
    body = json.dumps({"events": [{**event, "event_id": str(number)} for number in range(1_000)]}).encode()
    assert len(body) > 2 * limits.MIB
    blocks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))

    answer = httpx.post(f"{server}/v1/analytics/events:ingest", headers=headers, content=blocks)

    assert (answer.status_code, answer.json().get("accepted")) == (200, 1_000)


def test_a_percent_encoded_colon_matches_too(server: str) -> None:
    learner = make_actor("learner")
    for path in ("events:ingest", "events%3Aingest"):
        request = (
            f"POST /v1/analytics/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {learner.access_token}\r\nContent-Length: 14\r\nConnection: close\r\n\r\n"
            '{"events": []}'
        )
        assert b" 200 " in raw(server, request.encode()).split(b"\r\n")[0]


# --- Through the whole stack ------------------------------------------------------------------------------------


def test_learners_in_parallel(server: str, seeded: None) -> None:
    in_parallel(8, lambda _: core_flow(server))


def test_the_docs_and_the_admin_are_whole(server: str) -> None:
    """Every asset that the pages name is served by us."""
    for page in ("/docs", "/admin/login/"):
        html = httpx.get(f"{server}{page}").raise_for_status().text
        assets: set[str] = set(re.findall(r'(?:src|href)="([^"]+\.(?:js|css|png|svg))"', html))
        assert assets
        for asset in assets:
            assert asset.startswith("/static/"), asset
            assert httpx.get(f"{server}{asset}").status_code == 200, asset
