"""A manifest agrees with the release and with every file, or each disagreement is told."""

import io
import json
import re
from typing import Any

import pytest

from config import limits
from updates.bundles.base import BundleError
from updates.bundles.manifest import required_experts_of
from updates.tests.archives import MANIFEST, a_member, entry_of, inspect, packed, tar_of, with_manifest, zipped

CHAPTER = {"bundle_type": "chapter", "scope_id": "course/ch1_intro"}
PROMPTS = ("chapter_context.md", "task_list.md", "task_completion_principles.md")
V2_FILES = {f"prompts/{name}": b"text" for name in PROMPTS}
V1_FILES = dict.fromkeys(PROMPTS, b"text")


def faults_of(archive: io.BytesIO, **release: Any) -> list[str]:
    with pytest.raises(BundleError) as raised:
        inspect(archive, **release)
    return [str(fault) for fault in raised.value.faults]


def raw_manifest(raw: bytes) -> io.BytesIO:
    return packed({"bundle.manifest.json": raw})


@pytest.mark.parametrize("format_version", ["bundle-v1", "bundle-v2"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_manifest_that_agrees(format_version: str, prefix: str) -> None:
    files = with_manifest({"a.md": b"a", "docs/b.md": b""}, format_version=format_version)

    found = inspect(packed({prefix + name: content for name, content in files.items()}))

    assert found.manifest == json.loads(files["bundle.manifest.json"])
    assert found.warnings == ()


def test_paths_and_hashes_are_compared_however_they_are_written() -> None:
    entry = entry_of("a.md", b"a")
    entry = {**entry, "path": "./a.md", "sha256": entry["sha256"].upper()}

    inspect(packed(with_manifest({"a.md": b"a"}, files=[entry])))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "not valid JSON in UTF-8: Expecting property name"),
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON in UTF-8: Unexpected UTF-8 BOM"),
        (json.dumps(MANIFEST).encode("utf-16"), "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not valid JSON"),
        (b"[]", "must hold an object"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": NaN}', "finite"),
        (b'{"a": 1e999}', "finite"),
        (b'{"a": 99999999999999999999}', "64 bits"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "deep"),
        (b'{"files": [], "files": []}', "states 'files' twice"),
        (b'{"a": {"b": 1, "c": 1, "b": 1}}', "states 'b' twice"),
        (b'{"a": [' + b"1," * limits.BUNDLE_MANIFEST_VALUES_MAX + b"1]}", "too many values"),
    ],
)
def test_what_is_no_manifest(raw: bytes, words: str) -> None:
    (fault,) = faults_of(raw_manifest(raw))

    assert fault.startswith("bundle.manifest.json: ")
    assert words in fault


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format_version": "bundle-v3"}, "format_version must be one of bundle-v1, bundle-v2."),
        ({"format_version": ["bundle-v1"]}, "format_version must be one of bundle-v1, bundle-v2."),
        ({"bundle_type": "experts"}, "bundle_type is 'experts', but the release's is 'app_agents'."),
        ({"scope_id": "course/core"}, "scope_id is 'course/core', but the release's is 'core'."),
        ({"scope_id": None}, "scope_id is None, but the release's is 'core'."),
        ({"version": "1.0.1"}, "version is '1.0.1', but the release's is '1.0.0'."),
        ({"version": 1}, "version is 1, but the release's is '1.0.0'."),
        ({"files": {}}, "files must be a list."),
        ({"required_experts": "alpha"}, "required_experts must be a list of expert ids."),
        ({"chapter": {"required_experts": ["../alpha"]}}, "required_experts must be a list of expert ids."),
        ({"min_desktop_version": "new"}, "min_desktop_version must be a semantic version such as 1.4.0."),
        ({"chapter": {"min_sidecar_version": 1}}, "min_sidecar_version must be a semantic version such as 1.4.0."),
        ({"files": ["a.md"]}, "files[0] must be an object with path, sha256 and size_bytes."),
        ({"files": [{"sha256": "0" * 64, "size_bytes": 1}]}, "files[0] must have a path."),
        ({"files": [{**entry_of("a", b""), "path": 7}]}, "files[0] must have a path."),
        ({"files": [{**entry_of("a", b""), "path": ""}]}, "files[0] must have a path."),
        ({"files": [{**entry_of("a", b""), "sha256": "0" * 63}]}, "files[0] (a) must have a sha256 of 64 "),
        ({"files": [{**entry_of("a", b""), "sha256": "0" * 64 + "\n"}]}, "files[0] (a) must have a sha256 of 64 "),
        ({"files": [{**entry_of("a", b""), "sha256": None}]}, "files[0] (a) must have a sha256 of 64 "),
        ({"files": [{**entry_of("a", b""), "size_bytes": -1}]}, "files[0] (a) must have size_bytes, a number "),
        ({"files": [{**entry_of("a", b""), "size_bytes": True}]}, "files[0] (a) must have size_bytes, a number "),
        ({"files": [{**entry_of("a", b""), "size_bytes": 1.0}]}, "files[0] (a) must have size_bytes, a number "),
    ],
)
def test_a_field_that_contradicts_the_release(change: dict[str, Any], expected: str) -> None:
    (fault,) = faults_of(packed(with_manifest({}, **change)))

    assert fault.startswith(f"bundle.manifest.json: {expected}")


@pytest.mark.parametrize("field", ["format_version", "bundle_type", "scope_id", "version", "files"])
def test_a_field_that_is_missing(field: str) -> None:
    manifest = {name: value for name, value in MANIFEST.items() if name != field}

    (fault,) = faults_of(raw_manifest(json.dumps(manifest).encode()))

    assert fault.startswith(f"bundle.manifest.json: {field} ")


def test_what_a_manifest_says_is_quoted_only_so_far() -> None:
    (fault,) = faults_of(packed(with_manifest({}, version="\u202e" + "9" * 1_000_000)))

    assert len(fault) < 500
    assert fault.isprintable()


# --- Files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"aa", "a.md: It has 2 bytes, but the manifest says 1."),
        (b"b", "a.md: Its SHA-256 is not what the manifest says."),
    ],
)
def test_a_file_that_is_not_what_the_manifest_says(content: bytes, fault: str) -> None:
    assert faults_of(packed({**with_manifest({"a.md": b"a"}), "a.md": content})) == [fault]


def test_files_of_only_one_of_both() -> None:
    files = with_manifest({"both.md": b"", "gone.md": b""})
    del files["gone.md"]

    assert faults_of(packed({**files, "new.md": b"", "docs/new.md": b""})) == [
        "gone.md: The manifest lists it, but the archive doesn't have it.",
        "docs/new.md: It is in the archive, but the manifest doesn't list it.",
        "new.md: It is in the archive, but the manifest doesn't list it.",
    ]


@pytest.mark.parametrize("path", ["docs", "A.md", "a.md/", "a.md/x", "../a.md", "/a.md", "docs/../a.md", ".", "a\x7f"])
def test_a_path_that_is_no_file_of_the_archive(path: str) -> None:
    entries = [entry_of(name, b"") for name in ("a.md", "docs/b.md", path)]
    files = with_manifest({"a.md": b"", "docs/b.md": b""}, files=entries)

    (fault,) = faults_of(packed(files))

    assert fault.endswith("The manifest lists it, but the archive doesn't have it.")


@pytest.mark.parametrize("again", ["a.md", "./a.md", "././a.md"])
def test_a_path_twice(again: str) -> None:
    entries = [entry_of("a.md", b"a"), entry_of(again, b"a")]

    assert faults_of(packed(with_manifest({"a.md": b"a"}, files=entries))) == ["a.md: The manifest lists it twice."]


def test_the_manifest_can_not_list_itself() -> None:
    (fault,) = faults_of(packed(with_manifest({}, files=[entry_of("bundle.manifest.json", b"")])))

    assert fault == "bundle.manifest.json: The manifest can't list itself."


def test_all_disagreements_are_told_at_once_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(with_manifest({}, version="2.0.0", files=[entry_of(f"{n}.md", b"") for n in range(30)]))

    faults = faults_of(archive)

    assert len(faults) == limits.BUNDLE_FAULTS_MAX + 1
    assert faults[0].startswith("bundle.manifest.json: version")
    assert faults[1].startswith("0.md: ")
    assert faults[-1] == f"There are {31 - limits.BUNDLE_FAULTS_MAX} more faults."
    monkeypatch.setattr(limits, "BUNDLE_FAULTS_MAX", 31)
    assert len(faults_of(archive)) == 31


# --- Chapters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_version", "files"), [("bundle-v1", V1_FILES), ("bundle-v2", V2_FILES)])
def test_a_chapter_has_its_prompts(format_version: str, files: dict[str, bytes]) -> None:
    release = {**CHAPTER, "format_version": format_version}
    inspect(packed(with_manifest(files, **release)), **CHAPTER)

    for missing in files:
        rest = {name: content for name, content in files.items() if name != missing}
        assert faults_of(packed(with_manifest(rest, **release)), **CHAPTER) == [
            f"{missing}: A chapter of format {format_version} must have this file."
        ]


def test_a_chapter_of_one_format_with_the_prompts_of_the_other() -> None:
    for format_version, files in (("bundle-v1", V2_FILES), ("bundle-v2", V1_FILES)):
        archive = packed(with_manifest(files, **CHAPTER, format_version=format_version))
        assert len(faults_of(archive, **CHAPTER)) == 3


def test_the_prompts_of_an_unknown_format_are_not_asked_for() -> None:
    (fault,) = faults_of(packed(with_manifest({}, **CHAPTER, format_version="bundle-v9")), **CHAPTER)

    assert "format_version" in fault


@pytest.mark.parametrize("stated", ["ch1_intro", "another-course/ch1_intro"])
def test_a_scope_that_differs_in_its_course_is_a_warning(stated: str) -> None:
    found = inspect(packed(with_manifest(V2_FILES, bundle_type="chapter", scope_id=stated)), **CHAPTER)

    assert found.warnings == (
        f"bundle.manifest.json: scope_id is '{stated}', the release's is 'course/ch1_intro': only its course differs.",
    )


@pytest.mark.parametrize("stated", ["course/ch2_more", "ch2_more", "course/", "", "course/CH1_intro", None, 1])
def test_a_scope_of_another_chapter_is_a_fault(stated: object) -> None:
    (fault,) = faults_of(packed(with_manifest(V2_FILES, bundle_type="chapter", scope_id=stated)), **CHAPTER)

    assert fault.startswith("bundle.manifest.json: scope_id is ")


@pytest.mark.parametrize(
    ("chapter", "fault"),
    [
        ({"chapter_code": "ch2"}, "chapter.chapter_code is 'ch2', but the release's chapter is 'ch1_intro'."),
        ({"chapter_code": 1}, "chapter.chapter_code is 1, but the release's chapter is 'ch1_intro'."),
        ([], "chapter must be an object."),
    ],
)
def test_a_chapter_that_is_not_the_releases(chapter: object, fault: str) -> None:
    archive = packed(with_manifest(V2_FILES, **CHAPTER, chapter=chapter))

    assert faults_of(archive, **CHAPTER) == [f"bundle.manifest.json: {fault}"]


@pytest.mark.parametrize("chapter", [None, {}, {"chapter_code": "ch1_intro"}, {"chapter_code": None}])
def test_a_chapter_may_be_left_out(chapter: object) -> None:
    inspect(packed(with_manifest(V2_FILES, **CHAPTER, chapter=chapter)), **CHAPTER)


def test_a_prompt_may_be_a_link() -> None:
    files = with_manifest({**V2_FILES, "text.md": b"text"}, **CHAPTER)
    del files["prompts/task_list.md"]
    link = a_member("prompts/task_list.md", type=b"2", linkname="../text.md")

    inspect(zipped(tar_of(*(a_member(*file) for file in files.items()), link)), **CHAPTER)


def test_required_experts_of_both_formats() -> None:
    assert required_experts_of({"required_experts": ["a"]}) == ["a"]
    assert required_experts_of({"chapter": {"required_experts": ["b"]}, "required_experts": ["a"]}) == ["b"]
    assert required_experts_of({"chapter": {}}) == []
    assert required_experts_of({"chapter": {"required_experts": None}, "required_experts": None}) == []
    with pytest.raises(BundleError, match=re.escape("bundle.manifest.json: required_experts must be a list")):
        required_experts_of({"required_experts": "a"})
