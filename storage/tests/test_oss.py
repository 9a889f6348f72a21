"""The store in OSS: outages that pass and that don't, uploads that go on, and nothing that is half there."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from config.errors import ApiError, ErrorCode
from storage.artifacts import (
    abort_stale_uploads,
    artifact_exists,
    artifact_size,
    delete_artifact,
    list_artifacts,
    open_artifact,
    store_artifact,
)
from storage.oss import OssArtifactStorage
from storage.tests import servers
from storage.tests.oss_server import OssServer, Upload, etag
from tests.races import in_thread

KEY = "bundles/experts/critic/1.0.0/bundle.tar.gz"
PART_BYTES = 100_000

PUT_PART = f"PUT {KEY} partNumber,uploadId"
BEGIN = f"POST {KEY} uploads"
COMPLETE = f"POST {KEY} uploadId"

STORE_FROM_STDIN = f"""
import io, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from config import limits
limits.OSS_PART_BYTES = {PART_BYTES}
from storage.artifacts import store_artifact
store_artifact(key="{KEY}", content=io.BytesIO(sys.stdin.buffer.read()))
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.OSS_PART_BYTES", PART_BYTES)


@pytest.fixture
def data() -> bytes:
    """Five parts, the last one shorter."""
    return os.urandom(4 * PART_BYTES + 1_234)


def parts_of(data: bytes) -> list[bytes]:
    return [data[offset : offset + PART_BYTES] for offset in range(0, len(data), PART_BYTES)]


def store(data: bytes) -> None:
    """Store by a storage of its own, as another process would."""
    OssArtifactStorage().save(KEY, io.BytesIO(data))


def begun(oss: OssServer, data: bytes, *numbers: int, age: float = 0.0) -> Upload:
    """Leave an unfinished upload with these of the data's parts."""
    parts = {number: parts_of(data)[number - 1] for number in numbers}
    upload_id = next(oss.upload_ids)
    oss.uploads[upload_id] = Upload(KEY, time.time() - age, parts)
    return oss.uploads[upload_id]


def unavailable() -> Any:
    return pytest.raises(
        ApiError, check=lambda error: error.code is ErrorCode.STORAGE_UNAVAILABLE and bool(error.retry_after)
    )


class TestUploadThatGoesOn:
    @pytest.mark.parametrize("signature_version", ["v1", "v4"])
    def test_sends_only_what_is_missing(self, oss: OssServer, data: bytes) -> None:
        broken = iter([False, False, True])
        oss.before_part = lambda: setattr(oss, "mode", "fail" if next(broken, False) else "ok")
        with unavailable():
            store(data)  # two parts arrive, a third one as well, and then everything fails
        there = {number for upload in oss.uploads.values() for number in upload.parts}
        assert there == {1, 2, 3}
        assert not artifact_exists_anew(oss)
        oss.requests.clear()

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.uploads == {}
        assert oss.sent(PUT_PART) == 2
        assert oss.sent(BEGIN) == 0

    def test_in_another_process(self, oss: OssServer, data: bytes) -> None:
        begun(oss, data, 1, 2, 4)
        environment = {
            **os.environ,
            "APP_ENV": "test",
            "OSS_ENABLED": "true",
            "OSS_SIGNATURE_VERSION": "v4",
            "OSS_DOWNLOAD_SIGNED_URL_ENABLED": "true",
        }
        for name in ("REGION_ID", "ENDPOINT", "BUCKET_NAME", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET"):
            environment[f"OSS_{name}"] = getattr(settings, f"OSS_{name}")

        subprocess.run(
            [sys.executable, "-c", STORE_FROM_STDIN], input=data, env=environment, cwd=settings.BASE_DIR, check=True
        )

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 2
        assert oss.uploads == {}

    def test_of_which_all_parts_are_there(self, oss: OssServer, data: bytes) -> None:
        begun(oss, data, 1, 2, 3, 4, 5)

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 0

    def test_of_which_the_parts_fill_pages(self, oss: OssServer, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.limits.OSS_PAGE_ENTRIES", 2)
        for _ in range(3):
            begun(oss, data, 2, age=60)
        begun(oss, data, 1, 2, 3, 5)

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 1

    def test_with_the_newest_that_fits(self, oss: OssServer, data: bytes) -> None:
        begun(oss, data, 1, 2, 3, age=300)
        begun(oss, data, 1, 2, 3, 4, age=200)
        begun(oss, os.urandom(len(data)), 1, age=100)
        begun(oss, data, age=50)
        oss.uploads["another key's"] = Upload(KEY + ".old", time.time(), {1: parts_of(data)[0]})

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 1
        assert len(oss.uploads) == 4

    @pytest.mark.parametrize("change", ["another part", "a longer part", "too many parts", "other part sizes"])
    def test_other_bytes_begin_anew(self, oss: OssServer, data: bytes, change: str) -> None:
        there = begun(oss, data, 1, 2, 3)
        match change:
            case "another part":
                there.parts[3] = b"x" * PART_BYTES
            case "a longer part":
                there.parts[5] = parts_of(data)[4] + b"x"
            case "too many parts":
                there.parts[6] = b"x"
            case "other part sizes":
                there.parts = {1: data[: 2 * PART_BYTES]}
        before = dict(there.parts)

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 5
        assert there.parts == before

    def test_a_key_that_may_not_list_uploads_begins_anew(
        self, oss: OssServer, data: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        begun(oss, data, 1, 2, 3)
        oss.fail("AccessDenied", "GET  ")

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 5
        assert "Uploads can't go on where they broke off" in caplog.text

    def test_that_was_given_up_meanwhile_begins_anew(self, oss: OssServer, data: bytes) -> None:
        begun(oss, data, 1, 2, 3)
        oss.before_part = lambda: oss.uploads.pop(next(iter(oss.uploads))) if oss.sent(PUT_PART) == 1 else None

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 1 + 5


class TestTwoUploadsAtOnce:
    @pytest.mark.parametrize("same", [True, False])
    def test_never_mix_their_bytes(self, oss: OssServer, data: bytes, same: bool) -> None:
        """The second finds the first's upload with its two parts, takes them for its own, and overtakes it."""
        other = data if same else data[: 2 * PART_BYTES] + os.urandom(len(data) - 2 * PART_BYTES)
        second: list[Future[None]] = []

        def overtake() -> None:
            if oss.sent(PUT_PART) == 3:
                second.append(in_thread(lambda: store(other)))
                second[0].exception(60)

        oss.before_part = overtake
        outcome = in_thread(lambda: store(data)).exception(60)

        assert second[0].exception() is None
        assert oss.objects == {KEY: other}
        if same:
            assert outcome is None
        else:
            assert isinstance(outcome, ApiError)
            assert outcome.code is ErrorCode.BUNDLE_RELEASE_CONFLICT

    def test_a_part_that_was_replaced_is_not_taken(self, oss: OssServer, data: bytes) -> None:
        """Somebody else sends other bytes to the upload that this one goes on with."""
        shared = begun(oss, data, 1, 2)

        def replace() -> None:
            if oss.sent(PUT_PART) == 3:
                shared.parts[1] = b"x" * PART_BYTES

        oss.before_part = replace

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.sent(BEGIN) == 1

    def test_a_race_that_is_lost_at_the_end(self, oss: OssServer, data: bytes) -> None:
        oss.before_put = lambda: oss.objects.setdefault(KEY, b"first")

        for content in (b"second", data):
            with pytest.raises(ApiError) as caught:
                store(content)
            assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
            store(b"first")

        assert oss.objects[KEY] == b"first"
        assert oss.uploads == {}

    def test_a_race_that_is_lost_to_the_same_bytes(self, oss: OssServer, data: bytes) -> None:
        oss.before_put = lambda: oss.objects.setdefault(KEY, data)

        store(data)

        assert oss.objects == {KEY: data}
        assert oss.uploads == {}

    def test_a_bucket_with_versioning_ignores_that_overwriting_is_forbidden(self, oss: OssServer) -> None:
        oss.versioning = True
        store(b"first")

        with pytest.raises(ApiError) as caught:
            store(b"second")

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        assert oss.objects[KEY] == b"first"


class TestFaultThatPasses:
    @pytest.mark.parametrize("kind", ["InternalError", "QpsLimitExceeded", "drop", "lost", "hang", "wrong etag"])
    @pytest.mark.parametrize("of", ["PUT", "POST", "partNumber"])
    def test_an_upload_succeeds(
        self, oss: OssServer, data: bytes, monkeypatch: pytest.MonkeyPatch, kind: str, of: str
    ) -> None:
        monkeypatch.setattr("config.limits.OSS_ANSWER_SECONDS", 0.3)
        oss.fail(kind, of, times=2)

        store(b"small" if of == "PUT" else data)

        assert oss.objects[KEY] == (b"small" if of == "PUT" else data)

    def test_a_finished_upload_is_not_sent_again_because_its_answer_got_lost(self, oss: OssServer, data: bytes) -> None:
        oss.fail("lost", COMPLETE)

        store(data)

        assert oss.sent(BEGIN) == 1
        assert oss.sent(PUT_PART) == 5
        assert oss.uploads == {}

    @pytest.mark.parametrize("kind", ["InternalError", "QpsLimitExceeded", "drop", "lost"])
    def test_every_other_call_succeeds(self, oss: OssServer, kind: str) -> None:
        oss.objects[KEY] = b"the bytes"

        def troubled(call: Callable[[], Any]) -> Any:
            oss.fail(kind, times=2)
            return call()

        assert troubled(lambda: artifact_exists(key=KEY)) is True
        assert troubled(lambda: artifact_size(key=KEY)) == 9
        assert troubled(lambda: open_artifact(key=KEY)).read() == b"the bytes"
        assert [found.key for found in troubled(lambda: list_artifacts(prefix="bundles/"))] == [KEY]
        assert troubled(lambda: abort_stale_uploads(older_than=timezone.now())) == 0
        troubled(lambda: delete_artifact(key=KEY))
        assert oss.objects == {}

    def test_a_listing_of_which_half_arrives(self, oss: OssServer) -> None:
        oss.objects[KEY] = b"x"
        oss.fail("cut", "list-type", times=2)

        assert [artifact.key for artifact in list_artifacts(prefix="bundles/")] == [KEY]

    def test_is_met_with_pauses_that_grow_up_to_a_limit(self, oss: OssServer, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
        monkeypatch.setattr("random.uniform", lambda _least, most: most)
        monkeypatch.setattr("config.limits.OSS_BACKOFF_SECONDS", 0.5)
        monkeypatch.setattr("config.limits.OSS_TRIES", 6)
        oss.fail("InternalError", times=5)

        assert not artifact_exists(key=KEY)

        assert pauses == [0.5, 1, 2, 4, 4]

    def test_is_met_a_number_of_times(self, oss: OssServer) -> None:
        oss.fail("InternalError", times=3)

        with unavailable():
            artifact_exists(key=KEY)

        assert len(oss.requests) == 3
        assert not artifact_exists(key=KEY)

    @pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "PreconditionFailed"])
    def test_a_refusal_is_none(self, oss: OssServer, code: str) -> None:
        oss.objects[KEY] = b"x"
        oss.fail(code)

        with unavailable():
            open_artifact(key=KEY)

        assert len(oss.requests) == 1

    def test_a_page_of_something_else_than_oss_is_one(self, oss: OssServer) -> None:
        oss.mode = "garbage"
        for call in (
            lambda: artifact_exists(key=KEY),
            lambda: store_artifact(key=KEY, content=io.BytesIO(b"x")),
            lambda: open_artifact(key=KEY),
            lambda: list(list_artifacts(prefix="bundles/")),
        ):
            oss.requests.clear()
            with unavailable():
                call()
            assert len(oss.requests) == 3


class TestBytes:
    def test_another_etag_than_that_of_a_part_is_a_failure(self, oss: OssServer, data: bytes) -> None:
        oss.fail("wrong etag", PUT_PART, times=3)

        with unavailable():
            store(data)

        assert oss.objects == {}

    def test_that_lie_there_after_a_wrong_etag_are_compared(self, oss: OssServer) -> None:
        oss.fail("wrong etag", "PUT", times=3)

        store(b"small")

        assert oss.requests[-1] == f"GET {KEY} "

    @pytest.mark.parametrize("size", [6, 2 * PART_BYTES])
    def test_a_bucket_that_encrypts_has_etags_of_its_own(self, oss: OssServer, size: int) -> None:
        oss.encryption = True
        oss.versioning = True

        OssArtifactStorage().save(KEY, io.BytesIO(b"x" * size))

        assert oss.objects == {KEY: b"x" * size}

    def test_are_checked_by_oss(self, oss: OssServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is damaged on the way is refused by its Content-MD5."""
        monkeypatch.setattr("storage.oss_uploads._md5", lambda data: bytes(16))

        with unavailable():
            store(b"x")

        assert oss.objects == {}

    def test_of_a_broken_connection_are_no_short_file(self, oss: OssServer) -> None:
        oss.objects[KEY] = os.urandom(100_000)
        oss.mode = "cut"

        with open_artifact(key=KEY) as file, unavailable():
            # Each connection brings half of what is left, so it ends with a byte that never comes.
            file.read()

    def test_go_on_after_a_broken_connection(self, oss: OssServer) -> None:
        oss.objects[KEY] = os.urandom(1_000_000)
        oss.fail("cut", "GET", times=3)

        with open_artifact(key=KEY) as file:
            assert file.read(10) == oss.objects[KEY][:10]
            assert file.read() == oss.objects[KEY][10:]

        assert oss.sent("GET") == 4

    @pytest.mark.parametrize("change", ["replaced", "deleted", "range ignored", "gone"])
    def test_of_two_objects_are_never_read_as_one(self, oss: OssServer, change: str) -> None:
        oss.objects[KEY] = b"x" * 1_000_000
        oss.fail("cut", "GET")

        with open_artifact(key=KEY) as file:
            assert file.read(10) == b"x" * 10
            match change:
                case "replaced":
                    oss.objects[KEY] = b"y" * 1_000_000
                case "deleted":
                    del oss.objects[KEY]
                case "range ignored":
                    oss.fail("whole", "GET", times=3)
                case "gone":
                    oss.mode = "fail"
            with pytest.raises((ApiError, FileNotFoundError)):
                file.read()


class TestOutage:
    @pytest.mark.parametrize(
        ("signature_version", "mode"),
        [(version, mode) for version in ("v1", "v4") for mode in ("wrong secret", "wrong id", "wrong version")]
        + [("v4", mode) for mode in ("fail", "hang", "gone", "wrong bucket", "wrong region")],
    )
    def test_is_told(
        self, oss: OssServer, use_oss: Callable[..., None], monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr("config.limits.OSS_ANSWER_SECONDS", 0.1)
        version = oss.signature_version
        wrong = {
            "wrong secret": {"OSS_ACCESS_KEY_SECRET": "another"},
            "wrong id": {"OSS_ACCESS_KEY_ID": "another"},
            "wrong bucket": {"OSS_BUCKET_NAME": "another-bucket"},
            "wrong region": {"OSS_REGION_ID": "cn-shanghai"},
            "wrong version": {"OSS_SIGNATURE_VERSION": "v1" if version == "v4" else "v4"},
        }
        if mode == "gone":
            oss.shutdown()
            oss.server_close()
        elif mode in wrong:
            use_oss(**{"OSS_ENDPOINT": f"http://{oss.address}", "OSS_SIGNATURE_VERSION": version} | wrong[mode])
        else:
            oss.mode = mode

        for call in (
            lambda: artifact_exists(key=KEY),
            lambda: artifact_size(key=KEY),
            lambda: open_artifact(key=KEY),
            lambda: delete_artifact(key=KEY),
            lambda: store_artifact(key=KEY, content=io.BytesIO(b"x")),
            lambda: list(list_artifacts(prefix="bundles/")),
            lambda: abort_stale_uploads(older_than=timezone.now()),
        ):
            with unavailable():
                call()
        assert oss.objects == {}

    def test_leaves_nothing_that_can_be_seen_and_the_next_try_succeeds(self, oss: OssServer, data: bytes) -> None:
        for of in ("HEAD", BEGIN, PUT_PART, COMPLETE):
            oss.fail("InternalError", of, times=3)
            with unavailable():
                store_artifact(key=KEY, content=io.BytesIO(data))
            assert not artifact_exists(key=KEY)
            assert list(list_artifacts(prefix="")) == []

        store_artifact(key=KEY, content=io.BytesIO(data))

        assert oss.objects == {KEY: data}
        assert oss.sent(PUT_PART) == 3 + 5

    def test_is_logged_without_a_secret(self, oss: OssServer, caplog: pytest.LogCaptureFixture) -> None:
        oss.mode = "fail"
        with unavailable():
            artifact_exists(key=KEY)
        oss.shutdown()
        oss.server_close()
        with unavailable():
            artifact_exists(key=KEY)

        assert caplog.text.count("OSS fails: ") == 2
        assert caplog.text.count("OSS fails, it is tried again: ") == 4
        assert servers.ACCESS_KEY_SECRET not in caplog.text
        assert "ignature" not in caplog.text
        assert KEY not in caplog.text


def test_a_listing_names_artifacts_only(oss: OssServer) -> None:
    """The console makes an object for each folder; others may have put there what no key of ours can name."""
    oss.objects = dict.fromkeys(["bundles/", "bundles/a/", "bundles//x", "bundles/.x", "bundles/a\nb", KEY], b"")

    assert [artifact.key for artifact in list_artifacts(prefix="bundles/")] == [KEY]


class TestStaleUploads:
    def test_are_given_up(self, oss: OssServer, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.limits.OSS_PAGE_ENTRIES", 2)
        for age in (7_300, 7_200, 7_200, 60, 60):
            begun(oss, data, 1, age=age)
        oss.uploads["elsewhere"] = Upload("other/x", time.time() - 7_200)

        assert abort_stale_uploads(older_than=timezone.now() - timedelta(hours=1)) == 3
        assert [upload.key for upload in oss.uploads.values()] == [KEY, KEY, "other/x"]

    def test_that_end_meanwhile_are_not_counted(self, oss: OssServer, data: bytes) -> None:
        begun(oss, data, 1, age=7_200)
        oss.fail("NoSuchUpload", "DELETE")

        assert abort_stale_uploads(older_than=timezone.now()) == 0


def artifact_exists_anew(oss: OssServer) -> bool:
    """Look once the fault is over."""
    oss.mode = "ok"
    return artifact_exists(key=KEY)


def test_the_server_names_parts_as_oss_does() -> None:
    assert etag(b"") == "D41D8CD98F00B204E9800998ECF8427E"
