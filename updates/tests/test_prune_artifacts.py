"""`manage.py prune_artifacts`: what goes, what stays, and what happens beside it."""

import os
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from storage.artifacts import artifact_exists, store_artifact
from storage.tests.conftest import oss, signature_version, use_oss  # noqa: F401  fixtures
from storage.tests.oss_server import OssServer, Upload
from tests.races import in_thread, run_at_once
from updates.models import BundleRelease
from updates.services import drafts, pruning
from updates.services.drafts import delete_draft, insert_draft
from updates.services.stored_bytes import artifact_key, holding_key
from updates.tests.shelf import APP, SHARED, SOMEBODY, a_bundle, draft, published, withdraw
from updates.tests.shell import call, manage

ORPHAN = "bundles/experts/critic/1.0.0/bundle.tar.gz"
HOUR = 3_600.0


@pytest.fixture
def leave(artifact_root: Path) -> Callable[..., str]:
    """Leave an object in the store, of this age in hours."""

    def leave_object(key: str = ORPHAN, content: bytes = b"left", age: float = 25) -> str:
        store_artifact(key=key, content=BytesIO(content))
        os.utime(artifact_root / key, (time.time() - age * HOUR,) * 2)
        return key

    return leave_object


def grow_old(release: BundleRelease, artifact_root: Path) -> str:
    os.utime(artifact_root / release.artifact_key, (time.time() - 100 * HOUR,) * 2)
    return release.artifact_key


@pytest.mark.django_db
class TestWhatGoes:
    def test_an_old_object_without_a_release(self, leave: Callable[..., str]) -> None:
        draft(APP)
        leave()

        out, _ = call("prune_artifacts")

        assert not artifact_exists(key=ORPHAN)
        lines = out.splitlines()
        assert len(lines) == 4
        assert lines[0].startswith(f"{ORPHAN}  4 bytes  20")
        assert lines[0].endswith(" UTC  removed")
        assert lines[1:] == [
            "2 objects, 1 without a release.",
            "  removed: 1 (4 bytes)",
            "0 unfinished uploads were given up.",
        ]

    def test_again_there_is_nothing_to_do(self, leave: Callable[..., str]) -> None:
        draft(APP)
        leave()
        call("prune_artifacts")

        out, _ = call("prune_artifacts")

        assert out.splitlines() == ["1 objects, 0 without a release.", "0 unfinished uploads were given up."]

    def test_what_a_release_names_stays_in_every_state(self, leave: Callable[..., str], artifact_root: Path) -> None:
        kept = [draft(APP), published(SHARED), published(SHARED, "2.0.0")]
        withdraw(kept[2])
        keys = [grow_old(release, artifact_root) for release in kept]
        leave()

        call("prune_artifacts")

        assert all(artifact_exists(key=key) for key in keys)
        assert not artifact_exists(key=ORPHAN)

    @pytest.mark.parametrize(("age", "arguments"), [(23, []), (2, ["--grace-hours", 3]), (0, [])])
    def test_what_is_younger_than_the_grace_time_stays(
        self, leave: Callable[..., str], age: float, arguments: list[Any]
    ) -> None:
        draft(APP)
        leave(age=age)

        out, _ = call("prune_artifacts", *arguments)

        assert artifact_exists(key=ORPHAN)
        assert f"{ORPHAN}  4 bytes" in out
        assert "kept: younger than the grace time: 1 (4 bytes)" in out

    @pytest.mark.parametrize(("age", "arguments"), [(25, []), (4, ["--grace-hours", 3]), (0.01, ["--grace-hours", 0])])
    def test_the_grace_time(self, leave: Callable[..., str], age: float, arguments: list[Any]) -> None:
        draft(APP)
        leave(age=age)

        call("prune_artifacts", *arguments)

        assert not artifact_exists(key=ORPHAN)

    def test_what_lies_outside_of_the_prefix_stays(self, leave: Callable[..., str], settings: Settings) -> None:
        draft(APP)
        settings.OSS_BUNDLE_PREFIX = "bundles/"
        leave("bundles-of-others/x")
        leave("backups/bundles/x")

        call("prune_artifacts")

        assert artifact_exists(key="bundles-of-others/x")
        assert artifact_exists(key="backups/bundles/x")

    def test_leftovers_of_uploads_that_never_ended(self, artifact_root: Path) -> None:
        draft(APP)
        for name, age in (("old", 25), ("new", 1)):
            (artifact_root / ".incoming" / name).write_bytes(b"half")
            os.utime(artifact_root / ".incoming" / name, (time.time() - age * HOUR,) * 2)

        out, _ = call("prune_artifacts", "--grace-hours", 0)

        assert "1 unfinished uploads were given up." in out
        assert [path.name for path in (artifact_root / ".incoming").iterdir()] == ["new"]

    def test_a_dry_run_only_lists(self, leave: Callable[..., str], artifact_root: Path) -> None:
        draft(APP)
        leave()
        (artifact_root / ".incoming" / "old").write_bytes(b"half")
        os.utime(artifact_root / ".incoming" / "old", (0, 0))

        out, _ = call("prune_artifacts", "--dry-run")

        assert artifact_exists(key=ORPHAN)
        assert (artifact_root / ".incoming" / "old").exists()
        assert out.splitlines()[1:] == ["2 objects, 1 without a release.", "  to be removed: 1 (4 bytes)"]

    def test_totals_only(self, leave: Callable[..., str]) -> None:
        draft(APP)
        leave()

        out, _ = call("prune_artifacts", "--verbosity", 0)

        assert ORPHAN not in out
        assert "removed: 1 (4 bytes)" in out

    def test_a_batch_costs_one_query(self, leave: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.limits.PRUNE_BATCH_OBJECTS", 4)
        draft(APP)
        for number in range(7):
            leave(f"bundles/experts/e{number}/1.0.0/bundle.tar.gz", age=1)

        with CaptureQueriesContext(connection) as queries:
            out, _ = call("prune_artifacts")

        assert "8 objects, 7 without a release." in out
        assert len(queries) == 1 + 2

    def test_a_database_without_any_object_may_be_the_wrong_one(self, leave: Callable[..., str]) -> None:
        leave()

        with pytest.raises(CommandError, match="Is DATABASE_URL the right one"):
            call("prune_artifacts")
        assert artifact_exists(key=ORPHAN)

        call("prune_artifacts", "--allow-empty-database")
        assert not artifact_exists(key=ORPHAN)

    def test_an_empty_store_in_an_empty_database(self) -> None:
        assert call("prune_artifacts")[0].startswith("0 objects, 0 without a release.")

    @pytest.mark.parametrize("hours", ["-1", "x", "1.5", "", "99999999999", "nan"])
    def test_what_is_no_number_of_hours(self, hours: str) -> None:
        with pytest.raises(CommandError, match="is not a number of hours"):
            call("prune_artifacts", f"--grace-hours={hours}")


@pytest.mark.django_db(transaction=True)
class TestAtTheSameMoment:
    def test_an_upload_that_takes_the_object_over_keeps_it(
        self, leave: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It found its bytes in the store, and has not committed its release yet when the object is looked at."""
        published(SHARED)
        key = artifact_key(bundle_type=APP[0], scope_id=APP[1], version="1.0.0")
        with a_bundle(APP) as bundle:
            leave(key, bundle.file.read())
        is_stored, may_insert = threading.Event(), threading.Event()
        insert = insert_draft

        def insert_slowly(*args: Any) -> Any:
            is_stored.set()
            assert may_insert.wait(60)
            return insert(*args)

        monkeypatch.setattr("updates.services.uploads.insert_draft", insert_slowly)
        upload = in_thread(lambda: draft(APP))
        assert is_stored.wait(60)

        out, _ = call("prune_artifacts")

        may_insert.set()
        assert artifact_exists(key=upload.result(60).artifact_key)
        assert "kept: its version is just being uploaded or deleted: 1" in out

    def test_a_release_that_came_after_the_look_keeps_its_object(
        self, leave: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(SHARED)
        key = artifact_key(bundle_type=APP[0], scope_id=APP[1], version="1.0.0")
        with a_bundle(APP) as bundle:
            leave(key, bundle.file.read())

        def hold_late(key: str, **options: Any) -> Any:
            in_thread(lambda: draft(APP)).result(60)
            return holding_key(key, **options)

        monkeypatch.setattr(pruning, "holding_key", hold_late)

        out, _ = call("prune_artifacts")

        assert artifact_exists(key=key)
        assert "2 objects, 0 without a release." in out

    def test_two_runs_remove_each_object_once(self, leave: Callable[..., str]) -> None:
        published(SHARED)
        keys = [leave(f"bundles/experts/e{number}/1.0.0/bundle.tar.gz") for number in range(20)]

        said = run_at_once(*(lambda: call("prune_artifacts")[0] for _ in range(3)))

        assert not any(artifact_exists(key=key) for key in keys)
        assert "\n".join(said).count("UTC  removed") == 20

    def test_a_draft_that_was_deleted_while_the_store_was_away(
        self, monkeypatch: pytest.MonkeyPatch, artifact_root: Path
    ) -> None:
        published(SHARED)
        release = draft(APP)
        key = grow_old(release, artifact_root)
        monkeypatch.setattr(drafts, "delete_artifact", lambda key: None)
        delete_draft(release=release, principal=SOMEBODY)

        call("prune_artifacts")

        assert not artifact_exists(key=key)
        assert draft(APP).state == BundleRelease.State.DRAFT


@pytest.mark.django_db
class TestInOss:
    @pytest.mark.parametrize("signature_version", ["v1", "v4"])
    def test_old_objects_and_stale_uploads_go(
        self,
        oss: OssServer,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("config.limits.OSS_PAGE_ENTRIES", 2)
        keys = [f"bundles/experts/e{number}/1.0.0/bundle.tar.gz" for number in range(5)]
        for key in keys:
            oss.objects[key] = b"left"
            oss.modified_at[key] = time.time() - (25 if key != keys[2] else 23) * HOUR
        named = draft(APP).artifact_key
        oss.modified_at[named] = 0.0
        oss.uploads = {
            name: Upload(ORPHAN, time.time() - age * HOUR, {1: b"x"}) for name, age in (("A", 25), ("B", 23), ("C", 30))
        }

        out, _ = call("prune_artifacts")

        assert set(oss.objects) == {named, keys[2]}
        assert list(oss.uploads) == ["B"]
        assert "6 objects, 5 without a release." in out
        assert "removed: 4 (16 bytes)" in out
        assert "2 unfinished uploads were given up." in out

    def test_an_outage_in_the_middle(self, oss: OssServer) -> None:  # noqa: F811
        draft(APP)
        for number in range(3):
            oss.objects[f"bundles/experts/e{number}/x"] = b"left"
            oss.modified_at[f"bundles/experts/e{number}/x"] = 0.0
        oss.fail("InternalError", "DELETE bundles/experts/e1", times=3)

        with pytest.raises(CommandError, match="The file storage is not available"):
            call("prune_artifacts")

        assert "bundles/experts/e0/x" not in oss.objects
        call("prune_artifacts")
        assert len(oss.objects) == 1


@pytest.mark.django_db(transaction=True)
def test_from_the_shell(leave: Callable[..., str], artifact_root: Path) -> None:
    leave()

    refused = manage("prune_artifacts")
    assert (refused.status, artifact_exists(key=ORPHAN)) == (1, True)
    assert "CommandError: Nothing was removed" in refused.err
    assert "1 objects, 1 without a release." in refused.out

    published(SHARED)
    ended = manage("prune_artifacts")
    assert (ended.status, artifact_exists(key=ORPHAN)) == (0, False)
    assert ended.err == ""
