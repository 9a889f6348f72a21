"""GET /artifacts/{key}: what a signed URL of ours gives."""

import gc
import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.signals import request_finished
from django.test import Client

from config import limits
from config.errors import ErrorCode
from storage import downloads, signatures
from storage.artifacts import artifact_url, store_artifact
from storage.ranges import ByteRange
from tests.cast import error_code

KEY = "bundles/experts/critic/1.0.0/bundle.tar.gz"
DATA = bytes(range(256)) * 40  # 10,240 bytes, each 256 of them apart


@pytest.fixture(autouse=True)
def stored(artifact_root: Path) -> Path:
    store_artifact(key=KEY, content=io.BytesIO(DATA))
    return artifact_root / KEY


def url_of(key: str = KEY, **options: Any) -> str:
    return artifact_url(key=key, base_url="http://testserver", **options).removeprefix("http://testserver")


def get(url: str, **headers: str) -> Any:
    """GET to the last byte, which closes the file."""
    response: Any = Client().get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response.body = b"".join(response.streaming_content) if response.streaming else response.content
    return response


def close(response: Any) -> None:
    """Close as the app server does after the last byte, or when the client is gone; the test's connection stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_finished, "send", lambda **_: [])
        response.close()


def body(response: Any) -> bytes:
    return bytes(response.body)


def test_the_whole_file() -> None:
    response = get(url_of())

    assert response.status_code == 200
    assert body(response) == DATA
    assert response["Content-Length"] == "10240"
    assert response["Content-Type"] == "application/gzip"
    assert response["Content-Disposition"] == 'attachment; filename="bundle.tar.gz"'
    assert response["Accept-Ranges"] == "bytes"
    assert response["ETag"].startswith('"')
    directives = response["Cache-Control"].split(", ")
    assert directives[0] == "private"
    assert 899 <= int(directives[1].removeprefix("max-age=")) <= 1200


def test_asks_no_database(django_assert_num_queries: Any, db: None) -> None:
    with django_assert_num_queries(0):
        assert body(get(url_of())) == DATA


def test_a_token_is_not_looked_at() -> None:
    assert body(get(url_of(), Authorization="Bearer nonsense")) == DATA


def test_a_key_that_has_to_be_quoted() -> None:
    key = "bundles/a b/ü+%2F&?=#/x.bin"
    store_artifact(key=key, content=io.BytesIO(b"x"))

    response = get(url_of(key))

    assert body(response) == b"x"
    assert response["Content-Type"] == "application/octet-stream"


def test_no_page_of_ours_is_made_of_what_others_store() -> None:
    store_artifact(key="evil.html", content=io.BytesIO(b"<script>"))

    response = get(url_of("evil.html"))

    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment")


def test_the_file_is_closed_and_never_read_whole(stored: Path) -> None:
    with stored.open("r+b") as file:
        file.truncate(50_000_000)
    response: Any = Client().get(url_of())

    sizes = [len(block) for block in response.streaming_content]

    assert sum(sizes) == 50_000_000
    assert max(sizes) < 1_000_000
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve() == stored]


class TestSignature:
    def test_is_bound_to_the_key(self) -> None:
        store_artifact(key="other", content=io.BytesIO(b"other"))
        query = urlsplit(url_of()).query

        response = get(f"/artifacts/other?{query}")

        assert response.status_code == 403
        assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED
        assert "expired" not in response.json()["error"]["message"]

    @pytest.mark.parametrize(
        "change",
        [
            {"expires": "9999999999"},
            {"expires": ""},
            {"expires": "-1"},
            {"expires": "1e9"},
            {"expires": "9" * 5000},
            {"expires": "\u0661"},
            {"signature": ""},
            {"signature": "0" * 64},
            {"signature": "ü"},
            {"expires": None},
            {"signature": None},
        ],
    )
    def test_is_bound_to_the_expiry(self, change: dict[str, str | None]) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url_of()).query).items()} | change

        sent = {name: value for name, value in query.items() if value is not None}
        response = Client().get(f"/artifacts/{KEY}", sent)

        assert response.status_code == 403
        assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED

    def test_with_a_nul_is_malformed(self) -> None:
        response = Client().get(f"/artifacts/{KEY}", {"expires": "9999999999", "signature": "\x00"})

        assert response.status_code == 400
        assert error_code(response) == ErrorCode.MALFORMED_REQUEST

    def test_ends_at_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        url = url_of(expires_seconds=60)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 58)
        assert get(url).status_code == 200

        monkeypatch.setattr(time, "time", lambda: now + 61)
        response = get(url)

        assert response.status_code == 403
        assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED
        assert "expired" in response.json()["error"]["message"]

    def test_an_expired_url_of_nobody_is_not_called_expired(self) -> None:
        response = get(f"/artifacts/{KEY}?expires=1&signature={'0' * 64}")

        assert "expired" not in response.json()["error"]["message"]

    def test_depends_on_the_secret(self, settings: Any) -> None:
        url = url_of()
        settings.SECRET_KEY = "another secret of more than thirty-two characters"

        assert get(url).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "bundles/..%5c..%5cwindows",
        "bundles/%00",
        "bundles//experts",
        ".incoming/x",
        "bundles",
        "%ff%fe",
    ],
)
def test_traversal(path: str, stored: Path) -> None:
    query = urlsplit(url_of()).query

    response = get(f"/artifacts/{path}?{query}")

    assert response.status_code == 403
    assert error_code(response) == ErrorCode.ARTIFACT_ACCESS_DENIED


def test_not_even_a_signature_leads_out_of_the_folder(stored: Path) -> None:
    (stored.parents[4] / "secret").write_bytes(b"secret")
    for key in ("../secret", f"{stored.parents[4]}/secret", "bundles/../../secret"):
        url = signatures.signed_url(key, base_url="", expires_seconds=None)

        assert get(url).status_code == 400


class TestRange:
    @pytest.mark.parametrize(
        ("header", "first", "last"),
        [
            ("bytes=0-0", 0, 0),
            ("bytes=0-99", 0, 99),
            ("bytes=300-400", 300, 400),
            ("bytes=10239-", 10_239, 10_239),
            ("bytes=10000-", 10_000, 10_239),
            ("bytes=0-", 0, 10_239),
            ("bytes=10000-99999999999999999999999", 10_000, 10_239),
            ("bytes=-1", 10_239, 10_239),
            ("bytes=-300", 9_940, 10_239),
            ("bytes=-10240", 0, 10_239),
            ("bytes=-" + "9" * 5000, 0, 10_239),
            ("BYTES=5-6", 5, 6),
            ("bytes= 5-6 ", 5, 6),
        ],
    )
    def test_a_part(self, header: str, first: int, last: int) -> None:
        response = get(url_of(), Range=header)

        assert response.status_code == 206
        assert response["Content-Range"] == f"bytes {first}-{last}/10240"
        assert response["Content-Length"] == str(last - first + 1)
        assert body(response) == DATA[first : last + 1]

    @pytest.mark.parametrize(
        "header",
        ["bytes=10240-", "bytes=10240-10241", "bytes=-0", "bytes=99999999999999999999-", "bytes=" + "9" * 5000 + "-"],
    )
    def test_nothing_of_it_is_there(self, header: str) -> None:
        response = get(url_of(), Range=header)

        assert response.status_code == 416
        assert error_code(response) == ErrorCode.RANGE_NOT_SATISFIABLE
        assert response["Content-Range"] == "bytes */10240"
        assert "Cache-Control" not in response

    @pytest.mark.parametrize(
        "header",
        [
            "bytes=0-1,5-6",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=6-5",
            "bytes=--5",
            "bytes",
            "lines=0-5",
            "bytes=1.5-2",
            "bytes=\u0661-\u0662",
            "",
        ],
    )
    def test_the_whole_for_what_is_no_single_range(self, header: str) -> None:
        response = get(url_of(), Range=header)

        assert response.status_code == 200
        assert "Content-Range" not in response
        assert body(response) == DATA

    def test_of_an_empty_file(self) -> None:
        store_artifact(key="empty", content=io.BytesIO())

        assert body(get(url_of("empty"))) == b""
        assert get(url_of("empty"))["Content-Length"] == "0"
        for header in ("bytes=0-", "bytes=-5"):
            assert get(url_of("empty"), Range=header).status_code == 416

    def test_eight_at_once_make_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "_places", downloads.make_places(threads=16))
        data = os.urandom(3_000_001)
        store_artifact(key="big.tar.gz", content=io.BytesIO(data))
        url = url_of("big.tar.gz")
        step = len(data) // 8 + 1

        def part(number: int) -> bytes:
            first = number * step
            return body(get(url, Range=f"bytes={first}-{first + step - 1}"))

        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(part, range(8)))

        assert b"".join(parts) == data

    def test_goes_on_where_it_broke_off_if_the_bytes_are_the_same(self) -> None:
        etag = get(url_of())["ETag"]

        assert get(url_of(), Range="bytes=5-", If_Range=etag).status_code == 206
        for other in ('"other"', f"W/{etag}", formatdate(usegmt=True), ""):
            response = get(url_of(), Range="bytes=5-", If_Range=other)
            assert response.status_code == 200, other
            assert body(response) == DATA


class TestConditions:
    def test_who_has_the_bytes_gets_none(self) -> None:
        etag = get(url_of())["ETag"]

        for header in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            response = get(url_of(), If_None_Match=header, Range="bytes=0-1")
            assert response.status_code == 304, header
            assert response["ETag"] == etag
            assert response.content == b""

    @pytest.mark.parametrize("header", ['"other"', "nonsense", ""])
    def test_who_has_others_gets_all(self, header: str) -> None:
        assert body(get(url_of(), If_None_Match=header)) == DATA

    def test_the_etag_differs_by_key(self) -> None:
        store_artifact(key="other", content=io.BytesIO(b"x" * len(DATA)))

        assert get(url_of())["ETag"] != get(url_of("other"))["ETag"]


def test_head() -> None:
    response = Client().head(url_of(), headers={"Range": "bytes=0-5"})

    assert response.status_code == 200
    assert response["Content-Length"] == "10240"
    assert response["Content-Type"] == "application/gzip"
    assert response["Accept-Ranges"] == "bytes"
    assert response.content == b""


def test_wrong_method() -> None:
    for method in ("post", "put", "patch", "delete"):
        response = getattr(Client(), method)(url_of())
        assert response.status_code == 405
        assert error_code(response) == ErrorCode.METHOD_NOT_ALLOWED


def test_without_a_key() -> None:
    for path in ("/artifacts/", "/artifacts"):
        response = get(path)
        assert response.status_code == 404
        assert error_code(response) == ErrorCode.NOT_FOUND


def test_a_file_that_is_gone_is_our_fault_and_may_come_back(stored: Path) -> None:
    url = url_of()
    stored.rename(stored.with_name("elsewhere"))

    response = get(url)
    assert response.status_code == 503
    assert error_code(response) == ErrorCode.STORAGE_UNAVAILABLE
    assert int(response["Retry-After"]) > 0

    stored.with_name("elsewhere").rename(stored)
    assert body(get(url)) == DATA


def test_a_file_that_goes_between_the_look_and_the_opening(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.local.LocalArtifactStorage.size", lambda *_: len(DATA))
    stored.unlink()

    response = get(url_of())

    assert response.status_code == 503
    assert error_code(response) == ErrorCode.STORAGE_UNAVAILABLE


def test_with_oss_there_is_nothing_here(use_oss: Callable[..., None]) -> None:
    url = url_of()
    use_oss()

    response = get(url)

    assert response.status_code == 404
    assert error_code(response) == ErrorCode.NOT_FOUND


class TestPlaces:
    """Downloads never take all threads of a worker from the calls that must not fail."""

    @pytest.fixture(autouse=True)
    def two_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(downloads, "_places", downloads.make_places(threads=5))

    @staticmethod
    def is_refused() -> bool:
        start = time.monotonic()
        response = get(url_of())
        if response.status_code == 200:
            return False
        assert time.monotonic() - start < 1, "at once"
        assert response.status_code == 503
        assert error_code(response) == ErrorCode.SERVICE_UNAVAILABLE
        assert response["Retry-After"] == str(limits.RETRY_AFTER_BUSY_SECONDS)
        assert "Cache-Control" not in response
        return True

    @pytest.mark.parametrize(("threads", "places"), [(1, 1), (2, 1), (3, 1), (8, 4), (256, 128)])
    def test_their_number(self, threads: int, places: int) -> None:
        assert downloads.make_places(threads).qsize() == places

    def test_of_this_process(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()

        assert downloads._places.qsize() == max(1, settings.WEB_THREADS // 2)

    def test_beyond_them_it_is_503_until_one_is_closed(self) -> None:
        held: list[Any] = [Client().get(url_of()), Client().get(url_of(), headers={"Range": "bytes=0-5"})]
        assert self.is_refused()
        assert self.is_refused()

        close(held[1])
        assert not self.is_refused()
        close(held[1])
        held.append(Client().get(url_of()))
        assert self.is_refused(), "closing twice gives one place back"

        assert b"".join(held[0].streaming_content) == DATA
        assert not self.is_refused()
        close(held[2])

    def test_closing_gives_a_place_back_though_the_part_is_still_held(self) -> None:
        download = downloads.Download(key=KEY, size=len(DATA), etag="", max_age=60)
        parts = [download.open(ByteRange(0, 5)) for _ in range(2)]
        assert self.is_refused()

        for part in parts:
            part.close()
            assert not self.is_refused()

    def test_answers_without_bytes_take_none(self) -> None:
        etag = get(url_of())["ETag"]
        held: list[Any] = [Client().get(url_of()) for _ in range(2)]

        assert Client().head(url_of()).status_code == 200
        assert get(url_of(), If_None_Match=etag).status_code == 304
        assert get(url_of(), Range="bytes=99999-").status_code == 416
        assert get("/artifacts/other?expires=1&signature=0").status_code == 403

        for response in held:
            close(response)
        for _ in range(3):
            assert Client().head(url_of()).status_code == 200
            assert get(url_of(), If_None_Match=etag).status_code == 304
        assert not self.is_refused()

    def test_a_client_that_breaks_off_gives_its_place_back(self) -> None:
        for _ in range(3):
            response: Any = Client().get(url_of())
            assert next(iter(response.streaming_content)) == DATA
            close(response)

        assert not self.is_refused()

    def test_a_response_that_is_lost_gives_its_place_back(self) -> None:
        held: list[Any] = [Client().get(url_of()) for _ in range(2)]
        assert self.is_refused()

        held.clear()
        gc.collect()

        assert not self.is_refused()

    @pytest.mark.parametrize("part", ["open", "seek"])
    def test_a_disk_that_fails_gives_the_place_back(self, part: str, stored: Path) -> None:
        class BrokenFile(io.FileIO):
            def seek(self, *_: Any) -> int:
                raise OSError("broken")

        def open_broken(*_: Any) -> BrokenFile:
            if part == "open":
                raise RuntimeError("broken")
            return BrokenFile(stored)

        client = Client(raise_request_exception=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("storage.local.LocalArtifactStorage.open", open_broken)
            for _ in range(3):
                assert client.get(url_of()).status_code == 500

        assert not self.is_refused()


class TestCors:
    def test_a_page_may_read_the_answer(self) -> None:
        response = get(url_of(), Origin="null", Range="bytes=0-5")

        assert response["Access-Control-Allow-Origin"] == "null"
        assert "Content-Range" in response["Access-Control-Expose-Headers"]

    def test_a_page_may_ask_for_a_range(self) -> None:
        headers = {
            "Origin": "http://localhost:5173",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "range",
        }
        response = Client().options(url_of(), headers=headers)

        assert response.status_code == 200
        assert response["Access-Control-Allow-Origin"] == "http://localhost:5173"
        assert "range" in response["Access-Control-Allow-Headers"]


def test_openapi_tells_what_is_answered() -> None:
    document = Client().get("/openapi.json").json()
    operation = document["paths"]["/artifacts/{key}"]["get"]

    assert operation["operationId"] == "artifacts_download"
    assert set(operation["responses"]) == {"200", "206", "304", "400", "403", "404", "416", "500", "503"}
    error = operation["responses"]["503"]["content"]["application/json"]["schema"]["properties"]["error"]
    assert error["properties"]["code"]["enum"] == ["SERVICE_UNAVAILABLE", "STORAGE_UNAVAILABLE"]
    assert set(operation["responses"]["200"]["content"]) == {"application/gzip", "application/octet-stream"}
    required = {p["name"] for p in operation["parameters"] if p.get("required")}
    assert required == {"key", "expires", "signature"}
