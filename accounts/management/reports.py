"""A report of what a command did that can't be done again: its file has a place before anything is done."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ReportFile:
    """A file beside the path, which takes its name once it is whole, and can be read by its owner only."""

    def __init__(self, path: Path) -> None:
        """Make the file, still empty.

        Raises:
            OSError: the path can't be written.
        """
        if path.is_symlink() or (path.exists() and not path.is_file()):  # /dev/stdout is a link, too
            raise OSError(errno.EINVAL, "This is no file. Name one that is to be written", str(path))
        self.path = path
        try:
            self._descriptor, self._partial = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def write(self, text: str) -> None:
        with open(os.dup(self._descriptor), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._partial, self.path)

    def close(self) -> None:
        """Remove what did not become whole."""
        os.close(self._descriptor)
        Path(self._partial).unlink(missing_ok=True)


@contextmanager
def report_file(path: Path | None) -> Iterator[ReportFile | None]:
    """Give the file to be written, if one is asked for. Raises OSError when it can't be written."""
    file = ReportFile(path) if path else None
    try:
        yield file
    finally:
        if file:
            file.close()
