"""The admin's texts are all translated, and what is compiled is what is written. `make messages` mends it."""

import re
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from django.utils import translation
from django.utils.translation import gettext, ngettext

from config.locale import catalogue

_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]|\{\w*\}")


@pytest.fixture(params=catalogue.LOCALES, scope="module")
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def written(locale: str) -> Catalog:
    return catalogue.read(locale)


def forms(text: Any) -> list[str]:
    """Return the forms of a text for one and for many, or its only one."""
    return [text] if isinstance(text, str) else list(text)


def test_every_text_is_in_the_catalogue_and_no_other(locale: str, written: Catalog) -> None:
    def texts(catalog: Catalog) -> set[tuple[object, object]]:
        return {(message.id, message.context) for message in catalog if message.id}

    collected = texts(catalogue.collect(locale))
    assert collected == texts(written)
    assert len(collected) > 100


def test_every_text_is_translated(written: Catalog) -> None:
    assert catalogue.untranslated(written) == []


def test_every_placeholder_is_in_the_translation(written: Catalog) -> None:
    for message in written:
        needed = set(_PLACEHOLDER.findall(forms(message.id)[-1]))
        for string in forms(message.string) if message.id else ():
            assert set(_PLACEHOLDER.findall(string)) == needed, message.id


def test_what_is_compiled_is_what_is_written(locale: str, written: Catalog) -> None:
    assert catalogue.path_of(locale, "mo").read_bytes() == catalogue.compiled(written)


def test_the_translations_are_used() -> None:
    with translation.override("zh-hans"):
        assert gettext("Overview") == "概览"
        assert ngettext("%(count)s device", "%(count)s devices", 1)
    assert gettext("Overview") == "Overview"
