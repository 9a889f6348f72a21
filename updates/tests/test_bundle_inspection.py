"""Good archives of every tool are accepted; what is made of them by chance is accepted or refused, nothing else."""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import limits
from updates.bundles.base import BundleError
from updates.tests.archives import (
    END,
    Member,
    a_member,
    blocks,
    good_members,
    inspect,
    packed,
    pax_header,
    pax_record,
    raw_block,
    tar_of,
    with_checksum,
    with_manifest,
    zipped,
)

FILES = {
    "a.md": b"a",
    "empty": b"",
    "docs/" + "long" * 30 + ".md": b"long",
    "docs/第一章/" + "数据" * 30 + ".md": b"long, not ASCII",
    "cafe\u0301.md": b"as macOS writes it",
    "data/table.csv": bytes(range(256)) * 300,
}


def on_disk(folder: Path) -> Path:
    for name, content in with_manifest(FILES).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def run(*command: str, cwd: Path) -> bytes:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout


def test_what_is_found() -> None:
    archive = packed(with_manifest(FILES))
    raw = archive.getvalue()

    found = inspect(archive)

    assert (found.sha256, found.size_bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert [entry["path"] for entry in found.manifest["files"]] == list(FILES)
    assert archive.tell() == 0
    assert inspect(archive, sha256="known").sha256 == "known"


# --- Of every tool ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_archives_of_gnu_tar(tmp_path: Path, format: str) -> None:
    folder = on_disk(tmp_path)
    if format in ("v7", "ustar"):
        names = [name for name in FILES if len(name.encode()) < 100]
        (folder / "bundle.manifest.json").write_bytes(
            with_manifest({name: FILES[name] for name in names})["bundle.manifest.json"]
        )
        members = ["bundle.manifest.json", *names]
    else:
        members = ["."]

    inspect(io.BytesIO(run("tar", "-cz", f"--format={format}", *members, cwd=folder)))


def test_hard_and_symbolic_links_of_gnu_tar(tmp_path: Path) -> None:
    folder = on_disk(tmp_path)
    (folder / "hard").hardlink_to(folder / "a.md")
    (folder / "docs/soft").symlink_to("../a.md")
    (folder / "folder").symlink_to("docs")

    inspect(io.BytesIO(run("tar", "-cz", ".", cwd=folder)))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python(tmp_path: Path, format: int) -> None:
    files = {name: content for name, content in FILES.items() if format != tarfile.USTAR_FORMAT or len(name) < 60}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", format=format) as archive:
        for name, content in with_manifest(files).items():
            (tmp_path / "x").write_bytes(content)
            archive.add(tmp_path / "x", name)

    inspect(raw)


def test_archives_of_git(tmp_path: Path) -> None:
    folder = on_disk(tmp_path)
    run("git", "init", "-q", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "all", cwd=folder)

    archive = run("git", "archive", "--format=tar.gz", "HEAD", cwd=folder)

    assert b"pax_global_header" in gzip.decompress(archive)
    inspect(io.BytesIO(archive))


def test_archives_of_bsdtar() -> None:
    """libarchive's pax writer adds attributes in binary, and the size of every large file."""
    files = with_manifest({"docs/a.md": b"a"})
    header = pax_header(
        pax_record("LIBARCHIVE.creationtime", "1"),
        pax_record("SCHILY.xattr.com.apple.provenance", b"\1\0\n=\xff"),
        mtime="1.5",
    )
    named = pax_header(path="docs/a.md", size="1", hdrcharset="BINARY")
    members = [
        *(header, raw_block(name=b"docs/", type=tarfile.DIRTYPE)),
        *(named, raw_block(b"a", size=b"0", name=b"cut short")),
        *(header, raw_block(files["bundle.manifest.json"], name=b"./bundle.manifest.json")),
    ]

    inspect(zipped(b"".join(members) + END))


def test_what_pads_archives() -> None:
    tar = blocks(*good_members("a.md"))
    for archive in (
        gzip.compress(tar + END + bytes(10_000)),
        gzip.compress(tar + bytes(512)),
        gzip.compress(tar + END) + bytes(1000),
        b"".join(gzip.compress(tar[at : at + 1000]) for at in range(0, len(tar), 1000)) + gzip.compress(END),
        gzip.compress(tar) + bytes(100) + gzip.compress(b"") + gzip.compress(END),
    ):
        inspect(io.BytesIO(archive))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(lambda tar: raw_block(pax_record("comment", "of all"), type=b"g") + tar, id="at the beginning"),
        pytest.param(lambda tar: tar + raw_block(pax_record("comment", "of none"), type=b"g"), id="at the end"),
    ],
)
def test_a_global_header_may_hold_comments(block: Any) -> None:
    inspect(zipped(block(blocks(*good_members("a.md"))) + END))


# --- Links and folders --------------------------------------------------------------------------------------------


def link(name: str, target: str, type: bytes = tarfile.SYMTYPE) -> Member:
    return a_member(name, type=type, linkname=target)


@pytest.mark.parametrize(
    "links",
    [
        [link("docs/l", "../a.md")],
        [link("l", "docs/./b.md")],
        [link("l", "docs//../a.md")],
        [link("l", "docs/")],
        [link("l", ".")],
        [link("a", "."), link("b", "a/docs/../a.md")],
        [link("b", "c"), link("c", "a.md")],
        [link("docs/up", ".."), link("l", "docs/up/docs/up/a.md")],
        [link("l", "a.md", tarfile.LNKTYPE), link("m", "./l", tarfile.LNKTYPE), link("s", "m")],
        [link("8", "a.md"), *(link(f"{n}", f"{n + 1}") for n in range(1, 8))],
    ],
)
def test_links_in_the_tree_need_no_entry(links: list[Member]) -> None:
    inspect(zipped(tar_of(*good_members("a.md", "docs/b.md"), *links)))


def test_links_may_be_listed_as_what_they_lead_to() -> None:
    files = with_manifest(dict.fromkeys(("a.md", "hard", "soft"), b"a"))
    members = [a_member(name, files[name]) for name in ("a.md", "bundle.manifest.json")]

    inspect(zipped(tar_of(*members, link("hard", "a.md", tarfile.LNKTYPE), link("soft", "a.md"))))


def test_folders_may_be_members_before_and_after_their_files() -> None:
    folders = [a_member(name, type=tarfile.DIRTYPE, mode=0o1777) for name in ("./", "before/", "docs", "before/more")]

    inspect(zipped(tar_of(*folders[:2], *good_members("docs/b.md", "before/a.md"), *folders[2:])))


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "..a",
        "a..b",
        "console.md",
        "com10",
        "nulls",
        "communal",
        " leading space",
        "50 % & more = (ok) 'quoted' #1 ~$[x]{y}!@^+,;`",
        "😀" * 50,
        "长" * 85,
        "l" * 200,
        "d/" * 31 + "x",
    ],
)
def test_names_that_every_client_can_hold(name: str) -> None:
    if len(name) == 200:
        name = "l" * 99 + "/" + "l" * 100
    inspect(packed(with_manifest({name: b"x"})))


# --- Memory -------------------------------------------------------------------------------------------------------


def peak_bytes(archive: io.BytesIO) -> int:
    tracemalloc.start()
    try:
        inspect(archive)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_file_takes_no_memory() -> None:
    content = os.urandom(limits.MIB) * 48
    archive = io.BytesIO(gzip.compress(gzip.decompress(packed(with_manifest({"big": content})).getvalue()), 0))
    del content

    assert peak_bytes(archive) < 2 * limits.MIB


# --- By chance ----------------------------------------------------------------------------------------------------

GOOD_TAR = tar_of(
    *good_members("a.md", "docs/" + "l" * 150), link("l", "docs/../a.md"), link("h", "a.md", tarfile.LNKTYPE)
)
GOOD = zipped(GOOD_TAR).getvalue()
GNU_TAR = tar_of(*good_members("a.md", "docs/" + "l" * 150), format=tarfile.GNU_FORMAT)


def accepts_or_refuses(archive: bytes) -> None:
    file = io.BytesIO(archive)
    try:
        inspect(file)
    except BundleError as error:
        told = "".join(map(str, error.faults))
        assert told.isprintable()
        assert len(told) < limits.BUNDLE_FAULTS_MAX * 3 * limits.BUNDLE_EXCERPT_MAX_CHARACTERS
    assert file.tell() == 0


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some of them replaced, cut or inserted."""
    places = st.integers(0, len(data))
    return st.one_of(
        st.builds(lambda at, new: data[:at] + new + data[at + len(new) :], places, st.binary(min_size=1, max_size=9)),
        st.builds(lambda at, new: data[:at] + new + data[at:], places, st.binary(min_size=1, max_size=600)),
        st.builds(lambda start, end: data[: min(start, end)] + data[max(start, end) :], places, places),
        st.builds(lambda end: data[:end], places),
    )


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=2_000), mutations(GOOD)))
def test_mutated_gzip_data(archive: bytes) -> None:
    accepts_or_refuses(archive)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=2_000), mutations(GOOD_TAR), mutations(GNU_TAR)))
def test_mutated_tar_data(tar: bytes) -> None:
    accepts_or_refuses(gzip.compress(tar, 1))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([GOOD_TAR, GNU_TAR]),
    st.data(),
)
def test_mutated_headers_of_right_checksum(tar: bytes, data: st.DataObject) -> None:
    block = 512 * data.draw(st.integers(0, len(tar.rstrip(b"\0")) // 512))
    field, size = data.draw(
        st.sampled_from([(0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)])
    )
    new = data.draw(st.binary(min_size=size, max_size=size) | st.binary(max_size=size))
    header = bytearray(tar[block : block + 512])
    header[field : field + len(new)] = new

    accepts_or_refuses(gzip.compress(tar[:block] + with_checksum(header) + tar[block + 512 :], 1))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from("0125LKxg"), st.text(max_size=12)), max_size=6))
def test_members_of_any_name(members: list[tuple[str, str, str]]) -> None:
    raw = blocks(*good_members("a.md")) + b"".join(
        raw_block(
            text.encode("utf-8", "replace") if type in "LKxg" else b"",
            name=name.encode("utf-8", "replace")[:100],
            type=type.encode(),
            link=text.encode("utf-8", "replace")[:100],
        )
        for name, type, text in members
    )

    accepts_or_refuses(gzip.compress(raw + END, 1))
