"""The WSGI application that gunicorn serves."""

import os
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application

from config import limits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()

from config import uploads  # noqa: E402  it needs the settings


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
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if chunked and "CONTENT_LENGTH" not in environ and environ.get("wsgi.input_terminated"):
        if environ.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data"):
            environ["CONTENT_LENGTH"] = str(uploads.body_max_bytes())
        else:
            body = environ["wsgi.input"].read(limits.REQUEST_BODY_MAX_BYTES + 1)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
    elif length := uploads.content_length(environ):
        environ["wsgi.input"] = _WholeBody(environ["wsgi.input"], length)
    return _django(environ, start_response)
