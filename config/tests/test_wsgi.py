"""What a request's body is when it reaches Django."""

from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from config import limits, uploads, wsgi


class Socket(BytesIO):
    """A body as gunicorn gives it: reading ends early only where the connection ended."""


def environ_of(monkeypatch: pytest.MonkeyPatch, content: bytes = b"", **environ: Any) -> dict[str, Any]:
    """Return what reaches Django."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(wsgi, "_django", lambda environ, start_response: seen.update(environ) or [])
    wsgi.application({"wsgi.input": Socket(content), **environ}, None)
    return seen


def body_of(monkeypatch: pytest.MonkeyPatch, content: bytes, **environ: Any) -> tuple[Any, str | None]:
    """Return what Django gets to read, and the length that it is told."""
    seen = environ_of(monkeypatch, content, **environ)
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
    much = bytes(limits.EVENTS_BODY_MAX_BYTES + 5)
    body, length = body_of(monkeypatch, much, CONTENT_TYPE="application/json", **CHUNKED)
    assert length == str(limits.EVENTS_BODY_MAX_BYTES + 1), "the parser sees that it is too large"


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "Multipart/Form-Data"])
def test_a_chunked_form_is_not(monkeypatch: pytest.MonkeyPatch, content_type: str) -> None:
    body, length = body_of(monkeypatch, b"--x", CONTENT_TYPE=content_type, **CHUNKED)
    assert body.read(2) == b"--"
    assert body.read() == b"x"
    assert length == str(uploads.body_max_bytes())


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nabc", b"-1\r\nabc", b"3\r\nabcd", b"3;=\r\nabc", b"3\r\nabc\r\n0\r\nbad\r\n\r\n"]
)
@pytest.mark.parametrize("read", ["read", "readline"])
def test_a_malformed_chunk_of_a_form_is_the_clients_fault(
    monkeypatch: pytest.MonkeyPatch, chunks: bytes, read: str
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = next(RequestParser(Config(), [head + chunks], ("127.0.0.1", 1))).body
    body, _ = body_of(
        monkeypatch, b"", **{"CONTENT_TYPE": "multipart/form-data; boundary=x", **CHUNKED, "wsgi.input": stream}
    )
    with pytest.raises(SuspiciousOperation):
        getattr(body, read)()


@pytest.mark.parametrize(
    "charset",
    [
        *("hex", "idna", "zlib", "undefined", "rot13", "base64", "punycode", "utf-7", "unicode_escape", "nonsense"),
        *("", '"hex"', "h\xe9x", "a\x00b"),
    ],
)
@pytest.mark.parametrize("query", ["", "a=%ff%fe"])
def test_a_charset_that_no_text_has_is_dropped(monkeypatch: pytest.MonkeyPatch, charset: str, query: str) -> None:
    form = 'multipart/form-data; boundary="a b"'
    environ = environ_of(monkeypatch, CONTENT_TYPE=f"{form}; charset={charset}", QUERY_STRING=query)
    request = WSGIRequest({"REQUEST_METHOD": "POST", **environ})
    assert request.encoding is None
    assert list(request.GET) == (["a"] if query else [])
    assert request.content_params == {"boundary": "a b"}
    assert environ_of(monkeypatch, CONTENT_TYPE=f"Text/Plain; charset={charset}")["CONTENT_TYPE"] == "text/plain"


@pytest.mark.parametrize(
    "parameter", ["charset*=hex''abc", "boundary*=hex''a%20b", "boundary*=idna''a%ff", "x*=utf-8''"]
)
def test_a_parameter_in_a_codec_of_its_own(monkeypatch: pytest.MonkeyPatch, parameter: str) -> None:
    """RFC 2231 lets each parameter name a charset, and Django would decode it with that."""
    environ = environ_of(monkeypatch, CONTENT_TYPE=f"multipart/form-data; {parameter}", QUERY_STRING="a=%ff")
    assert WSGIRequest({"REQUEST_METHOD": "POST", **environ}).GET


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=UTF-8", "text/plain; charset=latin-1", "text/html; x=y", ""],
)
def test_other_content_types_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, content_type: str) -> None:
    assert environ_of(monkeypatch, CONTENT_TYPE=content_type)["CONTENT_TYPE"] == content_type


@pytest.mark.parametrize("length", ["", "0", "-5", "x", "٣"])
def test_no_length_is_no_body(monkeypatch: pytest.MonkeyPatch, length: str) -> None:
    body, told = body_of(monkeypatch, b"bytes", CONTENT_LENGTH=length)
    assert isinstance(body, Socket)
    assert told == length
