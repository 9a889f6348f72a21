import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from config.errors import ErrorCode
from updates.remote import is_public, opened
from updates.tests.mirror import Mirror, answer, mirror_on_campus, ok, redirect
from updates.tests.shelf import refused

BODY = b"the bytes of a bundle" * 1000


@pytest.fixture
def mirror(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    with mirror_on_campus(settings, monkeypatch, tmp_path) as mirror:
        mirror.answers["/bundle"] = ok(BODY)
        yield mirror


def fetch(url: str, size_bytes: int = len(BODY)) -> bytes:
    with opened(url, size_bytes=size_bytes) as blocks:
        return b"".join(blocks)


def unreachable(words: str = "") -> Any:
    return refused(ErrorCode.ARTIFACT_UNREACHABLE, words)


def test_a_body_is_fetched_as_it_is(mirror: Mirror) -> None:
    assert fetch(mirror.url("/bundle")) == BODY
    headers = mirror.requests[0].lower().split("\r\n")
    assert headers[0] == "get /bundle http/1.1"
    assert f"host: localhost:{mirror.port}" in headers
    assert "accept-encoding: identity" in headers
    assert not [line for line in headers if line.startswith(("cookie", "authorization", "referer"))]


def test_path_and_query_go_as_they_are(mirror: Mirror) -> None:
    path = "/a%20b/%E8%AF%BE?sign=a%2Fb%3D&x=(1)"
    mirror.answers[path] = ok(BODY)
    assert fetch(mirror.url(path + "#part")) == BODY


def test_other_characters_are_quoted(mirror: Mirror) -> None:
    mirror.answers["/%E8%AF%BE%20?q=%E8%AF%BE"] = ok(BODY)
    assert fetch(mirror.url("/课 ?q=课")) == BODY


def test_a_proxy_in_the_environment_takes_no_part(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch(mirror.url("/bundle")) == BODY


def test_a_body_of_unknown_length_is_given_as_it_comes(mirror: Mirror) -> None:
    mirror.answers["/chunked"] = answer(
        "200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    )
    assert fetch(mirror.url("/chunked"), 3) == b"hello!"


# --- What the answer may not be -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, len(BODY) - 1, len(BODY) + 1, 10**18])
def test_another_announced_length_is_refused_before_the_body(mirror: Mirror, length: int) -> None:
    mirror.answers["/bundle"] = ok(BODY, length=length)
    with refused(ErrorCode.BUNDLE_INVALID, f"{length:,} bytes"), opened(mirror.url("/bundle"), size_bytes=len(BODY)):
        pytest.fail("The body was opened.")


def test_less_than_the_announced_length_is_a_broken_connection(mirror: Mirror) -> None:
    mirror.answers["/bundle"] = ok(BODY[:-1], length=len(BODY))
    with unreachable("localhost"):
        fetch(mirror.url("/bundle"))


def test_more_than_the_announced_length_is_not_read(mirror: Mirror) -> None:
    mirror.answers["/bundle"] = ok(BODY + b"more", length=len(BODY))
    assert fetch(mirror.url("/bundle")) == BODY


@pytest.mark.parametrize("status", ["206 Partial Content", "304 Not Modified", "404 Not Found", "500 Oops"])
def test_another_status_is_refused(mirror: Mirror, status: str) -> None:
    mirror.answers["/bundle"] = answer(status, f"Content-Length: {len(BODY)}", body=BODY)
    with unreachable(f"status {status[:3]}"):
        fetch(mirror.url("/bundle"))


def test_an_encoded_body_is_refused(mirror: Mirror) -> None:
    mirror.answers["/bundle"] = ok(BODY, "Content-Encoding: gzip")
    with unreachable("encoding"):
        fetch(mirror.url("/bundle"))


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        answer("200 OK", "Content-Length: 5", "Content-Length: 6"),
        answer("200 OK", "Content-Length: five"),
        answer("200 OK", *(f"X-{i}: {'x' * 1000}" for i in range(200))),
        answer("200 OK", f"X: {'x' * 200_000}"),
    ],
    ids=["ssh", "nothing", "two lengths", "no number", "many headers", "a long header"],
)
def test_what_is_no_sound_http_is_refused(mirror: Mirror, reply: bytes) -> None:
    mirror.answers["/bundle"] = reply
    with unreachable("localhost"):
        fetch(mirror.url("/bundle"))


# --- Time ----------------------------------------------------------------------------------------------------------


def drip(*, first: bytes) -> Any:
    def reply(connection: ssl.SSLSocket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return reply


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()],
    ids=["headers", "body"],
)
def test_a_slow_drip_ends(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr("config.limits.VERIFY_MAX_SECONDS", 0.5)
    mirror.answers["/bundle"] = drip(first=first)
    began = time.monotonic()
    with unreachable("0.5 seconds"):
        fetch(mirror.url("/bundle"))
    assert time.monotonic() - began < 3


def test_a_server_that_says_nothing_is_left(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.VERIFY_STALL_SECONDS", 0.2)
    mirror.answers["/bundle"] = lambda connection: time.sleep(0.6)
    with unreachable("too long"):
        fetch(mirror.url("/bundle"))


def test_silence_does_not_outlast_the_time_in_all(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.VERIFY_MAX_SECONDS", 0.2)
    mirror.answers["/bundle"] = lambda connection: time.sleep(1)
    began = time.monotonic()
    with unreachable("0.2 seconds"):
        fetch(mirror.url("/bundle"))
    assert time.monotonic() - began < 0.9


def test_a_server_that_never_says_hello_is_left(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr("config.limits.VERIFY_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, unreachable("too long"):
        fetch(f"https://localhost:{silent.getsockname()[1]}/")


def test_the_time_counts_over_all_redirects(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.VERIFY_MAX_SECONDS", 0.5)

    def slowly(connection: ssl.SSLSocket) -> None:
        time.sleep(0.2)
        connection.sendall(redirect("/bundle"))

    mirror.answers["/bundle"] = slowly
    with unreachable("0.5 seconds"):
        fetch(mirror.url("/bundle"))


# --- Where it may lie ----------------------------------------------------------------------------------------------


def test_without_leave_a_private_address_is_not_even_connected_to(mirror: Mirror, settings: Settings) -> None:
    settings.VERIFY_PRIVATE_HOSTS = frozenset()
    with unreachable("not a public address"):
        fetch(mirror.url("/bundle"))
    assert mirror.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "100.100.100.200",
        "10.0.0.1",
        "192.168.1.1",
        "[fd00::1]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_leave_for_one_name_is_none_for_an_address(mirror: Mirror, host: str) -> None:
    mirror.answers["/away"] = redirect(mirror.url("/bundle", host))
    for url in (mirror.url("/bundle", host), mirror.url("/away")):
        with unreachable():
            fetch(url)
    assert mirror.paths == ["/away"]
    assert mirror.connections == 1


def test_a_redirect_is_followed(mirror: Mirror) -> None:
    mirror.answers["/old/place"] = redirect("../bundle", "301 Moved Permanently")
    mirror.answers["/older"] = redirect(mirror.url("/old/place"), "307 Temporary Redirect")
    assert fetch(mirror.url("/older")) == BODY
    assert mirror.paths == ["/older", "/old/place", "/bundle"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "ws", "gopher"])
def test_a_redirect_to_anything_but_https_is_refused(mirror: Mirror, scheme: str) -> None:
    mirror.answers["/away"] = redirect(f"{scheme}://localhost:{mirror.port}/bundle")
    with unreachable("only https"):
        fetch(mirror.url("/away"))
    assert mirror.connections == 1


@pytest.mark.parametrize("port", [1, 22, 25, 80, 1023])
def test_ports_of_other_services_are_not_connected_to(mirror: Mirror, port: int) -> None:
    with unreachable(f"port {port} "):
        fetch(f"https://localhost:{port}/")


def test_redirects_without_end_are_left(mirror: Mirror) -> None:
    mirror.answers["/loop"] = redirect("/loop")
    with unreachable("redirects more than 5 times"):
        fetch(mirror.url("/loop"))
    assert len(mirror.paths) == 6


@pytest.mark.parametrize(
    "location",
    [
        "",
        "https://",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://[::1",
        "https://localhost:99999/",
        "https://a b/",
    ],
)
def test_a_redirect_to_nowhere_is_refused(mirror: Mirror, location: str) -> None:
    mirror.answers["/away"] = redirect(location)
    with unreachable():
        fetch(mirror.url("/away"))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/bundle",
        "https://user:secret@localhost/bundle",
        "https://user@localhost/bundle",
        "https://localhost:0/",
        "https://localhost:port/",
        "https:///bundle",
        "https://exa\\mple.com/",
        "https://localhost\\@127.0.0.1/",
        "https://.localhost/",
        "https://" + "a" * 70 + ".example/",
        "https://\u2100.example.com\u2024/",
        "//localhost/",
        "",
    ],
)
def test_a_url_that_is_none_for_this_is_refused(mirror: Mirror, url: str) -> None:
    with unreachable():
        fetch(url)
    assert mirror.connections == 0


def test_a_password_is_not_told_to_whoever_asked(mirror: Mirror) -> None:
    with pytest.raises(Exception, match="name or password") as refusal:
        fetch("https://user:s3cret@localhost/bundle")
    assert "s3cret" not in str(refusal.value)


# --- Names ---------------------------------------------------------------------------------------------------------


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the machine's resolver answer so, one answer after the other; return the names that it was asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [entry for address in addresses for entry in real(address, port, *args, **kwargs)]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr("socket.getaddrinfo", resolver)
    return asked


def test_a_name_with_a_public_and_a_private_address_is_refused(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["203.0.114.1", "127.0.0.1"])
    with unreachable("127.0.0.1 is not a public address"):
        fetch(mirror.url("/bundle", "both.example"))
    assert mirror.connections == 0


def test_an_allowed_host_has_no_leave_for_the_metadata_service(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"):
        resolve_to(monkeypatch, [address])
        with unreachable("not a public address"):
            fetch(mirror.url("/bundle"))
    assert mirror.connections == 0


def test_the_checked_address_is_connected_to_and_the_name_asked_for_once(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    assert fetch(mirror.url("/bundle")) == BODY
    assert asked == ["localhost"]


def test_the_next_address_is_tried_when_one_refuses(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    assert fetch(mirror.url("/bundle")) == BODY


def test_a_name_that_does_not_resolve_is_told(mirror: Mirror) -> None:
    with unreachable("no-such-host.invalid: the name has no address"):
        fetch("https://no-such-host.invalid/bundle")


def test_nobody_listening_is_told(mirror: Mirror) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with unreachable("refused"):
        fetch(f"https://localhost:{port}/")


def test_the_certificate_has_to_be_for_the_name(mirror: Mirror) -> None:
    with Mirror("elsewhere.example", "127.0.0.1").running() as other:
        other.answers["/bundle"] = ok(BODY)
        with unreachable("certificate"):
            fetch(other.url("/bundle"))
        assert other.requests == []


def test_the_certificate_has_to_be_of_a_known_authority(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with unreachable("certificate"):
        fetch(mirror.url("/bundle"))
    assert mirror.requests == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::5db8:d822", False),
        ("::ffff:93.184.216.34", False),
        ("::ffff:10.0.0.1", False),
        ("::93.184.216.34", False),
        ("2002:5db8:d822::1", False),
        ("2002:a00:1::1", False),
        ("2001:0:5db8:d822::f5ff:fffe", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("4000::1", False),
        ("100::1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("0.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.0.9", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("224.0.0.251", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is expected
