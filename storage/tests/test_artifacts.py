"""The store as other rooms use it, in both places where it can lie."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation

from config.errors import ApiError, ErrorCode
from storage import oss as oss_module
from storage.artifacts import (
    artifact_exists,
    artifact_size,
    artifact_storage,
    artifact_url,
    delete_artifact,
    open_artifact,
    store_artifact,
)
from storage.local import LocalArtifactStorage
from storage.tests import servers
from tests.races import in_parallel

KEY = "bundles/experts/critic/1.0.0/bundle.tar.gz"


STORE_FOR_EVER = f"""
import io, os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from storage.artifacts import store_artifact

class Slow(io.BytesIO):
    def read(self, size=-1):
        if self.tell() > 5_000_000:
            print("writing", flush=True)
            time.sleep(60)
        return super().read(size)

store_artifact(key="{KEY}", content=Slow(bytes(50_000_000)))
"""


@pytest.fixture(params=["local", "oss"])
def anywhere(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("artifact_root" if request.param == "local" else "oss")


@pytest.mark.usefixtures("anywhere")
class TestAnywhere:
    def test_what_is_stored_can_be_read(self) -> None:
        content = io.BytesIO(b"the bytes")
        content.seek(4)

        store_artifact(key=KEY, content=content)

        assert artifact_exists(key=KEY)
        assert artifact_size(key=KEY) == 9
        with open_artifact(key=KEY) as file:
            assert file.read(4) == b"the "
            assert file.read() == b"bytes"

    def test_nothing_is_there_before(self) -> None:
        assert not artifact_exists(key=KEY)
        for read in (open_artifact, artifact_size):
            with pytest.raises(FileNotFoundError):
                read(key=KEY)

    def test_the_same_bytes_again_change_nothing(self) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"same"))
        store_artifact(key=KEY, content=io.BytesIO(b"same"))

        assert artifact_size(key=KEY) == 4

    @pytest.mark.parametrize("other", [b"diff", b"sam", b"same!", b""])
    def test_other_bytes_are_refused(self, other: bytes) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"same"))

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(other))

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        with open_artifact(key=KEY) as file:
            assert file.read() == b"same"

    def test_an_empty_file(self) -> None:
        store_artifact(key=KEY, content=io.BytesIO())

        assert artifact_size(key=KEY) == 0

    def test_delete(self) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"draft"))

        delete_artifact(key=KEY)
        delete_artifact(key=KEY)

        assert not artifact_exists(key=KEY)

    def test_more_than_one_part(self) -> None:
        data = os.urandom(1024) * (21 * 1024)  # 21 MiB: three parts in OSS

        store_artifact(key=KEY, content=io.BytesIO(data))
        store_artifact(key=KEY, content=io.BytesIO(data))

        with open_artifact(key=KEY) as file:
            assert file.read() == data
        with pytest.raises(ApiError):
            store_artifact(key=KEY, content=io.BytesIO(data[:-1] + b"x"))

    def test_of_many_at_once_one_wins(self) -> None:
        def store(number: int) -> str:
            try:
                store_artifact(key=KEY, content=io.BytesIO(b"%d" % (number % 4) * 100_000))
            except ApiError as error:
                return error.code
            return f"stored {number % 4}"

        outcomes = in_parallel(8, store)

        with open_artifact(key=KEY) as file:
            winner = file.read()
        assert winner == winner[:1] * 100_000
        assert sorted(outcomes) == [ErrorCode.BUNDLE_RELEASE_CONFLICT] * 6 + [f"stored {winner[:1].decode()}"] * 2

    @pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a\\..\\b", "a\x00", "", "a/../../x", ".incoming/x"])
    def test_no_key_leaves_the_store(self, key: str) -> None:
        with pytest.raises(SuspiciousFileOperation):
            store_artifact(key=key, content=io.BytesIO(b"x"))
        for call in (artifact_exists, artifact_size, open_artifact, delete_artifact):
            with pytest.raises(SuspiciousFileOperation):
                call(key=key)
        with pytest.raises(SuspiciousFileOperation):
            artifact_url(key=key, base_url="http://testserver")

    def test_a_backend_checks_the_key_itself(self) -> None:
        storage = artifact_storage()
        for key in ("../x", "a/../x", ".incoming/x"):
            with pytest.raises(SuspiciousFileOperation):
                storage.save(key, io.BytesIO(b"x"))
            for method in (storage.exists, storage.size, storage.open, storage.delete):
                with pytest.raises(SuspiciousFileOperation):
                    method(key)
            with pytest.raises(SuspiciousFileOperation):
                storage.download_url(key, base_url="", expires_seconds=None)


class TestLocalFolder:
    def test_no_part_of_a_file_lies_under_its_key(self, artifact_root: Path) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                assert not (artifact_root / KEY).exists()
                if self.tell():
                    raise KeyboardInterrupt
                return super().read(size)

        with pytest.raises(KeyboardInterrupt):
            store_artifact(key=KEY, content=Broken(b"x" * 3_000_000))

        assert not artifact_exists(key=KEY)
        assert list((artifact_root / ".incoming").iterdir()) == []

    def test_a_process_that_is_killed_leaves_nothing_under_the_key(self, artifact_root: Path) -> None:
        environment = {**os.environ, "ARTIFACT_ROOT": str(artifact_root), "APP_ENV": "test"}
        command = [sys.executable, "-c", STORE_FOR_EVER]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=settings.BASE_DIR) as process:
            assert process.stdout
            assert process.stdout.readline() == b"writing\n"
            process.kill()

        assert [path.name for path in artifact_root.rglob("*") if path.is_file()] != []
        assert not artifact_exists(key=KEY)
        store_artifact(key=KEY, content=io.BytesIO(b"the next try"))
        assert artifact_size(key=KEY) == 12

    def test_what_a_killed_process_left_is_cleared_away_after_a_day(self, artifact_root: Path) -> None:
        incoming = artifact_root / ".incoming"
        incoming.mkdir(parents=True)
        for name, age in (("old", 90_000), ("new", 60)):
            (incoming / name).write_bytes(b"half")
            os.utime(incoming / name, (time.time() - age,) * 2)

        store_artifact(key=KEY, content=io.BytesIO(b"x"))

        assert [path.name for path in incoming.iterdir()] == ["new"]

    def test_the_setting_is_read_at_each_call(self, artifact_root: Path) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"x"))

        assert (artifact_root / KEY).read_bytes() == b"x"
        assert (artifact_root / KEY).stat().st_mode & 0o777 == 0o644

    def test_a_folder_that_refuses_is_an_outage(self, artifact_root: Path) -> None:
        artifact_root.write_text("a file where the folder should be")

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(b"x"))

        assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
        assert caught.value.retry_after

    def test_a_race_that_is_lost_at_the_link(self, artifact_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = LocalArtifactStorage._write_temporary

        def write_slowly(storage: LocalArtifactStorage, content: object) -> Path:
            path = write(storage, content)  # type: ignore[arg-type]
            (artifact_root / KEY).parent.mkdir(parents=True)
            (artifact_root / KEY).write_bytes(b"first")
            return path

        monkeypatch.setattr(LocalArtifactStorage, "_write_temporary", write_slowly)

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(b"second"))

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        assert (artifact_root / KEY).read_bytes() == b"first"
        assert list((artifact_root / ".incoming").iterdir()) == []


class TestOss:
    def test_a_race_that_is_lost_at_the_upload(self, oss: servers.Server) -> None:
        oss.before_put = lambda: oss.objects.setdefault(KEY, b"first")

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(b"second"))
        store_artifact(key=KEY, content=io.BytesIO(b"first"))

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        assert oss.objects[KEY] == b"first"

    def test_a_bucket_with_versioning_ignores_that_overwriting_is_forbidden(self, oss: servers.Server) -> None:
        oss.versioning = True
        store_artifact(key=KEY, content=io.BytesIO(b"first"))

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(b"second"))

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        assert oss.objects[KEY] == b"first"

    def test_parts_of_an_upload_that_fails_are_given_up(self, oss: servers.Server) -> None:
        oss.before_put = lambda: oss.objects.setdefault(KEY, b"first")

        with pytest.raises(ApiError) as caught:
            store_artifact(key=KEY, content=io.BytesIO(b"x" * (11 * 1024 * 1024)))

        assert caught.value.code is ErrorCode.BUNDLE_RELEASE_CONFLICT
        assert oss.requests[-2].startswith(f"DELETE {KEY} uploadId")

    @pytest.mark.parametrize("mode", ["fail", "hang", "gone", "wrong secret", "wrong bucket"])
    def test_an_outage(
        self, oss: servers.Server, use_oss: Callable[..., None], monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setattr(oss_module, "_TIMEOUTS", (0.3, 0.3))
        endpoint = f"http://{oss.address}"
        match mode:
            case "gone":
                oss.shutdown()
                oss.server_close()
            case "wrong secret":
                use_oss(OSS_ENDPOINT=endpoint, OSS_ACCESS_KEY_SECRET="another")
            case "wrong bucket":
                use_oss(OSS_ENDPOINT=endpoint, OSS_BUCKET_NAME="another-bucket")
            case _:
                oss.mode = mode

        for call in (
            lambda: artifact_exists(key=KEY),
            lambda: artifact_size(key=KEY),
            lambda: open_artifact(key=KEY),
            lambda: delete_artifact(key=KEY),
            lambda: store_artifact(key=KEY, content=io.BytesIO(b"x")),
        ):
            with pytest.raises(ApiError) as caught:
                call()
            assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
            assert caught.value.retry_after
        assert oss.objects == {}

    def test_a_connection_that_breaks_is_no_short_file(self, oss: servers.Server) -> None:
        oss.objects[KEY] = b"x" * 100_000
        oss.mode = "cut"

        with open_artifact(key=KEY) as file, pytest.raises(ApiError) as caught:
            file.read()

        assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE

    def test_the_log_names_no_secret(self, oss: servers.Server, caplog: pytest.LogCaptureFixture) -> None:
        oss.mode = "fail"

        with pytest.raises(ApiError):
            artifact_exists(key=KEY)

        assert "OSS fails" in caplog.text
        assert servers.ACCESS_KEY_SECRET not in caplog.text
        assert "Signature" not in caplog.text
