"""What a request's body is when it reaches Django."""

from io import BytesIO
from typing import Any

import pytest

from config import limits, uploads, wsgi


class Socket(BytesIO):
    """A body as gunicorn gives it: reading ends early only where the connection ended."""


def body_of(monkeypatch: pytest.MonkeyPatch, content: bytes, **environ: Any) -> tuple[Any, str | None]:
    """Return what Django gets to read, and the length that it is told."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(wsgi, "_django", lambda environ, start_response: seen.update(environ) or [])
    wsgi.application({"wsgi.input": Socket(content), **environ}, None)
    return seen["wsgi.input"], seen.get("CONTENT_LENGTH")


@pytest.mark.parametrize("size", [-1, 10, 100])
def test_a_whole_body_is_read(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    body, _ = body_of(monkeypatch, b"0123456789 and the next request", CONTENT_LENGTH="10")
    assert body.read(size) == b"0123456789"
    assert body.read(size) == b""
    assert body.readline() == b""


def test_by_pieces_and_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    body, _ = body_of(monkeypatch, b"one\ntwo\nthree, and more", CONTENT_LENGTH="13")
    assert (body.read(1), body.readline(), body.readline(2), body.readline()) == (b"o", b"ne\n", b"tw", b"o\n")
    assert body.readline() == b"three"
    assert body.readline() == b""


@pytest.mark.parametrize("read", ["read", "readline"])
def test_a_body_that_ends_early_is_no_body(monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    """A part of a JSON text or of a form could pass for the whole."""
    body, _ = body_of(monkeypatch, b"01234", CONTENT_LENGTH="10")
    with pytest.raises(ConnectionResetError):
        getattr(body, read)()


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def test_a_chunked_body_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    body, length = body_of(monkeypatch, b"{}", CONTENT_TYPE="application/json", **CHUNKED)
    assert (body.read(), length) == (b"{}", "2")
    much = bytes(limits.REQUEST_BODY_MAX_BYTES + 5)
    body, length = body_of(monkeypatch, much, CONTENT_TYPE="application/json", **CHUNKED)
    assert length == str(limits.REQUEST_BODY_MAX_BYTES + 1), "the parser sees that it is too large"


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "Multipart/Form-Data"])
def test_a_chunked_form_is_not(monkeypatch: pytest.MonkeyPatch, content_type: str) -> None:
    body, length = body_of(monkeypatch, b"--x", CONTENT_TYPE=content_type, **CHUNKED)
    assert isinstance(body, Socket)
    assert body.tell() == 0
    assert length == str(uploads.body_max_bytes())


@pytest.mark.parametrize("length", ["", "0", "-5", "x", "٣"])
def test_no_length_is_no_body(monkeypatch: pytest.MonkeyPatch, length: str) -> None:
    body, told = body_of(monkeypatch, b"bytes", CONTENT_LENGTH=length)
    assert isinstance(body, Socket)
    assert told == length
