"""The files of a release for people: as a tree, and what differs from another release's.

Both are read from manifests, which are stored with the releases: no archive is opened. A manifest that was registered
with a URL may be of any shape; what in it describes no file is counted and left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from config import limits
from updates.bundles.base import excerpt
from updates.bundles.names import split
from updates.bundles.tree import Content

_ENTRY: Final = ("path", "sha256", "size_bytes")


@dataclass(frozen=True, slots=True)
class Files:
    """What a manifest says of its files."""

    contents: Mapping[str, Content]
    """By path."""
    unreadable: int
    """Entries that describe no file."""

    @property
    def size_bytes(self) -> int:
        return sum(content.size_bytes for content in self.contents.values())


def files_of(manifest: Mapping[str, Any]) -> Files:
    """Read the files of a stored manifest. Of a path that it states twice the last one counts.

    It looks less closely than `file_entries_of`, which has judged the manifest of an archive already: a page has to be
    quick with 20,000 files.
    """
    stated = manifest.get("files")
    contents: dict[str, Content] = {}
    unreadable = 0
    for entry in stated if isinstance(stated, list) else ():
        path, sha256, size = map(entry.get, _ENTRY) if isinstance(entry, dict) else (None, None, None)
        if isinstance(path, str) and path and isinstance(sha256, str) and type(size) is int and size >= 0:
            name = "/".join(split(path)) if path.startswith("./") else path
            contents[name] = Content(sha256.lower(), size)
        else:
            unreadable += 1
    return Files(contents, unreadable)


# --- A tree -----------------------------------------------------------------------------------------------------


class Part(Enum):
    """What a row of a tree is: a folder that begins here, one that ends here, or a file."""

    OPEN = "open"
    CLOSE = "close"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a walk through a tree, in the order in which a page shows it."""

    part: Part
    name: str = ""
    """Of the folder or file, without the folders that it lies in; fit to be shown."""
    files: int = 0
    """Of a folder: the files in it and below it."""
    size_bytes: int = 0
    """Of a file, or of all that are in a folder and below it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The tree of some files, as far as a page shows it."""

    rows: Sequence[Row]
    files: int
    size_bytes: int
    left_out: int
    """Files that are there but have no row."""


@dataclass(slots=True)
class _Folder:
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    files: dict[str, Content] = field(default_factory=dict)
    count: int = 0
    size_bytes: int = 0


def list_files(files: Files, *, most: int = limits.RELEASE_FILES_SHOWN) -> Listing:
    """Return the tree of the files: in each folder its folders first, then its files, by name.

    Args:
        most: files that get a row, and folders that do: those of a hostile archive are many more than its files.
    """
    root = _Folder()
    for path, content in files.contents.items():
        _put(root, path, content)
    rows = list(_walk(root, {Part.OPEN: most, Part.FILE: most}))
    shown = sum(row.part is Part.FILE for row in rows)
    return Listing(rows, root.count, root.size_bytes, root.count - shown)


def _put(root: _Folder, path: str, content: Content) -> None:
    # No deeper than an archive may be: a manifest that was registered with a URL may state anything.
    *folders, name = path.split("/", limits.BUNDLE_PATH_MAX_PARTS - 1)
    way = [root]
    for part in folders:
        way.append(way[-1].folders.setdefault(part, _Folder()))
    for folder in way:
        folder.count += 1
        folder.size_bytes += content.size_bytes
    way[-1].files[name] = content


def _walk(folder: _Folder, remaining: dict[Part, int]) -> Iterator[Row]:
    for name in sorted(folder.folders):
        if not all(remaining.values()):
            break
        remaining[Part.OPEN] -= 1
        inner = folder.folders[name]
        yield Row(Part.OPEN, excerpt(name), inner.count, inner.size_bytes)
        yield from _walk(inner, remaining)
        yield Row(Part.CLOSE)
    for name in sorted(folder.files)[: remaining[Part.FILE]]:
        remaining[Part.FILE] -= 1
        yield Row(Part.FILE, excerpt(name), size_bytes=folder.files[name].size_bytes)


# --- A difference -----------------------------------------------------------------------------------------------


class Kind(Enum):
    """What became of a file."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that only one of two releases has, or that is not the same in both."""

    path: str
    """As the manifests have it: a stranger wrote it."""
    before: Content | None
    after: Content | None

    @property
    def shown_path(self) -> str:
        """The path, fit to be shown."""
        return excerpt(self.path)

    @property
    def kind(self) -> Kind:
        if self.before is None:
            return Kind.ADDED
        return Kind.REMOVED if self.after is None else Kind.CHANGED

    @property
    def may_be_compared(self) -> bool:
        """Whether both files are small enough to be compared line by line, if they are texts."""
        contents = (self.before, self.after)
        return all(c is None or c.size_bytes <= limits.TEXT_DIFF_FILE_MAX_BYTES for c in contents)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a release changes of another one."""

    changes: Sequence[FileChange]
    """By path, as far as a page shows them."""
    left_out: int
    """Changes that are not among these."""
    added: int
    changed: int
    removed: int
    unchanged: int
    bytes_before: int
    bytes_after: int

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.removed)


def compare(before: Files, after: Files, *, most: int = limits.RELEASE_CHANGES_SHOWN) -> Difference:
    """Return what differs between the files of two releases.

    Args:
        most: changes that are returned; all are counted.
    """
    old, new = before.contents, after.contents
    paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    added, removed = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    return Difference(
        changes=[FileChange(path, old.get(path), new.get(path)) for path in paths[:most]],
        left_out=max(0, len(paths) - most),
        added=added,
        changed=len(paths) - added - removed,
        removed=removed,
        unchanged=len(new) - (len(paths) - removed),
        bytes_before=before.size_bytes,
        bytes_after=after.size_bytes,
    )


def find_change(before: Files, after: Files, path: str) -> FileChange | None:
    """Return what became of one file; None when neither release has it, or both have the same."""
    old, new = before.contents.get(path), after.contents.get(path)
    return None if old == new else FileChange(path, old, new)
