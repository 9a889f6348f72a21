"""The WSGI application that gunicorn serves."""

import os
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application

from config import limits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve one request; a chunked body is collected first.

    Without a Content-Length Django reads an empty body, and the 422 for it would make clients throw the item
    away. One byte over the limit is kept, so that the parser sees that the body is too large.
    """
    chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if chunked and "CONTENT_LENGTH" not in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(limits.REQUEST_BODY_MAX_BYTES + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
