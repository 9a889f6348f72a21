"""Collects what the admin says and compiles its translations: `make messages`.

Babel instead of Django's makemessages, which needs GNU gettext on the machine. unfold comes without translations, so
its texts are collected too, but for those that Django has translated.
"""

import gettext
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT: Final = Path(__file__).resolve().parents[2]
LOCALES: Final = ("zh_Hans",)
APPS: Final = ("accounts", "config", "courses", "storage", "telemetry", "updates")
_KEYWORDS: Final[dict[str, tuple[int | tuple[int, str], ...] | None]] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
_HEADER: Final = "# The admin's texts. Made by `make messages`, which keeps the translations that are here."
_SKIPPED: Final = frozenset({"tests", "migrations", "locale"})


def path_of(locale: str, suffix: str) -> Path:
    return ROOT / "config" / "locale" / locale / "LC_MESSAGES" / f"django.{suffix}"


def collect(locale: str) -> Catalog:
    """Return every text that the admin may show and that Django itself doesn't have in this language."""
    catalog = Catalog(project="llm-course-backend", charset="utf-8", fuzzy=False)
    for path, name in _sources():
        for _, text, comments, context in _texts_of(path):
            if text and text[0]:
                catalog.add(text, locations=[(name, None)], auto_comments=comments, context=context)  # type: ignore[list-item]
    foreign = _django_has(locale)
    for message in list(catalog):
        if message.id and all(name.startswith("unfold/") for name, _ in message.locations) and _key(message) in foreign:
            catalog.delete(message.id, context=message.context)
    return catalog


def _sources() -> Iterator[tuple[Path, str]]:
    """Yield each file that may hold texts, with the name that the catalogue gives it."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*")):
            if path.suffix in (".py", ".html", ".txt") and not _SKIPPED & set(path.relative_to(ROOT).parts):
                yield path, path.relative_to(ROOT).as_posix()
    spec = find_spec("unfold")
    assert spec is not None
    assert spec.origin is not None
    unfold = Path(spec.origin).parent
    for path in sorted(unfold.rglob("*")):
        # Of its add-ons we use the filters.
        if path.suffix in (".py", ".html") and ("contrib" not in path.parts or "filters" in path.parts):
            yield path, f"unfold/{path.relative_to(unfold).as_posix()}"


def _texts_of(path: Path) -> Iterator[tuple[int, str | tuple[str, ...], list[str], str | None]]:
    source = path.read_text("utf-8")
    # What Django makes of a template reads as Python but for its indentation.
    code = source if path.suffix == ".py" else "\n".join(map(str.strip, templatize(source).splitlines()))
    yield from extract("python", io.BytesIO(code.encode()), keywords=_KEYWORDS, comment_tags=("Translators:",))


def _key(message: Message) -> str:
    text = message.id if isinstance(message.id, str) else message.id[0]
    return f"{message.context}\x04{text}" if message.context else text


def _django_has(locale: str) -> set[str]:
    """Return the texts that Django's own catalogues have, which are looked up after ours."""
    home = Path(django.__file__).parent
    folders = [home / "conf" / "locale", home / "contrib" / "admin" / "locale", home / "contrib" / "auth" / "locale"]
    known: set[str] = set()
    for folder in folders:
        with (folder / locale / "LC_MESSAGES" / "django.mo").open("rb") as file:
            known |= {
                key if isinstance(key, str) else key[0]
                for key in gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            }
    return known


def read(locale: str) -> Catalog:
    with path_of(locale, "po").open("rb") as file:
        return read_po(file, locale=locale)


def compiled(catalog: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def untranslated(catalog: Catalog) -> list[str]:
    """Return the texts that have no translation that is sure."""
    return [_key(message) for message in catalog if message.id and (message.fuzzy or not _is_whole(message))]


def _is_whole(message: Message) -> bool:
    return all(message.string) if isinstance(message.string, tuple | list) else bool(message.string)


def update(locale: str) -> list[str]:
    """Bring a language's catalogue to what the code says; return the texts that lack a translation."""
    path = path_of(locale, "po")
    catalog = Catalog(locale, header_comment=_HEADER, project="llm-course-backend", version="1", fuzzy=False)
    # Without times and names of their own, two people who add texts don't conflict in the header.
    catalog.creation_date = catalog.revision_date = datetime(2026, 11, 25, tzinfo=UTC)
    catalog.msgid_bugs_address = catalog.last_translator = catalog.language_team = ""
    before = read(locale) if path.exists() else catalog
    for message in collect(locale):
        if message.id:
            old = before.get(message.id, context=message.context)
            names = [(name, None) for name in sorted({name for name, _ in message.locations})]
            catalog.add(message.id, old.string if old else None, names, context=message.context)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=120, omit_header=False, sort_output=True, include_lineno=False)
    path_of(locale, "mo").write_bytes(compiled(catalog))
    return untranslated(catalog)


def main() -> None:
    for locale in LOCALES:
        missing = update(locale)
        print(f"{path_of(locale, 'po').relative_to(ROOT)}: {len(missing)} texts have no translation.")
        for text in missing:
            print(f"  {text!r}")
        if missing:
            sys.exit(1)


if __name__ == "__main__":
    main()
