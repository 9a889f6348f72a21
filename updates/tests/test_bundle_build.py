"""An archive from a folder: always the same bytes, and always one that passes inspection."""

import gzip
import io
import json
import os
import tarfile
import tempfile
import tracemalloc
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import limits
from updates.bundles.base import Bundle, BundleError
from updates.bundles.build import build_bundle
from updates.bundles.sources import source_bytes
from updates.tests.archives import inspect
from updates.tests.shelf import APP, a_bundle, default_files

CHAPTER = ("chapter", "course/ch1_intro")


def build(source: Path, scope: tuple[str, str] = APP, **options: Any) -> AbstractContextManager[Bundle]:
    return build_bundle(
        source=source,
        bundle_type=scope[0],
        scope_id=scope[1],
        version="1.0.0",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **options,
    )


def bytes_of(source: Path) -> bytes:
    with build(source) as bundle:
        return bundle.file.read()


def names_in(source: Path) -> list[str]:
    with build(source) as bundle, tarfile.open(fileobj=bundle.file) as archive:
        return archive.getnames()


def write(source: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source


@pytest.fixture
def chapter_source(tmp_path: Path) -> Path:
    return write(tmp_path / "ch1", default_files(CHAPTER, "1.0.0"))


def refused(source: Path, words: str, **options: Any) -> None:
    with pytest.raises(BundleError) as raised, build(source, **options):
        pass
    assert words in str(raised.value)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for folder, names in (("one", ["b.md", "a/c.md", "a.md"]), ("two", ["a.md", "b.md", "a/c.md"])):
        for age, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            path.chmod(0o600 if folder == "one" else 0o755)
            os.utime(path, (age * 1000, age * 1000))

    first, second = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "two")

    assert first == second
    assert first[3] == 0, "no file name in the gzip header"
    assert first[4:8] == bytes(4), "no time in the gzip header"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(first))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a.md", "a/c.md", "b.md", "bundle.manifest.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_what_was_built_passes_inspection() -> None:
    with a_bundle(APP, experts=("alpha",)) as built:
        found = inspect(built.file)

        assert (found.sha256, found.size_bytes, found.manifest) == (built.sha256, built.size_bytes, built.manifest)
        assert found.manifest["required_experts"] == ["alpha"]
        assert found.manifest["format_version"] == "bundle-v2"


def test_a_chapter_says_what_it_has(chapter_source: Path) -> None:
    write(chapter_source, {"scripts/a.py": ""})

    with build(chapter_source, CHAPTER, title="Data", required_experts=["alpha"]) as bundle:
        assert bundle.manifest["chapter"] == {
            "course_id": "course",
            "chapter_code": "ch1_intro",
            "title": "Data",
            "has_scripts": True,
            "has_datasets": False,
            "required_experts": ["alpha"],
        }


def test_what_other_tools_leave_behind_is_left_out(tmp_path: Path) -> None:
    kept = ["a.md", ".gitignore", "docs/_a.md", "docs/.hidden", "docs/bundle.manifest.json"]
    left_out = ["docs/__pycache__/a.pyc", ".DS_Store", "docs/.DS_Store", "._a.md", ".git/config", "sub/.git"]
    write(tmp_path, dict.fromkeys(kept + left_out, ""))

    assert names_in(tmp_path) == sorted([*kept, "bundle.manifest.json"])
    assert source_bytes(tmp_path) == 0


def test_a_manifest_in_the_folder_gives_title_experts_and_minimum_versions(chapter_source: Path) -> None:
    there: dict[str, Any] = {
        "version": "0.1",
        "chapter": {"title": "Theirs", "required_experts": ["beta"]},
        "files": "nonsense",
    }
    there["min_desktop_version"] = "1.4.0"
    write(chapter_source, {"bundle.manifest.json": json.dumps(there)})

    with build(chapter_source, CHAPTER) as bundle:
        assert bundle.manifest["version"] == "1.0.0"
        assert bundle.manifest["min_desktop_version"] == "1.4.0"
        assert "min_sidecar_version" not in bundle.manifest
        assert bundle.manifest["chapter"]["title"] == "Theirs"
        assert bundle.manifest["chapter"]["required_experts"] == ["beta"]
    with build(chapter_source, CHAPTER, title="Mine", required_experts=[]) as bundle:
        assert bundle.manifest["chapter"]["title"] == "Mine"
        assert bundle.manifest["chapter"]["required_experts"] == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "bundle.manifest.json: It is not valid JSON"),
        ('{"required_experts": 1}', "required_experts must be a list"),
        (" " * (limits.BUNDLE_MANIFEST_MAX_BYTES + 1), "at most 4,194,304 bytes"),
    ],
)
def test_a_manifest_in_the_folder_that_can_not_be_read(tmp_path: Path, manifest: str, words: str) -> None:
    refused(write(tmp_path, {"bundle.manifest.json": manifest}), words)


def test_a_title_that_is_none_is_the_code(chapter_source: Path) -> None:
    for chapter in ({"title": 7}, "none"):
        write(chapter_source, {"bundle.manifest.json": json.dumps({"chapter": chapter})})
        with build(chapter_source, CHAPTER) as bundle:
            assert bundle.manifest["chapter"]["title"] == "ch1_intro"


def test_progress_is_told_of_every_byte(tmp_path: Path) -> None:
    write(tmp_path, {"a": "x" * 100_000, "b/c": "y" * 50, "empty": ""})
    told: list[int] = []

    with build(tmp_path, progress=told.append):
        assert sum(told) == 100_050 == source_bytes(tmp_path)
        assert len(told) > 4


# --- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["what?", "docs/aux", "a:b", "back\\slash", "notes.", "new\nline", "longer/" * 29 + "x"]
)
def test_names_that_not_every_client_can_hold(tmp_path: Path, name: str) -> None:
    told: list[int] = []

    refused(write(tmp_path, {name: "", "a.md": "text"}), "Its name ", progress=told.append)

    assert not told, "nothing was packed before"


def test_names_that_are_one_on_some_systems(tmp_path: Path) -> None:
    refused(write(tmp_path, {"Read.md": "", "read.md": ""}), "read.md: The archive has 'Read.md' and 'read.md'")


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()

    refused(tmp_path, "caf\\udce9: Its name is not valid UTF-8.")


def test_a_manifest_in_other_case(tmp_path: Path) -> None:
    refused(write(tmp_path, {"Bundle.Manifest.json": "{}"}), "one name on Windows")


def test_a_folder_too_deep(tmp_path: Path) -> None:
    refused(write(tmp_path, {"d/" * 40 + "x": ""}), "too deep")


def test_links_that_multiply_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_FILES_MAX", 100)
    for level in range(8):
        (tmp_path / f"f{level}").mkdir()
        for name in "ab":
            (tmp_path / f"f{level}" / name).symlink_to(f"../f{level + 1}")
    (tmp_path / "f8").mkdir()

    refused(tmp_path, "more than 100 files")


@pytest.mark.parametrize("target", ["/etc/hostname", "..", "../outside", "docs/../../outside"])
def test_links_out_of_the_folder(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").touch()
    source = write(tmp_path / "source", {"docs/a.md": ""})
    (source / "l").symlink_to(target)

    refused(source, "l: It links out of the folder.")


@pytest.mark.parametrize("target", ["gone", "l", "a.md/x"])
def test_links_to_nothing(tmp_path: Path, target: str) -> None:
    write(tmp_path, {"a.md": ""})
    (tmp_path / "l").symlink_to(target)

    refused(tmp_path, "l: It is a link to nothing.")


@pytest.mark.parametrize("target", [".", "..", "../../docs"])
def test_links_to_where_they_lie(tmp_path: Path, target: str) -> None:
    write(tmp_path, {"docs/deep/a.md": ""})
    (tmp_path / "docs/deep/l").symlink_to(target)

    refused(tmp_path, "docs/deep/l: It is a link to a folder that it lies in itself.")


def test_links_in_the_folder_are_packed_as_copies(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a.md": "text", "docs/b.md": "more"})
    (source / "docs/a.md").symlink_to("../a.md")
    (source / "folder").symlink_to("docs")
    (tmp_path / "link").symlink_to("source")

    with build(tmp_path / "link") as bundle, tarfile.open(fileobj=bundle.file) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
        assert all(member.isfile() for member in archive.getmembers())
    del members["bundle.manifest.json"]
    assert members == {
        "a.md": b"text",
        "docs/a.md": b"text",
        "docs/b.md": b"more",
        "folder/a.md": b"text",
        "folder/b.md": b"more",
    }


def test_what_is_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    refused(tmp_path, "pipe: It is neither a file nor a folder.")


def test_what_is_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "gone", "There is no folder")


def test_a_chapter_without_its_prompts(tmp_path: Path) -> None:
    refused(write(tmp_path, {"a.md": ""}), "prompts/task_list.md: A chapter", scope=CHAPTER)


def test_more_than_an_archive_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, dict.fromkeys("abcd", ""))
    monkeypatch.setattr(limits, "BUNDLE_FILES_MAX", 4)
    refused(tmp_path, "more than 4 files")

    monkeypatch.setattr(limits, "BUNDLE_FILES_MAX", 5)
    with build(tmp_path):
        pass


def test_a_file_that_changes_while_it_is_packed(tmp_path: Path) -> None:
    write(tmp_path, {"a": "x" * 100_000, "b": "before"})

    def change() -> None:
        write(tmp_path, {"b": "after!"})

    refused(tmp_path, "b: Its SHA-256 is not", progress=lambda _: change())


def test_an_expanding_file_is_refused_as_inspection_would(tmp_path: Path) -> None:
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(100 * limits.MIB)

    refused(tmp_path, "zeros: The archive unpacks to more than 200 times its size")


def test_large_files_stream(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(24 * limits.MIB))
    tracemalloc.start()
    try:
        with build(tmp_path):
            assert tracemalloc.get_traced_memory()[1] < 4 * limits.MIB
    finally:
        tracemalloc.stop()


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    refused(tmp_path, "no files to pack")


# --- By chance ----------------------------------------------------------------------------------------------------

PARTS = st.text(
    st.one_of(st.sampled_from("ab.~ é长😀"), st.characters(exclude_categories=["Cs"], exclude_characters="/\0")),
    min_size=1,
    max_size=12,
).filter(lambda part: part not in (".", ".."))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.lists(PARTS, min_size=1, max_size=3).map("/".join), st.binary(max_size=600), min_size=1, max_size=5
    )
)
def test_any_folder_is_refused_or_passes_inspection(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue
        try:
            with build(Path(folder)) as bundle:
                inspect(bundle.file)
        except BundleError as error:
            (fault,) = error.faults
            assert "name" in fault.reason


SAFE_PARTS = st.text(st.sampled_from("abcXYZ019_- é长😀"), min_size=1, max_size=12).map(lambda part: f"f{part}f")


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.lists(SAFE_PARTS, min_size=1, max_size=3).map("/".join),
        st.binary(max_size=600),
        min_size=1,
        max_size=5,
    ).filter(lambda files: len({name.casefold() for name in files}) == len(files))
)
def test_folders_of_common_names_are_packed(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, content) in enumerate(files.items()):
            path = Path(folder) / str(number) / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
        with build(Path(folder)) as bundle:
            assert len(inspect(bundle.file).manifest["files"]) == len(files)
