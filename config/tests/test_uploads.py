"""The forms of the admin: what their files become, and who may send large ones."""

import gc
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path
from pytest_django.fixtures import Settings

from config import limits, uploads
from config.errors import ApiError
from config.places import Places
from config.urls import handler400, handler403, handler404, handler500, urlpatterns
from tests.cast import Actor, error_code

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

pytestmark = pytest.mark.django_db


def probe(request: HttpRequest) -> JsonResponse:
    """Say what arrived."""
    sent: dict[str, Any] = dict(request.FILES.items())
    files = {
        name: {
            "sha256": file.sha256,
            "size": file.size,
            "name": file.name,
            "is_too_large": file.is_too_large,
            "content": file.read().hex(),
            "again": b"".join(file.chunks()).hex(),
        }
        for name, file in sent.items()
    }
    return JsonResponse({"fields": request.POST.dict(), "files": files, "spools": len(open_spools())})


urlpatterns = [path("admin/probe", probe), *urlpatterns]


def open_spools() -> list[str]:
    """The temporary files that this process has open."""
    return [target for descriptor in Path("/proc/self/fd").glob("*") if "/spools/" in (target := _target(descriptor))]


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def spools(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for temporary files, one place for large uploads, and no help from the garbage collector."""
    settings.ROOT_URLCONF = __name__
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "spools")
    (tmp_path / "spools").mkdir()
    monkeypatch.setattr(uploads, "_places", Places(1))
    gc.disable()
    yield
    gc.enable()


def a_file(content: bytes = b"content", name: str = "bundle.tar.gz") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def place_is_free() -> bool:
    with uploads.slow_place():
        return True


# --- Staff ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are seen by /proc")
@pytest.mark.parametrize("content", [b"content", b"x" * 3_000_000], ids=["small", "large"])
def test_a_file_is_streamed_and_hashed(admin_page: Client, content: bytes, tmp_path: Path) -> None:
    answer = admin_page.post("/admin/probe", {"version": "1.0.0", "archive": a_file(content)}).json()
    assert answer["fields"] == {"version": "1.0.0"}
    assert answer["files"]["archive"] == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "name": "bundle.tar.gz",
        "is_too_large": False,
        "content": content.hex(),
        "again": content.hex(),
    }
    assert answer["spools"] == 1
    assert not open_spools(), "the end of the request closed it"
    assert not list((tmp_path / "spools").iterdir()), "it never had a name"
    assert place_is_free()


def test_an_empty_file_and_none(admin_page: Client) -> None:
    empty = admin_page.post("/admin/probe", {"archive": a_file(b"")}).json()["files"]["archive"]
    assert (empty["size"], empty["sha256"]) == (0, hashlib.sha256().hexdigest())
    assert admin_page.post("/admin/probe", {"a": "b"}).json() == {"fields": {"a": "b"}, "files": {}, "spools": 0}


def test_a_file_that_is_too_large_is_told_by_the_form(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form needs its other fields to answer, so the body is read to its end; nothing of the file is kept."""
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", 2_000_000)
    form = {"before": "1", "archive": a_file(bytes(2_000_001)), "zafter": "2"}
    answer = admin_page.post("/admin/probe", form).json()
    assert answer["fields"] == {"before": "1", "zafter": "2"}
    file = answer["files"]["archive"]
    assert (file["is_too_large"], file["size"], file["content"], file["again"]) == (True, 2_000_001, "", "")
    exact = admin_page.post("/admin/probe", {"archive": a_file(bytes(2_000_000))}).json()["files"]["archive"]
    assert (exact["is_too_large"], exact["size"]) == (False, 2_000_000)
    assert place_is_free()


def test_one_file_is_kept(admin_page: Client) -> None:
    answer = admin_page.post("/admin/probe", {"archive": a_file(), "other": a_file(b"other")}).json()
    assert list(answer["files"]) == ["archive"]
    assert answer["spools"] <= 1


def test_too_many_files_and_fields(admin_page: Client) -> None:
    files = {f"f{number}": a_file() for number in range(limits.UPLOAD_FORM_FILES_MAX + 1)}
    fields = {f"f{number}": "1" for number in range(limits.FORM_FIELDS_MAX + 1)}
    for form in (files, fields, {**fields, "archive": a_file()}):
        response = admin_page.post("/admin/probe", form)
        assert response.status_code == 400
        assert "That was too much at once" in response.content.decode()
        assert not open_spools()


def test_no_place_is_free(admin_page: Client) -> None:
    admin_page.raise_request_exception = False
    large = {"archive": a_file(bytes(2_000_000))}
    with uploads.slow_place():
        response = admin_page.post("/admin/probe", large)
        assert (response.status_code, error_code(response)) == (503, "SERVICE_UNAVAILABLE")
        assert int(response["Retry-After"]) >= 1
        assert admin_page.post("/admin/probe", {"archive": a_file()}).status_code == 200, "a small one needs none"
    assert admin_page.post("/admin/probe", large).status_code == 200


def test_csrf_is_checked_as_ever(staff: Actor) -> None:
    page = Client(enforce_csrf_checks=True)
    page.force_login(staff.user)
    token = page.get("/admin/login/?next=/admin/").cookies.get("csrftoken") or page.get("/admin/").cookies["csrftoken"]
    for form, status in (
        ({"csrfmiddlewaretoken": token.value, "archive": a_file(bytes(2_000_000))}, 200),
        ({"archive": a_file(bytes(2_000_000))}, 403),
    ):
        assert page.post("/admin/probe", form).status_code == status
        assert not open_spools()
        assert place_is_free()


class BreaksOff:
    """The body of a form of which only the beginning arrives."""

    def __init__(self, beginning: bytes) -> None:
        self._blocks = iter([beginning])

    def read(self, size: int = -1) -> bytes:
        for block in self._blocks:
            return block
        raise ConnectionResetError

    readline = read


@pytest.mark.parametrize("csrf", [False, True])
def test_a_body_that_breaks_off_gives_back_what_it_had(staff: Actor, csrf: bool) -> None:
    """Django has no hook for it; the request and its lazy user are a circle that only the garbage collector breaks."""
    page: Any = Client(enforce_csrf_checks=csrf, raise_request_exception=False)
    page.force_login(staff.user)
    page.cookies["csrftoken"] = "x" * 32
    head = b'--x\r\nContent-Disposition: form-data; name="archive"; filename="b"\r\n\r\n' + bytes(1_000_000)
    response = page.post(
        "/admin/probe",
        CONTENT_TYPE="multipart/form-data; boundary=x",
        CONTENT_LENGTH="5000000",
        **{"wsgi.input": BreaksOff(head)},
    )
    assert response.status_code in (403, 503)
    assert not open_spools()
    assert place_is_free()


# --- Everybody else -------------------------------------------------------------------------------------------------


class Unread:
    """A body that remembers whether anybody read it."""

    was_read = False

    def read(self, size: int = -1) -> bytes:
        self.was_read = True
        return b""

    readline = read


def _no_staff(who: str, learner: Actor, staff: Actor) -> Any:
    client = Client()
    if who == "learner":
        client.force_login(learner.user)
    if who == "inactive staff":
        client.force_login(staff.user)
        staff.user.is_active = False
        staff.user.save(update_fields=["is_active"])
    return client


@pytest.mark.parametrize("who", ["nobody", "learner", "inactive staff"])
def test_who_is_no_staff_is_not_listened_to(who: str, learner: Actor, staff: Actor) -> None:
    client = _no_staff(who, learner, staff)
    body = Unread()
    response = client.post(
        "/admin/probe",
        CONTENT_TYPE="multipart/form-data; boundary=x",
        CONTENT_LENGTH=str(limits.REQUEST_BODY_MAX_BYTES + 1),
        **{"wsgi.input": body},
    )
    assert response.status_code == 413
    assert not body.was_read
    answer = client.post("/admin/probe", {"a": "b", "archive": a_file()}).json()
    assert answer == {"fields": {"a": "b"}, "files": {}, "spools": 0}


def test_logging_in_by_a_form_with_files(staff: Actor) -> None:
    """The login page takes its form from anybody, CSRF token or not: large ones are refused unread."""
    body = Unread()
    client: Any = Client(enforce_csrf_checks=True)
    response = client.post(
        "/admin/login/",
        CONTENT_TYPE="multipart/form-data; boundary=x",
        CONTENT_LENGTH=str(1024 * limits.MIB),
        HTTP_COOKIE="csrftoken=" + "x" * 32,
        **{"wsgi.input": body},
    )
    assert response.status_code == 413
    assert not body.was_read


# --- Places ---------------------------------------------------------------------------------------------------------


def test_a_place_is_given_back_once() -> None:
    places = Places(1)
    release = places.take()
    for _ in range(3):
        release()
    places.take()
    with pytest.raises(ApiError):
        places.take()


def test_one_holder_has_at_most_half_of_the_places() -> None:
    places = Places(4)
    first, _ = places.take("one"), places.take("one")
    with pytest.raises(ApiError) as refused:
        places.take("one")
    assert refused.value.retry_after
    places.take("other")
    first()
    first()
    again = places.take("one")
    with pytest.raises(ApiError):
        places.take("one")
    again()
    places.take(None)


def test_where_there_is_one_place_everybody_may_have_it() -> None:
    Places(1).take("one")


# --- Pace -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "UPLOAD_WATCH_SECONDS", 0.05)


@contextmanager
def sending(write: Callable[[socket.socket], object], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the environment of a request whose body somebody writes, again and again with a pause."""
    server, client = socket.socketpair()
    ended = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not ended.wait(seconds):
                write(client)

    sender = threading.Thread(target=send)
    with server, client, server.makefile("rb") as body:
        client.sendall(b'--x\r\nContent-Disposition: form-data; name="archive"; filename="b"\r\n\r\n')
        sender.start()
        try:
            yield {"wsgi.input": body, "gunicorn.socket": server}
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            sender.join()


def post_slowly(page: Any, environ: dict[str, Any]) -> tuple[Any, float]:
    page.raise_request_exception = False
    began = time.monotonic()
    response = page.post(
        "/admin/probe", CONTENT_TYPE="multipart/form-data; boundary=x", CONTENT_LENGTH="50000000", **environ
    )
    return response, time.monotonic() - began


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("connected", [True, False], ids=["inside of a read", "between reads"])
def test_a_body_that_trickles_in_ends(admin_page: Client, monkeypatch: pytest.MonkeyPatch, connected: bool) -> None:
    """Each byte renews the time-out of the socket: such an upload held its place for as long as it liked."""
    monkeypatch.setattr(limits, "UPLOAD_MIN_BYTES_PER_SECOND", 1024 * limits.MIB)
    piece = b"x" if connected else bytes(300_000)
    with sending(lambda client: client.sendall(piece), 0.01) as environ:
        if not connected:
            del environ["gunicorn.socket"]
        response, seconds = post_slowly(admin_page, environ)
    assert (response.status_code, error_code(response)) == (503, "SERVICE_UNAVAILABLE")
    assert "too slow" in response.json()["error"]["message"]
    assert 0.2 <= seconds < 5
    assert not open_spools()
    assert place_is_free()


@pytest.mark.usefixtures("hasty")
def test_a_body_that_takes_too_long_ends_however_fast_it_is(
    admin_page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPLOAD_MAX_SECONDS", 0.5)
    monkeypatch.setattr(limits, "UPLOAD_MIN_BYTES_PER_SECOND", 1)
    with sending(lambda client: client.sendall(bytes(10_000)), 0.01) as environ:
        response, seconds = post_slowly(admin_page, environ)
    assert (response.status_code, error_code(response)) == (503, "SERVICE_UNAVAILABLE")
    assert 0.5 <= seconds < 5
    assert place_is_free()


@pytest.mark.usefixtures("hasty")
def test_a_body_that_keeps_the_pace(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPLOAD_MIN_BYTES_PER_SECOND", 1_000)
    pieces = iter([*[bytes(200_000)] * 30, b"\r\n--x--\r\n"])
    with sending(lambda client: client.sendall(next(pieces, b"")), 0.02) as environ:
        environ["wsgi.input"] = Until(environ["wsgi.input"], b"--x--\r\n")
        response, seconds = post_slowly(admin_page, environ)
    assert (response.status_code, response.json()["files"]["archive"]["size"]) == (200, 6_000_000)
    assert seconds > limits.UPLOAD_GRACE_SECONDS


class Until:
    """A body that ends after these bytes."""

    def __init__(self, stream: Any, end: bytes) -> None:
        self._stream = stream
        self._end = end
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        data = b"" if self._ended else self._stream.read1(size)
        self._ended = self._ended or data.endswith(self._end)
        return bytes(data)

    readline = read
