"""The folders, files and links of an archive, and where its links lead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from config import limits
from updates.bundles.base import BundleError, excerpt
from updates.bundles.names import caseless, is_unicode, parts_of, split

_TWICE: Final = _("The archive has it twice.")


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds."""

    sha256: str
    size_bytes: int


@dataclass(slots=True)
class Node:
    """A file, a folder or a link."""

    name: str
    is_folder: bool = False
    children: dict[str, "Node"] = field(default_factory=dict)
    """By their names without case."""
    is_listed: bool = False
    """Of a folder: the archive has it as a member, and does not only imply it by what lies in it."""
    content: Content | None = None
    """Of a file, once it was read, and of a hard link."""
    is_link: bool = False
    target: str = ""
    """Of a symbolic link: where it leads."""


@dataclass(slots=True)
class Tree:
    """What an archive unpacks to; adding to it refuses what not every client could unpack.

    It grows with the number of members, up to `BUNDLE_FILES_MAX`, but not with their sizes.
    """

    root: Node = field(default_factory=lambda: Node("", is_folder=True))
    _links: list[str] = field(default_factory=list)
    _count: int = 0

    def add_folder(self, path: str) -> None:
        """Raises: BundleError."""
        folder = self._enter(parts_of(path, is_folder=True), path)
        if folder.is_listed:
            raise BundleError.of(_TWICE, path)
        folder.is_listed = True

    def add_file(self, path: str) -> Node:
        """Add a file, and return its node, which still needs its content. Raises: BundleError."""
        return self._add(path, is_link=False)

    def add_hard_link(self, path: str, target: str) -> Content:
        """Add another name of an earlier file, and return what that holds. Raises: BundleError."""
        file = self._find(target)
        if file is None or file.content is None:
            text = _("It is a hard link to '{target}', which is no earlier file.")
            raise BundleError.of(format_lazy(text, target=excerpt(target)), path)
        self._add(path, is_link=True).content = file.content
        return file.content

    def add_symbolic_link(self, path: str, target: str) -> None:
        """Add a link. Where it leads is for `check_links`, once all members are known. Raises: BundleError."""
        if target.startswith("/"):
            text = _("It links to '{target}', out of the bundle's folder.")
            raise BundleError.of(format_lazy(text, target=excerpt(target)), path)
        if not target or not is_unicode(target) or len(target) > limits.BUNDLE_PATH_MAX_CHARACTERS:
            text = _("It links to '{target}', which is no path in the archive.")
            raise BundleError.of(format_lazy(text, target=excerpt(target)), path)
        self._add(path, is_link=True).target = target
        self._links.append(path)

    def check_links(self) -> int:
        """Follow all symbolic links, and return the bytes of the files that they lead to.

        Raises:
            BundleError: one leads out of the tree, to nothing, or in a circle.
        """
        ends = (self._follow(path).content for path in self._links)
        return sum(content.size_bytes for content in ends if content)

    def files(self) -> Iterator[tuple[str, Content]]:
        """Yield the files that are no links, in no order."""
        pending = [("", self.root)]
        while pending:
            prefix, folder = pending.pop()
            for node in folder.children.values():
                if node.content and not node.is_link:
                    yield prefix + node.name, node.content
                if node.is_folder:
                    pending.append((f"{prefix}{node.name}/", node))

    def content(self, path: str) -> Content | None:
        """Return what a client reads at this path once all is unpacked: of a file, or of what a link leads to."""
        node = self._find(path)
        if node is not None and node.target:
            node = self._follow(path)
        return node.content if node else None

    def _add(self, path: str, *, is_link: bool) -> Node:
        parts = parts_of(path)
        if not parts:
            raise BundleError.of(_("It takes the place of the archive's root."), path)
        folder = self._enter(parts[:-1], path)
        existing = self._child(folder, parts[-1], path)
        if existing is not None:
            text = _("It is a folder of other files as well.") if existing.is_folder else _TWICE
            raise BundleError.of(text, path)
        return self._put(folder, Node(parts[-1], is_link=is_link))

    def _enter(self, parts: Sequence[str], path: str) -> Node:
        """Return the folder of these parts, making what is missing of it."""
        folder = self.root
        for part in parts:
            child = self._child(folder, part, path) or self._put(folder, Node(part, is_folder=True))
            if not child.is_folder:
                text = (
                    _("It needs the folder '{folder}', which is a symbolic link in the archive.")
                    if child.target
                    else _("It needs the folder '{folder}', which is a file in the archive.")
                )
                raise BundleError.of(format_lazy(text, folder=excerpt(part)), path)
            folder = child
        return folder

    def _child(self, folder: Node, name: str, path: str) -> Node | None:
        child = folder.children.get(caseless(name))
        if child is not None and child.name != name:
            text = _("The archive has '{one}' and '{other}', which are one name on Windows and macOS.")
            raise BundleError.of(format_lazy(text, one=excerpt(child.name), other=excerpt(name)), path)
        return child

    def _put(self, folder: Node, node: Node) -> Node:
        self._count += 1
        if self._count > limits.BUNDLE_FILES_MAX:
            text = _("The archive has more than {most} files, folders and links.")
            raise BundleError.of(format_lazy(text, most=f"{limits.BUNDLE_FILES_MAX:,}"))
        folder.children[caseless(node.name)] = node
        return node

    def _find(self, path: str) -> Node | None:
        """Return what has this path, without following links."""
        node: Node | None = self.root
        for part in split(path):
            node = _exactly(node, part) if node else None
        return node

    def _follow(self, path: str) -> Node:
        """Return what a symbolic link leads to in the end, as a file system would find it.

        Each link on the way counts, up to as many as POSIX promises to follow (`_POSIX_SYMLOOP_MAX`).
        """
        way = [self.root]
        followed = 0
        pending = split(path)[::-1]
        while pending:
            part = pending.pop()
            if part == ".." and way[-1].is_folder:
                way.pop()
            elif part not in ("", ".") or not way[-1].is_folder:
                node = _exactly(way[-1], part)
                if node is None:
                    text = _("It links to '{target}', which the archive doesn't have there.")
                    raise BundleError.of(format_lazy(text, target=excerpt(part)), path)
                if node.target:
                    followed += 1
                    pending.extend(node.target.split("/")[::-1])
                else:
                    way.append(node)
            if not way:
                raise BundleError.of(_("It links out of the bundle's folder."), path)
            if followed > limits.BUNDLE_LINKS_FOLLOWED_MAX:
                raise BundleError.of(_("It links in a circle, or through too many other links."), path)
        return way[-1]


def _exactly(folder: Node, name: str) -> Node | None:
    # Normalizing a long text of combining characters takes time by the square of its length.
    if len(name) > limits.BUNDLE_PATH_MAX_CHARACTERS:
        return None
    child = folder.children.get(caseless(name))
    return child if child is not None and child.name == name else None
