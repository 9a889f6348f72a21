"""What PostgreSQL's `jsonb` can hold, checked before it says so by an error."""

import math
import re
from typing import Any, Final

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from config import limits

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1

_LONG_INTEGER: Final = re.compile(r"[1-9][0-9]{18}")


def text_fault(text: str) -> StrOrPromise | None:
    """Say why PostgreSQL can't store this text, or None when it can."""
    if "\x00" in text:
        return _("NUL characters are not allowed.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _("Lone surrogates are not allowed.")
    return None


def is_surely_storable(text: str, *, names_max: int) -> bool:
    """Tell by a few looks at a JSON text that `json_fault` would find nothing in its value; False says nothing.

    NUL and lone surrogates need an escape, depth needs brackets, a name its colon, and 2^63 has 19 digits.
    """
    return (
        "\\u" not in text
        and text.count("[") + text.count("{") <= limits.JSON_MAX_DEPTH
        and text.count(":") <= names_max
        and not _LONG_INTEGER.search(text)
    )


def json_fault(value: Any, *, names_max: float = math.inf) -> StrOrPromise | None:
    """Say why this JSON value can't be stored, or None when it can. Walks without recursion."""
    names = 0
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        fault: StrOrPromise | None = None
        if isinstance(item, str):
            fault = text_fault(item)
        elif isinstance(item, bool) or item is None:
            continue
        elif isinstance(item, int):
            fault = None if INTEGER_MIN <= item <= INTEGER_MAX else _("Integers must fit into 64 bits.")
        elif isinstance(item, float):
            fault = None if math.isfinite(item) else _("Numbers must be finite.")
        elif depth > limits.JSON_MAX_DEPTH:
            fault = format_lazy(_("Values may be nested at most {depth} deep."), depth=limits.JSON_MAX_DEPTH)
        elif isinstance(item, dict):
            names += len(item)
            fault = _too_many_names(names_max) if names > names_max else _names_fault(item)
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)
        if fault:
            return fault
    return None


def _too_many_names(most: float) -> StrOrPromise:
    return format_lazy(_("There may be at most {most} names."), most=f"{most:,}")


def _names_fault(item: dict[str, Any]) -> StrOrPromise | None:
    return next((fault for name in item if (fault := text_fault(name))), None)
