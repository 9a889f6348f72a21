"""A real HTTPS server on this machine, under an authority of the tests' own, that answers as a test wants it to."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import trustme
from pytest_django import Settings

Answer = bytes | Callable[[ssl.SSLSocket], None]


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def mirror_on_campus(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator["Mirror"]:
    """A running mirror that this machine trusts and whose private address its operator allows."""
    certificate = folder / "authority.pem"
    authority().cert_pem.write_to_path(str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    settings.VERIFY_PRIVATE_HOSTS = frozenset({"localhost"})
    with Mirror().running() as mirror:
        yield mirror


def ok(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """An answer with status 200; `length` is announced in place of the body's own."""
    return answer("200 OK", *headers, f"Content-Length: {len(body) if length is None else length}", body=body)


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status, f"Location: {location}", "Content-Length: 0")


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


class Mirror:
    """Answers each path of `answers` with bytes, or by a function that has the connection; one request a connection."""

    def __init__(self, *names: str) -> None:
        self.answers: dict[str, Answer] = {}
        self.connections = 0
        self.requests: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert(*(names or ("localhost",))).configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]

    @contextmanager
    def running(self) -> Iterator["Mirror"]:
        accepting = self._start(self._accept)
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            self._listener.close()
            for thread in self._threads:
                thread.join()

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end: the listener is shut down
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError):  # clients that go away are what the tests are about
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as connection:
                head = b""
                while b"\r\n\r\n" not in head and (block := connection.recv(65_536)):
                    head += block
                if b"\r\n\r\n" not in head:
                    return  # the client's time was over before it had asked
                self.requests.append(head.decode("latin-1"))
                reply = self.answers.get(self.paths[-1], answer("404 Not Found", "Content-Length: 0"))
                if callable(reply):
                    reply(connection)
                else:
                    connection.sendall(reply)
