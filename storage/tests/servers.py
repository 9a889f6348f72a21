"""Small servers that check requests as Alibaba Cloud documents it, and answer so."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ACCESS_KEY_ID = "test-id"
ACCESS_KEY_SECRET = "test-secret"
BUCKET = "test-bucket"

_SUBRESOURCES = {"objectMeta", "uploads", "uploadId", "partNumber"}


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
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.before_put: Any = None
        self.versioning = False
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[Server]:
    server = Server(handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
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
            cut = self.server.mode == "cut" and status == 200
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

    def misbehaves(self) -> bool:
        if self.server.mode == "hang":
            time.sleep(1)
        elif self.server.mode == "garbage":
            self.answer(200, b"<html>\xff")
        elif self.server.mode == "fail":
            self.answer(500, b"<Error><Code>InternalError</Code></Error>")
        else:
            return False
        self.close_connection = True
        return True


class OssHandler(_Handler):
    """Objects in one bucket; header and query signatures of version 1.

    https://www.alibabacloud.com/help/en/oss/developer-reference/include-signatures-in-the-authorization-header
    https://www.alibabacloud.com/help/en/oss/developer-reference/ddd-signatures-to-urls
    """

    def handle_request(self) -> None:
        self.body = self._read_body()
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.key = self._key(unquote(parts.path))
        with self.server.lock:
            self.server.requests.append(f"{self.command} {self.key} {','.join(sorted(self.query))}")
        if self.misbehaves():
            return
        if not self._is_signed():
            self._error(403, "SignatureDoesNotMatch")
        elif self.key is None:
            self._error(404, "NoSuchBucket")
        else:
            getattr(self, f"_{self.command.lower()}")(self.key)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []  # the SDK sends an empty object so
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _key(self, path: str) -> str | None:
        """Read bucket and key from path or host: path style for an address, else a domain bound to the bucket."""
        if self.headers["Host"] != self.server.address:
            return path[1:]
        bucket, _slash, key = path[1:].partition("/")
        return key if bucket == BUCKET else None

    def _is_signed(self) -> bool:
        if "Signature" in self.query:
            date, given = self.query["Expires"], self.query["Signature"]
            id_matches = self.query["OSSAccessKeyId"] == ACCESS_KEY_ID and int(date) > time.time()
        else:
            date = self.headers.get("Date", "")
            scheme, _space, rest = self.headers.get("Authorization", "").partition(" ")
            key_id, _colon, given = rest.partition(":")
            id_matches = scheme == "OSS" and key_id == ACCESS_KEY_ID
        oss_headers = sorted((n.lower(), v) for n, v in self.headers.items() if n.lower().startswith("x-oss-"))
        subresources = sorted((n, v) for n, v in self.query.items() if n in _SUBRESOURCES)
        resource = f"/{BUCKET}/{self.key}"
        if subresources:
            resource += "?" + "&".join(f"{n}={v}" if v else n for n, v in subresources)
        to_sign = "\n".join(
            [
                self.command,
                self.headers.get("Content-MD5", ""),
                self.headers.get("Content-Type", ""),
                date,
                "".join(f"{n}:{v}\n" for n, v in oss_headers) + resource,
            ]
        )
        return id_matches and hmac.compare_digest(given, hmac_sha1(ACCESS_KEY_SECRET, to_sign))

    def _error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.answer(status, body, x_oss_err=base64.b64encode(body).decode())

    def _get(self, key: str) -> None:
        if key in self.server.objects:
            data = self.server.objects[key]
            self.answer(200, data, ETag=f'"{hashlib.md5(data).hexdigest()}"', Content_Type="application/octet-stream")
        else:
            self._error(404, "NoSuchKey")

    _head = _get

    def _put(self, key: str) -> None:
        if "uploadId" in self.query:
            self.server.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
            self.answer(200, ETag=f'"{hashlib.md5(self.body).hexdigest()}"')
        else:
            self._create(key, self.body, b"")

    def _post(self, key: str) -> None:
        if "uploads" in self.query:
            upload_id = f"upload-{len(self.server.uploads)}"
            self.server.uploads[upload_id] = {}
            xml = f"<R><Bucket>{BUCKET}</Bucket><Key>k</Key><UploadId>{upload_id}</UploadId></R>"
            self.answer(200, xml.encode())
        else:
            parts = self.server.uploads.pop(self.query["uploadId"])
            self._create(key, b"".join(parts[number] for number in sorted(parts)), b"<R><ETag>e</ETag></R>")

    def _create(self, key: str, data: bytes, body: bytes) -> None:
        if self.server.before_put:
            self.server.before_put()
        forbidden = self.headers.get("x-oss-forbid-overwrite") == "true" and not self.server.versioning
        if key in self.server.objects and forbidden:
            self._error(409, "FileAlreadyExists")
        else:
            self.server.objects[key] = data
            self.answer(200, body, ETag=f'"{hashlib.md5(data).hexdigest()}"')

    def _delete(self, key: str) -> None:
        if "uploadId" in self.query:
            self.server.uploads.pop(self.query["uploadId"])
        else:
            self.server.objects.pop(key, None)
        self.answer(204)


class StsHandler(_Handler):
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
        if self.misbehaves():
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
