"""Building and reading archives."""

import gzip
import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config import limits
from updates.bundles import BundleError, build_bundle, check_manifest, read_bundle, required_experts_of
from updates.tests.shelf import APP, a_bundle

MANIFEST = {
    "format_version": "bundle-v2",
    "bundle_type": "app_agents",
    "scope_id": "core",
    "version": "1.0.0",
    "created_at": "2026-01-01T00:00:00Z",
    "files": [],
}


def packed(members: dict[str, bytes]) -> io.BytesIO:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    raw.seek(0)
    return raw


def bytes_of(source: Path) -> bytes:
    with build_bundle(
        source=source,
        bundle_type="app_agents",
        scope_id="core",
        version="1.0.0",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    ) as bundle:
        return bundle.file.read()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for folder, names in (("one", ["b.md", "a/c.md", "a.md"]), ("two", ["a.md", "b.md", "a/c.md"])):
        for age, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            path.chmod(0o600 if folder == "one" else 0o755)
            os.utime(path, (age * 1000, age * 1000))
    (tmp_path / "two" / "__pycache__").mkdir()
    (tmp_path / "two" / "__pycache__" / "x.pyc").write_bytes(b"x")

    first, second = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "two")

    assert first == second
    assert first[3] == 0, "no file name in the gzip header"
    assert first[4:8] == bytes(4), "no time in the gzip header"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(first))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a.md", "a/c.md", "b.md", "bundle.manifest.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_what_was_built_can_be_read() -> None:
    with a_bundle(APP, experts=("alpha",)) as built:
        found = read_bundle(built.file)

        assert (found.sha256, found.size_bytes, found.manifest) == (built.sha256, built.size_bytes, built.manifest)
        check_manifest(found.manifest, bundle_type="app_agents", scope_id="core", version="1.0.0")
        assert required_experts_of(found.manifest) == ["alpha"]


@pytest.mark.parametrize("name", ["bundle.manifest.json", "./bundle.manifest.json"])
def test_the_manifest_at_the_root_is_found(name: str) -> None:
    assert read_bundle(packed({"a.md": b"a", name: json.dumps(MANIFEST).encode()})).manifest == MANIFEST


def cut_short() -> io.BytesIO:
    whole = packed({"bundle.manifest.json": json.dumps(MANIFEST).encode(), "big": os.urandom(100_000)}).getvalue()
    return io.BytesIO(whole[:-5_000])


def with_a_wrong_checksum() -> io.BytesIO:
    whole = packed({"bundle.manifest.json": json.dumps(MANIFEST).encode()}).getvalue()
    return io.BytesIO(whole[:-8] + bytes(8))


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (io.BytesIO(), "not a readable"),
        (io.BytesIO(b"no gzip"), "not a readable"),
        (io.BytesIO(gzip.compress(b"no tar" * 200)), "not a readable"),
        (cut_short(), "not a readable"),
        (with_a_wrong_checksum(), "not a readable"),
        (packed({"a.md": b"a"}), "no bundle.manifest.json"),
        (packed({"sub/bundle.manifest.json": b"{}"}), "no bundle.manifest.json"),
        (packed({"bundle.manifest.json": b"{"}), "not valid JSON"),
        (packed({"bundle.manifest.json": b"\xff"}), "not valid JSON"),
        (packed({"bundle.manifest.json": b"[" * 100_000}), "not valid JSON"),
        (packed({"bundle.manifest.json": b"[]"}), "must hold an object"),
        (packed({"bundle.manifest.json": b'{"a": "\\u0000"}'}), "NUL"),
        (packed({"bundle.manifest.json": b" " * (limits.BUNDLE_MANIFEST_MAX_BYTES + 1)}), "at most"),
    ],
)
def test_what_can_not_be_read(archive: io.BytesIO, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_bundle(archive)


def test_an_archive_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_UNPACKED_MAX_BYTES", 10_000)

    with pytest.raises(BundleError, match="too large"):
        read_bundle(packed({"zeros": bytes(20_000), "bundle.manifest.json": json.dumps(MANIFEST).encode()}))


@pytest.mark.parametrize("separately_packed", [False, True])
def test_what_follows_the_end_of_the_tar_counts_as_well(
    monkeypatch: pytest.MonkeyPatch, *, separately_packed: bool
) -> None:
    monkeypatch.setattr(limits, "BUNDLE_UNPACKED_MAX_BYTES", 8 * limits.MIB)
    tar = gzip.decompress(packed({"bundle.manifest.json": json.dumps(MANIFEST).encode()}).getvalue())

    def followed_by(zeros: bytes) -> io.BytesIO:
        return io.BytesIO(
            gzip.compress(tar) + gzip.compress(zeros) if separately_packed else gzip.compress(tar + zeros)
        )

    assert read_bundle(followed_by(bytes(7 * limits.MIB))).manifest == MANIFEST
    with pytest.raises(BundleError, match="too large"):
        read_bundle(followed_by(bytes(9 * limits.MIB)))


def test_too_much_after_the_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_UNPACKED_MAX_BYTES", 10 * limits.MIB)
    tar = gzip.decompress(packed({"bundle.manifest.json": json.dumps(MANIFEST).encode()}).getvalue())
    archive = io.BytesIO(gzip.compress(tar) + gzip.compress(bytes(limits.MIB)) * 1_000)

    with pytest.raises(BundleError, match="too large"):
        read_bundle(archive)

    assert archive.tell() < len(archive.getvalue()) / 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"format_version": "bundle-v3"}, "format_version"),
        ({"bundle_type": "experts"}, "bundle_type"),
        ({"scope_id": "shared"}, "scope_id"),
        ({"scope_id": None}, "scope_id"),
        ({"version": "1.0.1"}, "version"),
        ({"files": {}}, "files"),
        ({"required_experts": "alpha"}, "required_experts"),
        ({"chapter": {"required_experts": ["../alpha"]}}, "required_experts"),
    ],
)
def test_a_manifest_that_contradicts_the_release(change: dict[str, Any], field: str) -> None:
    check_manifest(MANIFEST, bundle_type="app_agents", scope_id="core", version="1.0.0")

    with pytest.raises(BundleError, match=field):
        check_manifest({**MANIFEST, **change}, bundle_type="app_agents", scope_id="core", version="1.0.0")


@pytest.mark.parametrize("stated", ["ch1_intro", "another-course/ch1_intro"])
def test_of_a_chapters_scope_only_the_chapter_counts(stated: str) -> None:
    manifest = {**MANIFEST, "bundle_type": "chapter", "scope_id": stated}
    check_manifest(manifest, bundle_type="chapter", scope_id="course/ch1_intro", version="1.0.0")

    with pytest.raises(BundleError, match="scope_id"):
        check_manifest(manifest, bundle_type="chapter", scope_id="course/ch2_more", version="1.0.0")


def test_required_experts_of_both_formats() -> None:
    assert required_experts_of({"required_experts": ["a"]}) == ["a"]
    assert required_experts_of({"chapter": {"required_experts": ["b"]}, "required_experts": ["a"]}) == ["b"]
    assert required_experts_of({"chapter": {}}) == []
