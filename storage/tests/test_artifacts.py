"""The store as other rooms use it, in both places where it can lie."""

import io
import os
import subprocess
import sys
import time
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.errors import ApiError, ErrorCode
from storage.artifacts import (
    abort_stale_uploads,
    artifact_exists,
    artifact_size,
    artifact_storage,
    artifact_url,
    delete_artifact,
    list_artifacts,
    open_artifact,
    store_artifact,
)
from storage.local import LocalArtifactStorage
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


@pytest.fixture(params=["local", "v1", "v4"])
def signature_version(request: pytest.FixtureRequest) -> str:
    """Where the artifacts lie: in a folder, or in an OSS that accepts this version of signatures only."""
    return str(request.param)


@pytest.fixture
def anywhere(request: pytest.FixtureRequest, signature_version: str, settings: Settings) -> None:
    settings.OSS_BUNDLE_PREFIX = "bundles/"
    request.getfixturevalue("artifact_root" if signature_version == "local" else "oss")


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
        data = os.urandom(21 * 1024) * 1024  # 21 MiB: three parts in OSS

        store_artifact(key=KEY, content=io.BytesIO(data))
        store_artifact(key=KEY, content=io.BytesIO(data))

        with open_artifact(key=KEY) as file:
            assert file.read() == data
        with pytest.raises(ApiError):
            store_artifact(key=KEY, content=io.BytesIO(data[:-1] + b"x"))

    def test_what_lies_below_a_prefix(self) -> None:
        keys = [f"bundles/experts/é +{number}%/1.0.0/bundle.tar.gz" for number in range(5)]
        for number, key in enumerate([*keys, "bundles-other/x", "other/bundles/x"]):
            store_artifact(key=key, content=io.BytesIO(b"x" * number))

        found = {artifact.key: artifact for artifact in list_artifacts(prefix="bundles/")}

        assert sorted(found) == keys
        assert [found[key].size_bytes for key in keys] == [0, 1, 2, 3, 4]
        assert all(abs(timezone.now() - found[key].modified_at) < timedelta(seconds=60) for key in keys)
        assert [artifact.key for artifact in list_artifacts(prefix="bundles/experts/é +3")] == [keys[3]]
        assert list(list_artifacts(prefix="nothing/")) == []

    def test_a_listing_of_many_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.limits.OSS_PAGE_ENTRIES", 2)
        for number in range(5):
            store_artifact(key=f"bundles/{number}", content=io.BytesIO(b"x"))

        found = [artifact.key for artifact in islice(list_artifacts(prefix="bundles/"), 10)]
        for artifact in list_artifacts(prefix="bundles/"):
            delete_artifact(key=artifact.key)

        assert sorted(found) == [f"bundles/{number}" for number in range(5)]
        assert list(list_artifacts(prefix="")) == []

    def test_there_is_nothing_stale(self) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"x"))

        assert abort_stale_uploads(older_than=timezone.now() + timedelta(days=1)) == 0
        assert artifact_exists(key=KEY)

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

    def test_what_a_killed_process_left_can_be_cleared_away(self, artifact_root: Path) -> None:
        incoming = artifact_root / ".incoming"
        incoming.mkdir(parents=True)
        for name, age in (("old", 7_200), ("new", 60)):
            (incoming / name).write_bytes(b"half")
            os.utime(incoming / name, (time.time() - age,) * 2)

        removed = abort_stale_uploads(older_than=timezone.now() - timedelta(hours=1))

        assert removed == 1
        assert [path.name for path in incoming.iterdir()] == ["new"]

    def test_a_listing_names_artifacts_only(self, artifact_root: Path) -> None:
        store_artifact(key=KEY, content=io.BytesIO(b"x"))
        for name in (".incoming/half", "bundles/.hidden/x", "bundles/a\\b"):
            (artifact_root / name).parent.mkdir(parents=True, exist_ok=True)
            (artifact_root / name).write_bytes(b"x")
        (artifact_root / "bundles/broken").symlink_to("nowhere")

        assert [artifact.key for artifact in list_artifacts(prefix="")] == [KEY]

    def test_a_folder_that_cannot_be_listed_is_an_outage(
        self, artifact_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: object) -> object:
            raise PermissionError(13, "Permission denied")

        artifact_root.mkdir()
        monkeypatch.setattr("os.scandir", refuse)  # as root, no mode of a folder refuses

        with pytest.raises(ApiError) as caught:
            list(list_artifacts(prefix="bundles/"))

        assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE

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
