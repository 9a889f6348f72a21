"""Where this server is reached from outside: the beginning of every absolute URL that it hands out."""

from typing import Final

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]", "::1")


def public_base_url(request: HttpRequest | Request) -> str:
    """Return scheme, host and perhaps a path, without a final slash.

    PUBLIC_BASE_URL when it is set. Otherwise development answers as it was asked, while production doesn't trust the
    Host header, which a client may write as it likes: it takes the first name of ALLOWED_HOSTS, over https, or else
    its own port on the loopback address.
    """
    if settings.PUBLIC_BASE_URL:
        return str(settings.PUBLIC_BASE_URL)
    if not settings.PRODUCTION:
        return f"{request.scheme}://{request.get_host()}"
    names = (host.removeprefix(".") for host in settings.ALLOWED_HOSTS)
    name = next((name for name in names if name and name not in _LOOPBACK), None)
    return f"https://{name}" if name else f"http://127.0.0.1:{settings.APP_PORT}"
