"""What PostgreSQL's `jsonb` can hold, checked before it says so by an error."""

import math
from typing import Any

from config import limits

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1


def text_fault(text: str) -> str | None:
    """Say why PostgreSQL can't store this text, or None when it can."""
    if "\x00" in text:
        return "NUL characters are not allowed."
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "Lone surrogates are not allowed."
    return None


def json_fault(value: Any) -> str | None:
    """Say why this JSON value can't be stored, or None when it can. Walks without recursion."""
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        fault: str | None = None
        if isinstance(item, str):
            fault = text_fault(item)
        elif isinstance(item, bool) or item is None:
            continue
        elif isinstance(item, int):
            fault = None if INTEGER_MIN <= item <= INTEGER_MAX else "Integers must fit into 64 bits."
        elif isinstance(item, float):
            fault = None if math.isfinite(item) else "Numbers must be finite."
        elif depth > limits.JSON_MAX_DEPTH:
            fault = f"Values may be nested at most {limits.JSON_MAX_DEPTH} deep."
        elif isinstance(item, dict):
            fault = next((found for key in item if (found := text_fault(str(key)))), None)
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)
        if fault:
            return fault
    return None
