"""What of a folder belongs into an archive."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from config import limits
from updates.bundles.base import BundleError
from updates.bundles.manifest import MANIFEST_NAME, parse_manifest
from updates.bundles.tree import Tree

_LEFT_OUT: Final = re.compile(r"__pycache__|\.git|\.DS_Store|\._.*", re.DOTALL)
"""What Python, Git and macOS leave behind."""


def source_files(source: Path) -> dict[str, Path]:
    """Return a folder's files by their names in the archive, sorted; what other tools left behind is left out.

    A link inside the folder is packed as a copy of what it leads to: not every client can make links.

    Raises:
        BundleError: it is no folder, or something in it can't be in an archive, as `inspect_bundle` would say.
        OSError: something can't be read.
    """
    if not source.is_dir():
        raise BundleError.of(f"There is no folder {str(source)!r}.")
    root = source.resolve()
    files: dict[str, Path] = {}
    tree = Tree()
    tree.add_file(MANIFEST_NAME)
    for name, path in _walk(root, "", (root,), tree):
        if name != MANIFEST_NAME:
            tree.add_file(name)
            files[name] = path
    return dict(sorted(files.items()))


def source_bytes(source: Path) -> int:
    """Return how many bytes of a folder `build_bundle` packs. Raises as `source_files` does."""
    return sum(path.stat().st_size for path in source_files(source).values())


def source_manifest(source: Path) -> dict[str, Any]:
    """Return the manifest that lies in a folder already, empty when there is none.

    Raises:
        BundleError: it can't be read.
    """
    path = source / MANIFEST_NAME
    if not path.is_file():
        return {}
    if path.stat().st_size > limits.BUNDLE_MANIFEST_MAX_BYTES:
        raise BundleError.of(f"It must have at most {limits.BUNDLE_MANIFEST_MAX_BYTES:,} bytes.", MANIFEST_NAME)
    return parse_manifest(path.read_bytes())


def _walk(folder: Path, prefix: str, above: tuple[Path, ...], tree: Tree) -> Iterator[tuple[str, Path]]:
    """Yield names and real paths of the files in a folder. `above`: it and all those it lies in, the source first."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not _LEFT_OUT.fullmatch(entry.name))
    for name in names:
        path = _real_path(folder / name, prefix + name, above[0])
        if path.is_file():
            yield prefix + name, path
        elif not path.is_dir():
            raise BundleError.of("It is neither a file nor a folder.", prefix + name)
        elif path in above:
            raise BundleError.of("It is a link to a folder that it lies in itself.", prefix + name)
        else:
            tree.add_folder(prefix + name)
            yield from _walk(path, f"{prefix}{name}/", (*above, path), tree)


def _real_path(path: Path, name: str, root: Path) -> Path:
    if not path.is_symlink():
        return path
    try:
        real = path.resolve(strict=True)
    # Python before 3.13 raises RuntimeError for a link in a circle.
    except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:
        raise BundleError.of("It is a link to nothing.", name) from error
    if not real.is_relative_to(root):
        raise BundleError.of("It links out of the folder.", name)
    return real
