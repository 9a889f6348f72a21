"""Small servers that check requests as Alibaba Cloud documents it, and answer so. OSS itself is in `oss_server`."""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

ACCESS_KEY_ID = "test-id"
ACCESS_KEY_SECRET = "test-secret"
BUCKET = "test-bucket"

S = TypeVar("S", bound="Server")


def hmac_sha1(secret: str, text: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Server(ThreadingHTTPServer):
    """`mode` is `ok`, or how to misbehave: `fail`, `hang`, `cut` (half an answer) or `garbage`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.mode = "ok"
        self.requests: list[str] = []
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def running(server: S) -> Iterator[S]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            is_cut = self.is_cut() and 200 <= status < 300
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
            self.close_connection = self.close_connection or is_cut

    def is_cut(self) -> bool:
        return self.server.mode == "cut"

    def misbehaves(self, mode: str) -> bool:
        if mode == "hang":
            time.sleep(1)
            self.close_connection = True
        elif mode == "garbage":
            self.answer(200, b"<html>\xff")
        elif mode == "fail":
            self.answer(500, b"<Error><Code>InternalError</Code></Error>")
        else:
            return False
        return True


class StsHandler(Handler):
    """AssumeRole with the RPC signature of version 1.0.

    https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism
    """

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        query = parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
        parameters = dict(query + parse_qsl(body, keep_blank_values=True))
        given = parameters.pop("Signature", "")
        canonical = "&".join(f"{_encode(n)}={_encode(v)}" for n, v in sorted(parameters.items()))
        expected = hmac_sha1(ACCESS_KEY_SECRET + "&", f"POST&{_encode('/')}&{_encode(canonical)}")
        if self.misbehaves(self.server.mode):
            return
        if not hmac.compare_digest(given, expected) or parameters["AccessKeyId"] != ACCESS_KEY_ID:
            self.answer(400, json.dumps({"Code": "SignatureDoesNotMatch", "Message": "no match"}).encode())
            return
        self.server.requests.append(json.dumps(parameters))
        expiration = time.gmtime(time.time() + int(parameters["DurationSeconds"]))
        credentials = {
            "AccessKeyId": "STS.temporary-id",
            "AccessKeySecret": "temporary-secret",
            "SecurityToken": "temporary-token",
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", expiration),
        }
        self.answer(200, json.dumps({"RequestId": "r", "Credentials": credentials}).encode())


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
