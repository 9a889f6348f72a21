"""Fetching a URL that strangers chose, without being led into our own network: OWASP's SSRF prevention cheat sheet.

A name is resolved once, all its addresses are checked, and one of those very addresses is connected to, so a second
answer of the name server changes nothing (DNS rebinding); TLS is for the name. Every redirect goes the same way. No
proxy, cookie, password or compression takes part.

`httpcore` does HTTP and TLS: it leaves the connection to a backend and every read to a stream, so that the checks and
the one deadline have a public place. Ready-made filters for `requests` know no host that may be private, and time a
read instead of the whole.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import httpcore
import idna
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits
from config.errors import ApiError, ErrorCode

HTTPS_PORT: Final = 443
_FIRST_UNPRIVILEGED_PORT: Final = 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HEADERS: Final = [(b"User-Agent", b"llm-course-backend"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_URL_CHARACTERS: Final = "!#$%&'()*+,/:;=?@[]~"  # what stays as it is in a path and query: RFC 3986, section 2.2

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291: all that is handed out
# IANA's special-purpose registries, where older patch releases of Python count them as global.
_NEVER_PUBLIC_V4: Final = [ipaddress.IPv4Network(n) for n in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24")]
# Teredo and the rest of 2001::/23, 6to4 (deprecated; its relays are ours to reach, not the world's), documentation.
_NEVER_PUBLIC_V6: Final = [ipaddress.IPv6Network(n) for n in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@contextmanager
def opened(url: str, *, size_bytes: int | None) -> Iterator[Iterable[bytes]]:
    """Open an https URL, following redirects, and give its body block by block; at most once.

    The body may still be longer or shorter than expected when the server didn't announce its length: whoever reads it
    counts, and may stop at any time.

    Args:
        size_bytes: the length that the body has to have. None: any that an archive may have.

    Raises:
        ApiError: ARTIFACT_UNREACHABLE for what may not or can't be fetched, also while the body is read: a URL that is
            no https URL or has a name or password in it; a private address; no answer, another status than 200,
            more than VERIFY_REDIRECTS_MAX redirects, more than VERIFY_MAX_SECONDS in all (a name server that is asked
            meanwhile has the time of the system's resolver). BUNDLE_INVALID for another
            announced length, or one that is too large.
    """
    clock = _Clock(limits.VERIFY_MAX_SECONDS)
    context = _tls_context()
    for _redirect in range(limits.VERIFY_REDIRECTS_MAX + 1):
        target = _parse(url)
        host = target.host.decode("ascii")
        with (
            _reporting(host, clock),
            httpcore.HTTPConnection(
                target.origin, ssl_context=context, network_backend=_CheckedBackend(clock)
            ) as connection,
            connection.stream("GET", target, headers=[_host_header(target), *_HEADERS]) as response,
        ):
            if response.status not in _REDIRECTS:
                _check_answer(host, response, size_bytes)
                yield response.iter_stream()
                return
            url = _redirected(url, _header(response, b"location"))
    text = _("{host} redirects more than {most} times.")
    raise unreachable(format_lazy(text, host=host, most=limits.VERIFY_REDIRECTS_MAX))


def unreachable(message: StrOrPromise) -> ApiError:
    return ApiError(ErrorCode.ARTIFACT_UNREACHABLE, message)


def is_public(address: Address) -> bool:
    """Say whether anybody on the internet can reach this address, and means the same host by it as we do."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in n for n in _NEVER_PUBLIC_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(address.packed[-4:]))
    return address.is_global and address in _GLOBAL_UNICAST and not any(address in n for n in _NEVER_PUBLIC_V6)


# --- Where to --------------------------------------------------------------------------------------------------


def _parse(url: str) -> httpcore.URL:
    """Take a URL apart once: what is checked here is what is connected to, not what another parser makes of it."""
    try:
        parts = urlsplit(url)
        host, port = _ascii_host(parts.hostname or ""), parts.port or HTTPS_PORT
    except ValueError as error:  # idna's errors are some as well
        raise unreachable(_("This is no URL with a host that can be reached.")) from error
    if parts.scheme != "https":
        raise unreachable(format_lazy(_("{host}: only https is fetched."), host=host))
    if parts.username is not None or parts.password is not None:
        text = _("{host}: a URL with a name or password in it is not fetched.")
        raise unreachable(format_lazy(text, host=host))
    if port != HTTPS_PORT and port < _FIRST_UNPRIVILEGED_PORT:
        # Mail, remote shells and the like: no web server of a stranger needs to live there.
        text = _("{host}: port {port} is not {https}, and below {least}.")
        raise unreachable(format_lazy(text, host=host, port=port, https=HTTPS_PORT, least=_FIRST_UNPRIVILEGED_PORT))
    path = quote(parts.path or "/", safe=_URL_CHARACTERS) + (
        f"?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else ""
    )
    return httpcore.URL(scheme=b"https", host=host.encode("ascii"), port=port, target=path.encode("ascii"))


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise unreachable(_("The redirect leads to no URL.")) from error


def _host_header(target: httpcore.URL) -> tuple[bytes, bytes]:
    """Name host and port as RFC 9110, section 7.2, wants them: an IPv6 address stands in brackets."""
    host = b"[%b]" % target.host if b":" in target.host else target.host
    return b"Host", host if target.port == HTTPS_PORT else b"%b:%d" % (host, target.port or HTTPS_PORT)


def _ascii_host(host: str) -> str:
    """Return the one spelling of a host: lower-case, without a final dot, IDNA for other scripts.

    Raises:
        ValueError: it is none.
    """
    host = host.rstrip(".").lower()
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode("ascii")
    if not _HOST.fullmatch(host):
        raise ValueError(host)
    return host


def _resolve(host: str, port: int) -> list[Address]:
    """Return all addresses of a name, if each of them may be connected to.

    One forbidden address among public ones is no accident that a retry could mend: it is refused as a whole.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    except (OSError, ValueError) as error:  # ValueError: a label that is too long, an address with a zone
        raise unreachable(format_lazy(_("{host}: the name has no address."), host=host)) from error
    for address in addresses:
        if not (is_public(address) or (host in settings.VERIFY_PRIVATE_HOSTS and _is_of_the_house(address))):
            text = _(
                "{host}: {address} is not a public address. Hosts that may have others are named in "
                "VERIFY_PRIVATE_HOSTS."
            )
            raise unreachable(format_lazy(text, host=host, address=str(address)))
    return addresses


def _is_of_the_house(address: Address) -> bool:
    """Say whether a host in VERIFY_PRIVATE_HOSTS may have this private address: one of a network, or this machine.

    Link-local ones stay out: a cloud's metadata service answers there.
    """
    return not (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_loopback)  # also IPv4 in IPv6: mapped, NAT64
    )


# --- Connections -------------------------------------------------------------------------------------------------


class _Clock:
    """One deadline for all waiting, however many addresses, redirects and reads there are."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def at_most(self, seconds: float) -> float:
        """Return the time that may be waited now, of at most `seconds`."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return min(seconds, left)

    def complaint(self, host: str) -> StrOrPromise:
        """Say of a host what took too long: one answer, or all of it."""
        if time.monotonic() < self._ends:
            return format_lazy(_("{host} takes too long: it doesn't answer."), host=host)
        text = _("{host} takes too long: more than {seconds} seconds in all.")
        return format_lazy(text, host=host, seconds=f"{self._seconds:g}")


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._connect_first(_resolve(host, port), port), self._clock)

    def _connect_first(self, addresses: Sequence[Address], port: int) -> httpcore.NetworkStream:
        *others, last = addresses
        for address in others:
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: Address, port: int) -> httpcore.NetworkStream:
        return httpcore.SyncBackend().connect_tcp(
            str(address), port, self._clock.at_most(limits.VERIFY_CONNECT_SECONDS)
        )


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads and writes all end with the clock, so that a slow drip does as well."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.at_most(limits.VERIFY_STALL_SECONDS))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.at_most(limits.VERIFY_STALL_SECONDS))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._clock.at_most(limits.VERIFY_CONNECT_SECONDS)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _tls_context() -> ssl.SSLContext:
    """Trust the machine's authorities, to which an operator can add the campus's own (SSL_CERT_FILE)."""
    context = httpcore.default_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# --- Answers -----------------------------------------------------------------------------------------------------


def _header(response: httpcore.Response, name: bytes) -> str:
    return b", ".join(value for key, value in response.headers if key.lower() == name).decode("utf-8", "replace")


def _check_answer(host: str, response: httpcore.Response, size_bytes: int | None) -> None:
    if response.status != 200:
        raise unreachable(format_lazy(_("{host} answers with status {status}."), host=host, status=response.status))
    if _header(response, b"content-encoding").lower() not in ("", "identity"):
        text = _("{host} sends the archive in another encoding, though it was asked not to.")
        raise unreachable(format_lazy(text, host=host))
    announced = _header(response, b"content-length")
    length = int(announced) if announced else None  # digits: h11 refuses anything else
    if size_bytes is None:
        if length is not None and length > limits.BUNDLE_ARCHIVE_MAX_BYTES:
            text = _("{host} has {found} bytes there; an archive may have {most}.")
            values = {"found": f"{length:,}", "most": f"{limits.BUNDLE_ARCHIVE_MAX_BYTES:,}"}
            raise ApiError(ErrorCode.BUNDLE_INVALID, format_lazy(text, host=host, **values))
    elif length not in (None, size_bytes):
        text = _("{host} has {found} bytes there; the release has {size}.")
        values = {"found": f"{length:,}", "size": f"{size_bytes:,}"}
        raise ApiError(ErrorCode.BUNDLE_INVALID, format_lazy(text, host=host, **values))


@contextmanager
def _reporting(host: str, clock: _Clock) -> Iterator[None]:
    """Say in one sentence what the network did."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise unreachable(clock.complaint(host)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        text = format_lazy("{host}: {fault}.", host=host, fault=str(error) or _("the connection broke"))
        raise unreachable(text) from error
