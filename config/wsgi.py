"""The WSGI application that gunicorn serves."""

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters
from gunicorn.http.errors import ParseException

from config import limits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()

from config import uploads  # noqa: E402  it needs the settings

_CHARSETS: Final = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252"})
"""By Python's names. Its other codecs are no text at all (hex, zlib), or take far too long for hostile texts (idna)."""


class _ChunkedBody:
    """A chunked body, whose chunks may be malformed: gunicorn's own exception would end in a 500."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        with _malformed_chunks_refused():
            return bytes(self._stream.read(size))

    def readline(self, size: int = -1) -> bytes:
        with _malformed_chunks_refused():
            return bytes(self._stream.readline(size))


@contextmanager
def _malformed_chunks_refused() -> Iterator[None]:
    try:
        yield
    except ParseException as error:
        raise SuspiciousOperation("A chunk of the body is malformed.") from error


class _WholeBody:
    """A body whose length is known, and that must not end earlier: a part of it could pass for the whole."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data: bytes = self._stream.read(wanted)
        if len(data) < wanted:
            raise ConnectionResetError("The body broke off.")
        self._left -= len(data)
        return data

    def readline(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        line: bytes = self._stream.readline(wanted)
        if len(line) < wanted and not line.endswith(b"\n"):
            raise ConnectionResetError("The body broke off.")
        self._left -= len(line)
        return line


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve one request, whose body Django can read to its end.

    Without a Content-Length Django reads an empty body, and the 422 for it would make clients throw the item away. So
    a chunked body is collected first. One byte over the limit is kept, so that the parser sees that it is too large.
    A form is not collected: it may be an upload, and streams as if it had the largest length that one may have.
    """
    environ["CONTENT_TYPE"] = _readable_type(environ.get("CONTENT_TYPE", ""))
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if chunked and "CONTENT_LENGTH" not in environ and environ.get("wsgi.input_terminated"):
        if environ["CONTENT_TYPE"].lower().startswith("multipart/form-data"):
            environ["wsgi.input"] = _ChunkedBody(environ["wsgi.input"])
            environ["CONTENT_LENGTH"] = str(uploads.body_max_bytes())
        else:
            # As much as the most generous parser reads; the others see by themselves that it is too large.
            body = environ["wsgi.input"].read(limits.EVENTS_BODY_MAX_BYTES + 1)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
    elif length := uploads.content_length(environ):
        environ["wsgi.input"] = _WholeBody(environ["wsgi.input"], length)
    return _django(environ, start_response)


def _readable_type(content_type: str) -> str:
    """Return a Content-Type without a charset that no text has: Django decodes with whatever codec it names.

    One whose parameters can't be read at all is none.
    """
    if ";" not in content_type:
        return content_type
    try:
        media_type, parameters = parse_header_parameters(content_type)
    except (LookupError, ValueError):
        return ""
    try:
        readable = codecs.lookup(parameters.get("charset", "utf-8")).name in _CHARSETS
    except (LookupError, ValueError):
        readable = False
    if readable:
        return content_type
    boundary = parameters.get("boundary")
    return media_type if boundary is None else f'{media_type}; boundary="{boundary}"'
