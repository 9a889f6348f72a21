"""An OSS with one bucket that checks signatures, and fails on demand."""

import base64
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from storage.tests.oss_signatures import Request, refusal
from storage.tests.servers import BUCKET, Handler, Server

_STATUSES: Final = {
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "AccessDenied": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "FileAlreadyExists": 409,
    "PreconditionFailed": 412,
    "QpsLimitExceeded": 503,
    "InternalError": 500,
}


@dataclass
class Upload:
    """An unfinished multipart upload."""

    key: str
    began_at: float = field(default_factory=time.time)
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose line contains `of`.

    `kind` is an error code; or `hang`; `drop` (half the body is read, then the connection breaks), `lost` (the request
    takes effect, its answer doesn't arrive), `cut` (half the answer arrives), `wrong etag`, `whole` (Range is ignored).
    """

    kind: str
    of: str
    times: int


class OssServer(Server):
    """Its requests are kept as lines such as `PUT key partNumber,uploadId`."""

    def __init__(self, signature_version: str = "v4") -> None:
        super().__init__(OssHandler)
        self.signature_version = signature_version
        self.objects: dict[str, bytes] = {}
        self.modified_at: dict[str, float] = {}
        self.uploads: dict[str, Upload] = {}
        self.upload_ids = (f"{number:032X}" for number in itertools.count(1))
        self.faults: list[Fault] = []
        self.before_put: Callable[[], object] = lambda: None
        self.before_part: Callable[[], object] = lambda: None
        self.versioning = False
        self.encryption = False

    def fail(self, kind: str, of: str = "", times: int = 1) -> None:
        self.faults.append(Fault(kind, of, times))

    def take_fault(self, line: str) -> str:
        with self.lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.times and fault.of in line:
                    fault.times -= 1
                    return fault.kind
        return ""

    def etag(self, data: bytes) -> str:
        """A bucket that encrypts has ETags that say nothing about the bytes."""
        return etag(b"encrypted" + data if self.encryption else data)

    def sent(self, words: str) -> int:
        """Count the requests whose line contains these words."""
        return sum(words in line for line in self.requests)


def etag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest().upper()


class OssHandler(Handler):
    server: OssServer

    def handle_request(self) -> None:
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, key = self._place(unquote(parts.path))
        self.fault = self.server.take_fault(f"{self.command} {key} {','.join(sorted(self.query))}")
        if self.fault == "drop":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
            return
        self.body = self._read_body()
        if self.misbehaves(self.server.mode) or self.misbehaves(self.fault):
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        signed = Request(self.command, bucket, key, self.query, headers)
        if code := refusal(signed, self.server.signature_version):
            self._error(code)
        elif bucket != BUCKET:
            self._error("NoSuchBucket")
        elif self.fault in _STATUSES:
            self._error(self.fault)
        elif key:
            getattr(self, f"_{self.command.lower()}")(key)
        elif "uploads" in self.query:
            self._list_uploads()
        else:
            self._list_objects()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        if self.fault == "lost":
            self.close_connection = True
            return
        if self.server.mode != "garbage":
            headers["x_oss_request_id"] = "5C3D9175B6FC201293AD****"
        if self.server.encryption:
            headers["x_oss_server_side_encryption"] = "KMS"
        super().answer(status, body, **headers)

    def is_cut(self) -> bool:
        return "cut" in (self.server.mode, self.fault)

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []  # the SDK sends an empty object so
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _place(self, path: str) -> tuple[str, str]:
        """Read bucket and key from path or host: path style for an address, else a domain bound to the bucket."""
        if self.headers["Host"] != self.server.address:
            return BUCKET, path[1:]
        bucket, _, key = path[1:].partition("/")
        return bucket, key

    def _error(self, code: str) -> None:
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.answer(_STATUSES.get(code, 403), body, x_oss_err=base64.b64encode(body).decode())

    # --- Objects --------------------------------------------------------------------------------------------------

    def _get(self, key: str) -> None:
        if "uploadId" in self.query:
            self._list_parts()
        elif key not in self.server.objects:
            self._error("NoSuchKey")
        elif self.headers.get("If-Match", tag := f'"{self.server.etag(self.server.objects[key])}"') != tag:
            self._error("PreconditionFailed")
        else:
            self._answer_with(self.server.objects[key], tag)

    _head = _get

    def _answer_with(self, data: bytes, tag: str) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted or self.fault == "whole":
            self.answer(200, data, ETag=tag, Content_Type="application/octet-stream")
            return
        first = int(wanted[1])
        self.answer(206, data[first:], ETag=tag, Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")

    def _put(self, key: str) -> None:
        if self.headers.get("Content-MD5") not in (None, base64.b64encode(hashlib.md5(self.body).digest()).decode()):
            self._error("InvalidDigest")
        elif "uploadId" not in self.query:
            self._create(key, self.body, b"")
        else:
            self.server.before_part()
            if upload := self._upload():
                upload.parts[int(self.query["partNumber"])] = self.body
                self.answer(200, ETag=self._told_etag(self.body))

    def _create(self, key: str, data: bytes, body: bytes) -> None:
        self.server.before_put()
        forbidden = self.headers.get("x-oss-forbid-overwrite") == "true" and not self.server.versioning
        if forbidden and key in self.server.objects:
            self._error("FileAlreadyExists")
            return
        self.server.objects[key] = data
        self.server.modified_at[key] = time.time()
        self.server.uploads.pop(self.query.get("uploadId", ""), None)
        self.answer(200, body, ETag=self._told_etag(data))

    def _told_etag(self, data: bytes) -> str:
        return f'"{self.server.etag(data if self.fault != "wrong etag" else b"others")}"'

    def _delete(self, key: str) -> None:
        if "uploadId" not in self.query:
            self.server.objects.pop(key, None)
        elif self._upload():
            del self.server.uploads[self.query["uploadId"]]
        else:
            return
        self.answer(204)

    # --- Uploads in parts -----------------------------------------------------------------------------------------

    def _post(self, key: str) -> None:
        if "uploads" in self.query:
            upload_id = next(self.server.upload_ids)
            self.server.uploads[upload_id] = Upload(key)
            self._answer_xml("InitiateMultipartUploadResult", [_tags(Bucket=BUCKET, Key=key, UploadId=upload_id)])
        elif upload := self._upload():
            named = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>\"(\w+)\"</ETag>", self.body.decode())
            parts = [upload.parts.get(int(number), b"") for number, _ in named]
            if any(self.server.etag(part) != tag for part, (_, tag) in zip(parts, named, strict=True)):
                self._error("InvalidPart")
            else:
                self._create(key, b"".join(parts), b"<R><ETag>e</ETag></R>")

    def _upload(self) -> Upload | None:
        upload = self.server.uploads.get(self.query["uploadId"])
        if upload is None:
            self._error("NoSuchUpload")
        return upload

    def _list_parts(self) -> None:
        if upload := self._upload():
            after = int(self.query.get("part-number-marker") or 0)
            rows = [
                _tags(
                    PartNumber=number,
                    LastModified=_iso(upload.began_at),
                    ETag=f'"{self.server.etag(data)}"',
                    Size=len(data),
                )
                for number, data in sorted(upload.parts.items())
                if number > after
            ]
            page, more = self._page(rows, "max-parts")
            last = re.findall(r"<PartNumber>(\d+)", page[-1])[0] if page else after
            self._answer_xml("ListPartsResult", [more, _tags(NextPartNumberMarker=last), *_each("Part", page)])

    # --- Listings of the bucket -----------------------------------------------------------------------------------

    def _list_uploads(self) -> None:
        key_after, id_after = self.query.get("key-marker", ""), self.query.get("upload-id-marker", "")
        places = sorted((u.key, i) for i, u in self.server.uploads.items() if u.key.startswith(self.query["prefix"]))
        left = [(k, i) for k, i in places if (k, i) > (key_after, id_after) and (id_after or k > key_after)]
        page, more = self._page(left, "max-uploads")
        key, upload_id = page[-1] if page else ("", "")
        rows = [_tags(Key=quote(k), UploadId=i, Initiated=_iso(self.server.uploads[i].began_at)) for k, i in page]
        markers = _tags(EncodingType="url", NextKeyMarker=quote(key), NextUploadIdMarker=upload_id)
        self._answer_xml("ListMultipartUploadsResult", [more, markers, *_each("Upload", rows)])

    def _list_objects(self) -> None:
        """Version 2 of the call; the token is simply the last key of the page before."""
        after = self.query.get("continuation-token", "")
        keys = sorted(k for k in self.server.objects if k.startswith(self.query["prefix"]) and k > after)
        page, more = self._page(keys, "max-keys")
        rows = [
            _tags(
                Key=quote(key),
                LastModified=_iso(self.server.modified_at.get(key, time.time())),
                ETag=f'"{self.server.etag(self.server.objects[key])}"',
                Type="Normal",
                Size=len(self.server.objects[key]),
                StorageClass="Standard",
            )
            for key in page
        ]
        token = _tags(EncodingType="url", NextContinuationToken=quote(page[-1]) if page else "")
        self._answer_xml("ListBucketResult", [more, token, *_each("Contents", rows)])

    def _page(self, rows: list[Any], limit: str) -> tuple[list[Any], str]:
        most = min(1_000, int(self.query[limit]))
        return rows[:most], _tags(IsTruncated=str(len(rows) > most).lower())

    def _answer_xml(self, name: str, children: Iterable[str]) -> None:
        self.answer(200, f"<{name}>{''.join(children)}</{name}>".encode(), Content_Type="application/xml")


def _tags(**values: object) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items())


def _each(name: str, rows: Iterable[str]) -> list[str]:
    return [f"<{name}>{row}</{name}>" for row in rows]


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))
