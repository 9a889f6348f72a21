"""The files of a release as a tree, and what differs between two: from manifests, and line by line from archives."""

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from config import limits
from updates.bundles.contents import Files, Kind, Part, compare, files_of, find_change, list_files
from updates.bundles.tree import Content
from updates.filediff import Mark, TextDifference, compare_texts
from updates.models import BundleRelease
from updates.tests.shelf import APP, draft

A, B = "a" * 64, "b" * 64


def files(**contents: tuple[str, int]) -> Files:
    return Files({name.replace("__", "/"): Content(*content) for name, content in contents.items()}, 0)


def entry(path: Any, sha256: Any = A, size_bytes: Any = 1) -> dict[str, Any]:
    return {"path": path, "sha256": sha256, "size_bytes": size_bytes}


# --- Reading a manifest -----------------------------------------------------------------------------------------


def test_the_files_of_a_manifest() -> None:
    found = files_of({"files": [entry("./a/b.md", A.upper(), 3), entry("c.md", B, 4)]})

    assert found.contents == {"a/b.md": Content(A, 3), "c.md": Content(B, 4)}
    assert (found.size_bytes, found.unreadable) == (7, 0)


@pytest.mark.parametrize(
    ("stated", "unreadable"),
    [
        (None, 0),
        (3, 0),
        ({}, 0),
        (["a.md"], 1),
        ([entry("")], 1),
        ([entry(3)], 1),
        ([entry("a", 3)], 1),
        ([entry("a", A, "1")], 1),
        ([entry("a", A, True)], 1),
        ([entry("a", A, -1)], 1),
    ],
)
def test_what_describes_no_file_is_counted_and_left_out(stated: Any, unreadable: int) -> None:
    found = files_of({"files": stated})

    assert (dict(found.contents), found.unreadable) == ({}, unreadable)


# --- A tree -----------------------------------------------------------------------------------------------------


def drawn(found: Files, **bounds: int) -> str:
    """Draw the tree as `folder[files in it]{…}`."""
    text = ""
    for row in list_files(found, **bounds).rows:
        match row.part:
            case Part.OPEN:
                text += f"{row.name}[{row.files}, {row.size_bytes}]{{"
            case Part.CLOSE:
                text += "}"
            case Part.FILE:
                text += f" {row.name}={row.size_bytes}"
    return text


def test_folders_come_first_and_know_what_is_below_them() -> None:
    found = files(z=(A, 1), a=(A, 2), prompts__b=(A, 3), prompts__deep__c=(A, 4), data__d=(A, 5))

    assert drawn(found) == "data[1, 5]{ d=5}prompts[2, 7]{deep[1, 4]{ c=4} b=3} a=2 z=1"


def test_a_tree_shows_no_more_files_than_it_may_and_says_how_many_it_leaves_out() -> None:
    found = files(a__one=(A, 1), a__two=(A, 2), b__three=(A, 3), four=(A, 4))

    assert drawn(found, most=2) == "a[2, 3]{ one=1 two=2}"
    listing = list_files(found, most=2)
    assert (listing.files, listing.size_bytes, listing.left_out) == (4, 10, 2)
    assert list_files(found).left_out == 0


def test_a_tree_shows_no_more_folders_than_files() -> None:
    found = Files({f"{letter}/b/c/file": Content(A, 1) for letter in "xyz"}, 0)

    assert drawn(found, most=4) == "x[1, 1]{b[1, 1]{c[1, 1]{ file=1}}}y[1, 1]{}"
    assert list_files(found, most=4).left_out == 2


def test_a_path_without_end_makes_no_deeper_tree_than_an_archive_can_have() -> None:
    listing = list_files(Files({"d/" * 100_000 + "f": Content(A, 1)}, 0))

    assert sum(row.part is Part.OPEN for row in listing.rows) == limits.BUNDLE_PATH_MAX_PARTS - 1
    assert max(len(row.name) for row in listing.rows) <= limits.BUNDLE_EXCERPT_MAX_CHARACTERS + 1


def test_a_name_of_strangers_is_printable() -> None:
    (row,) = list_files(files(**{"a\u202eb\x1b": (A, 1)})).rows

    assert row.name == "a\\u202eb\\x1b"


# --- A difference -----------------------------------------------------------------------------------------------


def test_what_was_added_changed_and_removed() -> None:
    before = files(same=(A, 1), changed=(A, 10), gone=(A, 100))
    after = files(same=(A, 1), changed=(B, 20), new=(B, 1000))

    found = compare(before, after)

    assert [(c.path, c.kind) for c in found.changes] == [
        ("changed", Kind.CHANGED),
        ("gone", Kind.REMOVED),
        ("new", Kind.ADDED),
    ]
    assert (found.added, found.changed, found.removed, found.unchanged) == (1, 1, 1, 1)
    assert (found.bytes_before, found.bytes_after, found.left_out, found.is_empty) == (111, 1021, 0, False)
    (changed, *_) = found.changes
    assert changed.before == Content(A, 10)
    assert changed.after == Content(B, 20)


def test_the_same_files_differ_in_nothing() -> None:
    found = compare(files(a=(A, 1)), files(a=(A, 1)))

    assert found.is_empty
    assert (found.unchanged, list(found.changes)) == (1, [])


def test_a_difference_shows_no_more_than_it_may_and_counts_all() -> None:
    after = files(**{f"f{number}": (A, 1) for number in range(5)})

    found = compare(Files({}, 0), after, most=2)

    assert ([c.path for c in found.changes], found.left_out, found.added) == (["f0", "f1"], 3, 5)


def test_one_change_is_found_by_its_path() -> None:
    before, after = files(same=(A, 1), changed=(A, 1)), files(same=(A, 1), changed=(B, 1), new=(A, 1))

    for path, kind in (("changed", Kind.CHANGED), ("new", Kind.ADDED)):
        change = find_change(before, after, path)
        assert change is not None
        assert change.kind is kind
    assert find_change(before, after, "same") is None
    assert find_change(before, after, "nothing") is None


def test_only_small_files_may_be_compared() -> None:
    most = limits.TEXT_DIFF_FILE_MAX_BYTES
    changes = compare(files(a=(A, most), b=(A, most + 1)), files(a=(B, 1), b=(B, 1), c=(B, most + 1))).changes

    assert {change.path: change.may_be_compared for change in changes} == {"a": True, "b": False, "c": False}


# --- Line by line -----------------------------------------------------------------------------------------------


def between(old: Mapping[str, str] | None, new: Mapping[str, str], path: str = "a.md") -> TextDifference:
    before = draft(APP, "1.0.0", files=old) if old is not None else None
    after = draft(APP, "2.0.0", files=new)
    return of(before, after, path)


def of(before: BundleRelease | None, after: BundleRelease, path: str = "a.md") -> TextDifference:
    change = find_change(files_of(before.manifest) if before else Files({}, 0), files_of(after.manifest), path)
    assert change is not None
    return compare_texts(before=before, after=after, change=change)


def lines(found: TextDifference) -> list[tuple[str, int | None, int | None, str]]:
    assert not found.refusal, str(found.refusal)
    return [(line.mark.value, line.before, line.after, line.text) for line in found.lines]


@pytest.mark.django_db
def test_the_lines_that_differ_with_their_numbers() -> None:
    old = "".join(f"line {number}\n" for number in range(1, 21))
    new = old.replace("line 10\n", "line ten\nand more\n")

    found = lines(between({"a.md": old}, {"a.md": new}))

    assert found == [
        ("gap", None, None, ""),
        ("same", 7, 7, "line 7"),
        ("same", 8, 8, "line 8"),
        ("same", 9, 9, "line 9"),
        ("removed", 10, None, "line 10"),
        ("added", None, 10, "line ten"),
        ("added", None, 11, "and more"),
        ("same", 11, 12, "line 11"),
        ("same", 12, 13, "line 12"),
        ("same", 13, 14, "line 13"),
    ]


@pytest.mark.django_db
def test_a_new_file_and_one_that_is_gone() -> None:
    before = draft(APP, "1.0.0", files={"a.md": "a\nb\n", "x": "x"})
    after = draft(APP, "2.0.0", files={"new.md": "n\n", "x": "x"})

    assert lines(of(before, after, "new.md")) == [("added", None, 1, "n")]
    assert lines(of(before, after, "a.md")) == [("removed", 1, None, "a"), ("removed", 2, None, "b")]
    assert lines(of(None, after, "new.md")) == [("added", None, 1, "n")]


@pytest.mark.django_db
def test_what_is_hidden_in_a_text_is_seen() -> None:
    found = lines(between({"a.md": "if admin:\n"}, {"a.md": "if \u202eadmin\u2066:\x1b[2K\t.\n"}))

    assert found[-1][3] == "if \\u202eadmin\\u2066:\\x1b[2K\t."


@pytest.mark.django_db
def test_ends_of_lines_are_seen_where_only_one_file_has_those_of_windows() -> None:
    assert lines(between({"a.md": "a\r\nb\r\n"}, {"a.md": "a\nb\n"}))[0][3] == "a\\r"


@pytest.mark.django_db
def test_ends_of_lines_as_on_windows_in_both_files_are_no_difference() -> None:
    found = lines(between({"a.md": "a\r\nb\r\n"}, {"a.md": "a\r\nc\r\n"}))

    assert [line[3] for line in found] == ["a", "b", "c"]


@pytest.mark.django_db
def test_only_the_end_of_the_last_line_differs() -> None:
    assert lines(between({"a.md": "a"}, {"a.md": "a\n"})) == []


def packed_draft(version: str, raw: bytes) -> BundleRelease:
    """A release whose a.md is no text that `draft` could write."""
    release = draft(APP, version, files={"a.md": "x" * len(raw)})
    return rewritten(release, raw)


def rewritten(release: BundleRelease, raw: bytes) -> BundleRelease:
    """Put other bytes of the same length into the archive, and into the manifest in the database their hash."""
    path = Path(settings.ARTIFACT_ROOT) / release.artifact_key
    tar = gzip.decompress(path.read_bytes()).replace(b"x" * len(raw), raw)
    path.chmod(0o644)
    path.write_bytes(gzip.compress(tar))
    release.manifest["files"][0]["sha256"] = hashlib.sha256(raw).hexdigest()
    return release


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("raw", "words"), [(b"PNG\0\1\2\3\4", "no text"), (b"\xff\xfe\xfd\xfc\xfb\xfa", "no text in UTF-8")]
)
def test_what_is_no_text_is_not_compared(raw: bytes, words: str) -> None:
    found = of(draft(APP, "1.0.0", files={"a.md": "a"}), packed_draft("2.0.0", raw))

    assert words in str(found.refusal)
    assert not found.lines


@pytest.mark.django_db
def test_limits_of_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    before = draft(APP, "1.0.0", files={"a.md": "a\n" * 30, "z.md": "z"})
    after = draft(APP, "2.0.0", files={"a.md": "b\n" * 30, "z.md": "y"})

    monkeypatch.setattr(limits, "TEXT_DIFF_ROWS_SHOWN", 10)
    cut = of(before, after)
    assert (len(cut.lines), cut.is_cut) == (10, True)

    monkeypatch.setattr(limits, "TEXT_DIFF_LINES_MAX", 10)
    assert "too many lines" in str(of(before, after).refusal)

    monkeypatch.setattr(limits, "TEXT_DIFF_FILE_MAX_BYTES", 59)
    assert "too large" in str(of(before, after).refusal)

    monkeypatch.setattr(limits, "TEXT_DIFF_UNPACKED_MAX_BYTES", 1024)
    assert "too far inside" in str(of(before, after, "z.md").refusal)


@pytest.mark.django_db
def test_an_archive_that_unpacks_to_nothing_is_read_no_further_than_others(
    artifact_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deflate has blocks without content, as many as somebody likes (RFC 1951, section 3.2.4)."""
    before, after = draft(APP, "1.0.0", files={"a.md": "a"}), draft(APP, "2.0.0", files={"a.md": "b"})
    path = artifact_root / after.artifact_key
    empty_blocks = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 100_000
    path.chmod(0o644)
    path.write_bytes(empty_blocks + b"\x01\0\0\xff\xff" + bytes(8) + path.read_bytes())
    assert of(before, after).lines

    monkeypatch.setattr(limits, "TEXT_DIFF_UNPACKED_MAX_BYTES", 200_000)
    assert "too far inside" in str(of(before, after).refusal)


@pytest.mark.django_db
def test_bytes_that_are_not_here_are_not_compared(artifact_root: Path) -> None:
    before, after = draft(APP, "1.0.0", files={"a.md": "a"}), draft(APP, "2.0.0", files={"a.md": "b"})

    elsewhere = BundleRelease(external_url="https://example.com/x.tar.gz", manifest=before.manifest)
    assert "lies elsewhere" in str(of(elsewhere, after).refusal)

    path = artifact_root / after.artifact_key
    path.chmod(0o644)
    path.write_bytes(b"no archive")
    assert "can't be read" in str(of(before, after).refusal)
    path.unlink()
    assert "not in the store" in str(of(before, after).refusal)


@pytest.mark.django_db
def test_a_manifest_that_does_not_match_its_archive_is_told() -> None:
    before, after = draft(APP, "1.0.0", files={"a.md": "a"}), draft(APP, "2.0.0", files={"a.md": "b"})
    after.manifest["files"] = [{"path": "a.md", "sha256": A, "size_bytes": 1}, entry("other.md")]

    assert "another file there" in str(of(before, after).refusal)
    assert "another file there" in str(of(before, after, "other.md").refusal)


@pytest.mark.django_db
def test_the_longest_texts_are_compared_within_seconds() -> None:
    """Every other line is the same, and common enough to have many partners: the slowest texts that were found."""
    common = [str(number) for number in range(50)]
    old, new = (
        "".join(f"{common[number % 50]}\n{mark}{number}\n" for number in range(limits.TEXT_DIFF_LINES_MAX // 2))
        for mark in "xy"
    )

    assert between({"a.md": old}, {"a.md": new}).lines[0].mark is Mark.SAME
