"""A person's data as files: one for each holding, and two that say what they are, for people and for programs."""

import hashlib
import json
import os
import shutil
import tempfile
import textwrap
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from config.personal_data import Holding, Row, Subject
from config.progress import Progress

_WIDTH: Final = 100
_RIGHTS: Final = (
    "You may have what is wrong corrected, have your data erased or its processing restricted, and object to it (GDPR,"
    " articles 16, 17, 18 and 21). Ask whoever gave you these files.",
    "You may complain to a supervisory authority (article 77), such as the one of where you live or work.",
    "No decision about you is made by a program alone (article 22). Whether your device gets a new version of some"
    " content early is drawn by lot from its id.",
    "What is marked as portable you may take to another service (article 20). It is JSON (RFC 8259) in UTF-8, times are"
    " by RFC 3339.",
)


class Folder(ABC):
    """Where the files go; it is there whole when it is closed without a fault, and not at all otherwise."""

    @abstractmethod
    def file(self, name: str) -> AbstractContextManager[IO[bytes]]: ...


class _Directory(Folder):
    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        with open(os.open(self._path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


class _Archive(Folder):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        info = zipfile.ZipInfo(name, timezone.now().timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=True) as file:
            yield file


@contextmanager
def directory(path: Path) -> Iterator[Folder]:
    """Make a folder that only its owner can read. Raises FileExistsError when there is something already."""
    _refuse_existing(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent))
    try:
        yield _Directory(partial)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def archive(path: Path) -> Iterator[Folder]:
    """Make a ZIP file that only its owner can read. Raises FileExistsError when there is something already."""
    _refuse_existing(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent)
    try:
        with open(handle, "wb") as file:
            with zipfile.ZipFile(file, "w") as packed:
                yield _Archive(packed)
            file.flush()
            os.fsync(file.fileno())
        os.rename(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def archive_to(output: IO[bytes]) -> Iterator[Folder]:
    """Make a ZIP file in a nameless temporary file, and copy it to the output once it is whole."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as packed:
            yield _Archive(packed)
        file.seek(0)
        shutil.copyfileobj(file, output)
        output.flush()


@dataclass(slots=True)
class Export:
    """What was exported of a person: rows by the holdings' names, and what is to be known of each file."""

    subject: Subject
    holdings: Sequence[Holding]
    rows: dict[str, int] = field(default_factory=dict)
    files: list[Mapping[str, Any]] = field(default_factory=list)

    def write(self, folder: Folder, progress: Progress) -> None:
        """Write all files, as of one moment, in constant memory. Call it outside of a transaction."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            self._write_all(folder, progress)

    def _write_all(self, folder: Folder, progress: Progress) -> None:
        began = timezone.now()
        counts = {holding.name: holding.count(self.subject) for holding in self.holdings}
        with progress.counting("Exporting", sum(counts.values()), "rows") as advance:
            for holding in self.holdings:
                self._write_holding(folder, holding, advance)
        report = {
            "service": settings.APP_NAME,
            "person": {"id": self.subject.user_id, "email": self.subject.email},
            "as_of": began,
            "sections": self.files,
            "rights": list(_RIGHTS),
        }
        with folder.file("report.json") as file:
            file.write(json.dumps(report, default=_json, ensure_ascii=False, indent=2).encode() + b"\n")
        with folder.file("README.txt") as file:
            file.write("\n".join(self._readme(began)).encode())

    def _write_holding(self, folder: Folder, holding: Holding, advance: Callable[[int], None]) -> None:
        """Write a large one as a JSON text for each line (NDJSON), another one as an array."""
        name = f"{holding.name}.{'ndjson' if holding.is_large else 'json'}"
        rows, size, digest = 0, 0, hashlib.sha256()
        with folder.file(name) as file:
            for part in _lines(holding.read(self.subject)) if holding.is_large else _array(holding.read(self.subject)):
                file.write(part.text)
                digest.update(part.text)
                size += len(part.text)
                rows += part.rows
                advance(part.rows)
        self.rows[holding.name] = rows
        self.files.append(
            {
                "file": name,
                "title": holding.title,
                "rows": rows,
                "size_bytes": size,
                "sha256": digest.hexdigest(),
                "purpose": holding.purpose,
                "origin": holding.origin,
                "recipients": holding.recipients,
                "kept_for": holding.kept_for,
                "portable": holding.is_portable,
                "left_out": holding.withheld,
            }
        )

    def _readme(self, began: datetime) -> Iterator[str]:
        yield from _paragraph(
            f"What {settings.APP_NAME} keeps of {self.subject.email or self.subject.user_id}, as of"
            f" {began:%Y-%m-%d %H:%M} UTC (GDPR, articles 15 and 20)."
        )
        yield from _paragraph("report.json says the same for programs, with a checksum of each file.")
        sections = self.files[::-1]  # the account is erased last, and looked for first
        for section in sections:
            if not section["rows"]:
                continue
            yield f"{section['title']}: {section['rows']:,} in {section['file']}"
            told = {
                "Why": section["purpose"],
                "From": section["origin"],
                "Who sees it": section["recipients"],
                "How long": section["kept_for"],
                "Portable": "Yes." if section["portable"] else "",
                "Left out": section["left_out"],
            }
            for name, text in told.items():
                if text:
                    yield from textwrap.wrap(f"{name}: {text}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
            yield ""
        if empty := [section["title"] for section in sections if not section["rows"]]:
            yield from _paragraph(f"Nothing was found of: {'; '.join(empty)}.")
        for right in _RIGHTS:
            yield from _paragraph(right)


@dataclass(frozen=True, slots=True)
class _Part:
    text: bytes
    rows: int


def _lines(rows: Iterator[Row]) -> Iterator[_Part]:
    for row in rows:
        yield _Part(_encoded(row) + b"\n", 1)


def _array(rows: Iterator[Row]) -> Iterator[_Part]:
    before = b"[\n  "
    for row in rows:
        yield _Part(before + _encoded(row), 1)
        before = b",\n  "
    yield _Part(b"[]\n" if before.startswith(b"[") else b"\n]\n", 0)


def _encoded(row: Row) -> bytes:
    return json.dumps(row, default=_json, ensure_ascii=False).encode()


def _json(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _paragraph(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH)
    yield ""


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(17, "There is something of this name already.", str(path))
