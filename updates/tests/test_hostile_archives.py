"""Archives that no client could unpack safely, or at all: each is refused, and its fault says what and why."""

import gzip
import io
import tarfile
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from config import limits
from updates.bundles.base import BundleError, Fault
from updates.tests.archives import (
    END,
    Member,
    a_member,
    blocks,
    entry_of,
    good_members,
    inspect,
    packed,
    pax_header,
    pax_record,
    raw_block,
    tar_of,
    with_manifest,
    zipped,
)

SYMBOLIC = tarfile.SYMTYPE
HARD = tarfile.LNKTYPE


def good_archive() -> bytes:
    return zipped(tar_of(*good_members("a.md"))).getvalue()


def with_members(*members: Member) -> bytes:
    """A good archive but for these members."""
    return zipped(tar_of(*good_members(), *members)).getvalue()


def with_blocks(*raw: bytes) -> bytes:
    """A good archive but for these raw headers and contents."""
    return zipped(blocks(*good_members()) + b"".join(raw) + END).getvalue()


def named(name: str) -> bytes:
    """A good archive but for this name."""
    return packed(with_manifest({"a.md": b"a", name: b"x"})).getvalue()


def link(name: str, target: str, type: bytes = SYMBOLIC) -> Member:
    return a_member(name, type=type, linkname=target)


def changed(archive: bytes, start: int, new: bytes) -> bytes:
    end = start + len(new)
    return archive[:start] + new + (archive[end:] if end else b"")


def refusal_of(archive: io.BytesIO) -> Fault:
    """Inspect the archive, and return the only fault that is raised."""
    with pytest.raises(BundleError) as raised:
        inspect(archive)
    (fault,) = raised.value.faults
    assert archive.tell() == 0
    return fault


TAR = blocks(*good_members("a.md"))

BROKEN: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "", "not a gzip file"),
    "not gzip": (b"PK\3\4" + bytes(100), "", "not a gzip file"),
    "not tar": (gzip.compress(b"no tar" * 200), "", "no tar archive"),
    "less than a header": (gzip.compress(b"no tar"), "", "no tar archive"),
    "nothing in it": (gzip.compress(b""), "", "no tar archive"),
    "only an end": (gzip.compress(END), "", "no bundle.manifest.json"),
    "gzip cut short": (good_archive()[:-20], "", "cut short"),
    "gzip without its trailer": (good_archive()[:-8], "", "cut short"),
    "gzip header cut short": (good_archive()[:5], "", "cut short"),
    "wrong checksum of gzip": (changed(good_archive(), -8, b"abcd"), "", "damaged (incorrect data check)"),
    "wrong length of gzip": (changed(good_archive(), -4, b"abcd"), "", "damaged (incorrect length check)"),
    "damaged deflate data": (changed(good_archive(), 10, b"\xff\xff\xff\xff"), "", "damaged (invalid block type)"),
    "something after gzip": (good_archive() + b"junk", "", "follows the gzip data"),
    "tar cut short in a file": (gzip.compress(blocks(a_member("a.md", bytes(2000)))[:-600]), "a.md", "cut short"),
    "tar cut short between files": (gzip.compress(TAR), "", "end mark is missing"),
    "tar cut short in a header": (gzip.compress(TAR + raw_block()[:300]), "", "after 'bundle.manifest.json'"),
    "wrong checksum of a header": (gzip.compress(TAR + changed(raw_block(), 0, b"y") + END), "", "valid checksum"),
    "data after the end": (gzip.compress(TAR + END + b"hidden" + bytes(506)), "", "follows the end"),
    "an archive after the end": (gzip.compress((TAR + END) * 2), "", "follows the end"),
    "data after the end, separately packed": (gzip.compress(TAR + END) * 2, "", "follows the end"),
}

NAMES: dict[str, tuple[bytes, str, str]] = {
    "absolute": (named("/etc/passwd"), "/etc/passwd", "absolute"),
    "the folder above": (named("../x"), "../x", "'..'"),
    "a way up": (named("a/../../x"), "a/../../x", "'..'"),
    "no name": (with_blocks(raw_block(name=b"")), "", "without a name"),
    "no name by pax": (with_blocks(pax_header(path=""), raw_block()), "", "without a name"),
    "an empty part": (named("a//x"), "a//x", "empty part"),
    "a dot within": (named("a/./x"), "a/./x", "empty part"),
    "a file with a slash": (with_blocks(pax_header(path="a/"), raw_block()), "a/", "empty part"),
    "the root as a file": (named("."), ".", "root"),
    "backslash": (named("..\\x"), "..\\x", "'\\'"),
    "drive": (named("C:x"), "C:x", "':'"),
    "control character": (named("a\nb"), "a\\nb", "'\\n'"),
    "NUL": (with_blocks(pax_header(path=b"x\0y"), raw_block()), "x\\x00y", "'\\x00'"),
    "wildcard": (named("what?"), "what?", "'?'"),
    "device": (named("docs/nul.md"), "docs/nul.md", "device"),
    "device with a superscript": (named("COM¹"), "COM¹", "device"),
    "device as a folder": (named("aux/x"), "aux/x", "device"),
    "dot at the end": (named("notes./x"), "notes./x", "dot or a space"),
    "space at the end": (named("notes "), "notes ", "dot or a space"),
    "too long": (named("long/" * 40 + "x"), "long/" * 40 + "…", "too long"),
    "too long on Windows": (named("😀/" * 70), "😀/" * 70, "too long"),
    "too deep": (named("d/" * 32 + "x"), "d/" * 32 + "x", "too deep"),
    "a part too long": (named("长" * 86), "长" * 86, "255 bytes"),
    "not UTF-8": (with_blocks(raw_block(name=b"caf\xe9")), "caf\\udce9", "UTF-8"),
    "not UTF-8 by pax": (with_blocks(pax_header(path=b"caf\xe9"), raw_block()), "caf\\udce9", "UTF-8"),
    "twice": (with_members(a_member("x"), a_member("./x")), "./x", "twice"),
    "twice but for case": (with_members(a_member("Read.md"), a_member("read.md")), "read.md", "one name"),
    "twice but for normalization": (with_members(a_member("café"), a_member("cafe\u0301")), "cafe\u0301", "one name"),
    "twice but for case, not ASCII": (with_members(a_member("ÄÖ"), a_member("äÖ")), "äÖ", "one name"),
    "folders that differ in case": (with_members(a_member("A/x"), a_member("a/y")), "a/y", "one name"),
    "a second manifest": (
        with_members(a_member("Bundle.Manifest.json")),
        "Bundle.Manifest.json",
        "one name",
    ),
    "a folder twice": (with_members(*[a_member("f", type=tarfile.DIRTYPE)] * 2), "f", "twice"),
    "the root twice": (with_members(*[a_member("./", type=tarfile.DIRTYPE)] * 2), ".", "twice"),
    "a file, then a folder": (with_members(a_member("f"), a_member("f/x")), "f/x", "which is a file"),
    "a folder, then a file": (with_members(a_member("f/x"), a_member("f")), "f", "folder of other files"),
    "an empty folder, then a file": (
        with_members(a_member("f", type=tarfile.DIRTYPE), a_member("f")),
        "f",
        "folder of other files",
    ),
}

LINKS: dict[str, tuple[bytes, str, str]] = {
    "absolute": (with_members(link("l", "/etc/passwd")), "l", "out of the bundle's folder"),
    "up": (with_members(link("l", "../x")), "l", "out of the bundle's folder"),
    "up from a folder": (with_members(link("f/l", "../../x")), "f/l", "out of the bundle's folder"),
    "through another link": (
        with_members(a_member("f/g/x"), link("down", "f/g"), link("l", "down/../../../x")),
        "l",
        "out of the bundle's folder",
    ),
    "through a link to itself": (
        with_members(link("a", "."), link("b", "a/../x")),
        "b",
        "out of the bundle's folder",
    ),
    "through a later link": (with_members(link("b", "a/../x"), link("a", ".")), "b", "out of the bundle's folder"),
    "a file through a link": (with_members(link("l", "."), a_member("l/x")), "l/x", "which is a symbolic link"),
    "a link where a folder is": (with_members(a_member("l/x"), link("l", ".")), "l", "folder of other files"),
    "a folder where a link is": (
        with_members(link("l", "."), a_member("l", type=tarfile.DIRTYPE)),
        "l",
        "which is a symbolic link",
    ),
    "a link twice": (with_members(link("l", "x"), link("l", "..")), "l", "twice"),
    "to itself": (with_members(link("l", "l")), "l", "circle"),
    "in a circle": (with_members(link("a", "b"), link("b", "a")), "a", "circle"),
    "a long chain": (
        with_members(a_member("0"), *(link(f"{n + 1}", f"{n}") for n in range(9))),
        "9",
        "too many other links",
    ),
    "to nothing": (with_members(link("l", "gone/x")), "l", "'gone', which the archive doesn't have"),
    "to nowhere": (with_blocks(raw_block(name=b"l", type=SYMBOLIC)), "l", "no path"),
    "through a file": (with_members(a_member("x"), link("l", "x/../x")), "l", "doesn't have"),
    "on a drive": (with_members(link("l", "C:\\x")), "l", "doesn't have"),
    "other case": (with_members(a_member("x"), link("l", "X")), "l", "doesn't have"),
    "not UTF-8": (with_blocks(raw_block(name=b"l", type=SYMBOLIC, link=b"\xff")), "l", "'\\udcff', which is no path"),
    "too long": (with_members(link("l", "./" * 101)), "l", "no path"),
    "hard, to nothing": (with_members(link("l", "gone", HARD)), "l", "no earlier file"),
    "hard, out of the tree": (with_members(link("l", "../../etc/passwd", HARD)), "l", "no earlier file"),
    "hard, absolute": (with_members(link("l", "/etc/passwd", HARD)), "l", "no earlier file"),
    "hard, to a later file": (with_members(link("l", "x", HARD), a_member("x")), "l", "no earlier file"),
    "hard, to itself": (with_members(link("l", "l", HARD)), "l", "no earlier file"),
    "hard, to a folder": (with_members(a_member("f/x"), link("l", "f", HARD)), "l", "no earlier file"),
    "hard, to a link": (with_members(a_member("x"), link("s", "x"), link("l", "s", HARD)), "l", "no earlier file"),
    "hard, through a link": (
        with_members(a_member("f/x"), link("s", "f"), link("l", "s/x", HARD)),
        "l",
        "no earlier file",
    ),
}

TYPES: dict[str, tuple[bytes, str, str]] = {
    "character device": (with_members(a_member("tty", type=tarfile.CHRTYPE)), "tty", "a device"),
    "block device": (with_members(a_member("sda", type=tarfile.BLKTYPE)), "sda", "a device"),
    "named pipe": (with_members(a_member("pipe", type=tarfile.FIFOTYPE)), "pipe", "a named pipe"),
    "sparse file": (with_blocks(raw_block(b"x", type=b"S")), "x", "a sparse file"),
    "sparse file by pax": (
        with_blocks(raw_block(pax_record("GNU.sparse.major", "1"), type=b"x"), raw_block()),
        "x",
        "a sparse file",
    ),
    "contiguous file": (with_blocks(raw_block(type=b"7")), "x", "unknown type '7'"),
    "volume label": (with_blocks(raw_block(type=b"V")), "x", "unknown type 'V'"),
    "setuid": (with_members(a_member("x", mode=0o4755)), "x", "setuid"),
    "setgid": (with_members(a_member("f", type=tarfile.DIRTYPE, mode=0o2755)), "f", "setgid"),
    "a folder with a content": (with_blocks(raw_block(b"x", type=tarfile.DIRTYPE)), "x", "is a folder, but has"),
    "a link with a content": (
        with_blocks(raw_block(b"x", type=SYMBOLIC, link=b"a")),
        "x",
        "is a symbolic link, but has",
    ),
}

HEADERS: dict[str, tuple[bytes, str, str]] = {
    "negative size": (with_blocks(raw_block(size=b"-1")), "x", "no valid size"),
    "negative size in base 256": (with_blocks(raw_block(size=b"\xff" * 12)), "x", "no valid size"),
    "size that is no number": (with_blocks(raw_block(size=b"many")), "", "valid checksum"),
    "huge size": (with_blocks(raw_block(size=b"\x80" + b"\xff" * 11)), "x", "too large when unpacked"),
    "size above the limit": (with_blocks(raw_block(size=b"77777777777")), "x", "too large when unpacked"),
    "size of what isn't there": (with_blocks(raw_block(size=b"70000000000")), "x", "cut short"),
    "huge size by pax": (with_blocks(pax_header(size="9" * 20), raw_block()), "x", "too large when unpacked"),
    "no size by pax": (with_blocks(pax_header(size="-1"), raw_block()), "x", "no valid size"),
    "size of many digits": (with_blocks(pax_header(size="9" * 5000), raw_block()), "x", "no valid size"),
    "extended header too large": (
        with_blocks(raw_block(bytes(limits.BUNDLE_TAR_EXTENSION_MAX_BYTES + 1), type=b"x"), raw_block()),
        "x",
        "extension header is too large",
    ),
    "long name too large": (
        with_blocks(raw_block(bytes(limits.BUNDLE_TAR_EXTENSION_MAX_BYTES + 1), type=b"L"), raw_block()),
        "x",
        "extension header is too large",
    ),
    "extended header of negative size": (with_blocks(raw_block(size=b"-1", type=b"x")), "x", "too large"),
    "malformed record": (with_blocks(raw_block(b"12 path=x\n", type=b"x"), raw_block()), "x", "malformed"),
    "record without an end": (with_blocks(raw_block(b"9 path=xy", type=b"x"), raw_block()), "x", "malformed"),
    "record of no length": (with_blocks(raw_block(b"0 path=x\n", type=b"x"), raw_block()), "x", "malformed"),
    "many records": (
        with_blocks(raw_block(pax_record("a", "b") * (limits.BUNDLE_PAX_RECORDS_MAX + 1), type=b"x"), raw_block()),
        "x",
        "records",
    ),
    "global path": (with_blocks(raw_block(pax_record("path", "y"), type=b"g"), raw_block()), "x", "global header"),
    "two extended headers": (with_blocks(pax_header(), pax_header(), raw_block()), "", "in a row"),
    "two global headers": (with_blocks(*[raw_block(type=b"g")] * 2, raw_block()), "", "in a row"),
    "two names": (
        with_blocks(raw_block(b"y\0", type=b"L"), pax_header(path="z"), raw_block()),
        "PaxHeaders/x",
        "two headers name one file",
    ),
    "an extension of nothing": (with_blocks(pax_header(path="y")), "", "ends with an extension header"),
    "a hidden name": (with_blocks(raw_block(b"y\0../x\0", type=b"L"), raw_block()), "x", "hidden"),
    "two formats": (with_blocks(raw_block(magic=b"ustar  \0", prefix=b"../..")), "../../x", "two formats"),
}

MANIFESTS: dict[str, tuple[bytes, str, str]] = {
    "none": (packed({"a.md": b"a"}).getvalue(), "", "no bundle.manifest.json"),
    "in a folder": (packed({"sub/bundle.manifest.json": b"{}"}).getvalue(), "", "no bundle.manifest.json"),
    "in other case": (packed({"Bundle.manifest.json": b"{}"}).getvalue(), "", "no bundle.manifest.json"),
    "a link": (
        zipped(tar_of(a_member("m", b"{}"), link("bundle.manifest.json", "m"))).getvalue(),
        "bundle.manifest.json",
        "must be a file",
    ),
    "a folder": (
        zipped(tar_of(a_member("bundle.manifest.json", type=tarfile.DIRTYPE))).getvalue(),
        "bundle.manifest.json",
        "must be a file",
    ),
    "too large": (
        packed({"bundle.manifest.json": b" " * (limits.BUNDLE_MANIFEST_MAX_BYTES + 1)}).getvalue(),
        "bundle.manifest.json",
        "at most 4,194,304 bytes",
    ),
}


@pytest.mark.parametrize(
    ("archive", "path", "words"),
    [
        pytest.param(*case, id=f"{kind}: {name}")
        for kind, cases in (
            ("broken", BROKEN),
            ("name", NAMES),
            ("link", LINKS),
            ("type", TYPES),
            ("header", HEADERS),
            ("manifest", MANIFESTS),
        )
        for name, case in cases.items()
    ],
)
def test_it_is_refused_with_the_file_and_the_reason(archive: bytes, path: str, words: str) -> None:
    fault = refusal_of(io.BytesIO(archive))

    assert fault.path == path
    assert words in fault.reason
    assert fault.reason.endswith(".")


def test_what_the_archives_above_are_changed_from_is_good() -> None:
    for archive in (good_archive(), with_members(), with_blocks(), named("x"), gzip.compress(TAR + END)):
        assert set(inspect(io.BytesIO(archive)).warnings) <= {"The archive has no files but its manifest."}


# --- Limits -----------------------------------------------------------------------------------------------------

THREE = packed(with_manifest(dict.fromkeys("abc", b""))).getvalue()
DEEP = packed(with_manifest({"a/b/x": b""})).getvalue()
MEMBERS = gzip.compress(TAR + END) + gzip.compress(b"") * 2
REPEATED = tar_of(*good_members("a.md"), link("l", "a.md", HARD), link("s", "a.md"))


@pytest.mark.parametrize(
    ("limit", "most", "archive", "words"),
    [
        pytest.param("BUNDLE_FILES_MAX", 4, THREE, "more than 3 files", id="files"),
        pytest.param("BUNDLE_FILES_MAX", 4, DEEP, "more than 3 files", id="folders without a member of their own"),
        pytest.param("BUNDLE_ARCHIVE_MAX_BYTES", len(THREE), THREE, "too large", id="packed"),
        pytest.param("BUNDLE_UNPACKED_MAX_BYTES", len(TAR + END), MEMBERS, "when unpacked", id="unpacked"),
        pytest.param("BUNDLE_GZIP_MEMBERS_MAX", 3, MEMBERS, "more than 2 members", id="gzip members"),
    ],
)
def test_as_much_as_the_limit_and_one_more(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int, archive: bytes, words: str
) -> None:
    monkeypatch.setattr(limits, limit, most)
    inspect(io.BytesIO(archive))

    monkeypatch.setattr(limits, limit, most - 1)
    assert words in refusal_of(io.BytesIO(archive)).reason


@pytest.mark.parametrize("type", [HARD, SYMBOLIC])
def test_what_links_repeat_counts_as_unpacked(monkeypatch: pytest.MonkeyPatch, type: bytes) -> None:
    """Where there are no links, as on Windows, tools make copies."""
    archive = tar_of(a_member("a.md", bytes(100_000)), *(link(f"{n}", "a.md", type) for n in range(9)))
    files = tar_of(a_member("bundle.manifest.json", with_manifest({"a.md": bytes(100_000)})["bundle.manifest.json"]))
    whole = zipped(archive.rstrip(b"\0") + bytes(-len(archive.rstrip(b"\0")) % 512) + files)
    monkeypatch.setattr(limits, "BUNDLE_UNPACKED_MAX_BYTES", 900_000)
    inspect(whole)

    monkeypatch.setattr(limits, "BUNDLE_UNPACKED_MAX_BYTES", 899_999)
    assert "too large when unpacked" in refusal_of(whole).reason


class Counted(io.BytesIO):
    """Knows how many of its bytes were read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self.count += len(block)
        return block


def bomb(size: int) -> bytes:
    """A file of so many zeros: after each full flush deflate begins anew, so its bytes repeat."""
    deflate = zlib.compressobj(9, wbits=31)
    start = deflate.compress(a_member("zeros", b"", size=size)[0].tobuf()) + deflate.flush(zlib.Z_FULL_FLUSH)
    first, again = (deflate.compress(bytes(limits.MIB)) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    assert first == again
    return start + first * (size // limits.MIB)


@pytest.mark.parametrize("size", [limits.BUNDLE_UNPACKED_MAX_BYTES - limits.MIB, 512 * limits.MIB])
def test_a_zip_bomb_ends_soon(size: int) -> None:
    archive = Counted(bomb(size))

    fault = refusal_of(archive)

    assert (fault.path, fault.reason) == (
        "zeros",
        "The archive unpacks to more than 200 times its size, as zip bombs do.",
    )
    assert archive.count <= limits.BUNDLE_RATIO_FREE_BYTES / 500


def test_a_bomb_after_the_end_ends_soon() -> None:
    archive = Counted(gzip.compress(TAR + END) + gzip.compress(bytes(limits.MIB)) * 5_000)

    assert "200 times" in refusal_of(archive).reason
    assert archive.count <= limits.BUNDLE_RATIO_FREE_BYTES / 500


def test_a_small_table_of_zeros_is_no_bomb() -> None:
    inspect(packed(with_manifest({"zeros.csv": bytes(40 * limits.MIB)})))


# --- Memory and time --------------------------------------------------------------------------------------------


def test_zeros_that_pad_the_file_cost_no_time() -> None:
    """`gzip` of the standard library takes a minute for these."""
    inspect(io.BytesIO(good_archive() + bytes(200 * limits.MIB)))


def accents(count: int) -> str:
    """Combining characters in the wrong order: sorting them is what takes the time of normalization."""
    return "\u0301\u0316" * (count // 2)


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(
            packed(with_manifest({}, files=[entry_of(accents(1_000_000), b"")])).getvalue(), id="a path in the manifest"
        ),
        pytest.param(
            packed(
                {"bundle.manifest.json": b"{%s}" % b",".join(b'"%d": 1' % n for n in [*range(100_000), 99_999])}
            ).getvalue(),
            id="names that are sought in a manifest",
        ),
    ],
)
def test_what_takes_time_by_the_square_is_cut(archive: bytes) -> None:
    begun = time.process_time()
    refusal_of(io.BytesIO(archive))

    assert time.process_time() - begun < 5


def huge_header(type: bytes) -> bytes:
    size = 200 * limits.MIB
    return gzip.compress(TAR + raw_block(type=type, size=b"%o" % size) + bytes(size) + END, compresslevel=1)


def many_values(value: bytes, count: int = 10**9) -> bytes:
    count = min(count, (limits.BUNDLE_MANIFEST_MAX_BYTES - 20) // (len(value) + 1))
    return packed({"bundle.manifest.json": b'{"files": [' + b",".join([value] * count) + b"]}"}).getvalue()


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        pytest.param(lambda: huge_header(b"x"), "too large", id="pax header of 200 MiB"),
        pytest.param(lambda: huge_header(b"L"), "too large", id="long name of 200 MiB"),
        pytest.param(lambda: bomb(8_000 * limits.MIB), "200 times", id="zip bomb"),
        pytest.param(lambda: many_values(b"[]"), "too many values", id="manifest of empty lists"),
        pytest.param(lambda: many_values(b"{}"), "too many values", id="manifest of empty objects"),
        pytest.param(lambda: many_values(b'"ab"'), "too many values", id="manifest of short texts"),
    ],
)
def test_hostile_sizes_take_no_memory(archive: Callable[[], bytes], words: str) -> None:
    file = io.BytesIO(archive())
    tracemalloc.start()
    try:
        assert words in refusal_of(file).reason
        assert tracemalloc.get_traced_memory()[1] < 14 * limits.MIB
    finally:
        tracemalloc.stop()


def test_a_manifest_of_as_many_values_as_may_be_takes_little_memory() -> None:
    file = io.BytesIO(many_values(b'"ab"', limits.BUNDLE_MANIFEST_VALUES_MAX - 10))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match="must be an object"):
            inspect(file)
        assert tracemalloc.get_traced_memory()[1] < 40 * limits.MIB
    finally:
        tracemalloc.stop()
