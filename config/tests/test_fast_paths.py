"""The few looks at a text that spare a walk through its value: what they let pass must be without fault or secret."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.jsonvalues import is_surely_storable, json_fault
from config.redaction import may_hold_secret, redact, redact_text
from config.tests.test_redaction import SHAPED, WORD

canonical = msgspec.json.Encoder(order="deterministic")

FRAGMENTS = st.sampled_from(
    [
        *("key", "KEY", "Key", "\u212aey", "ｋｅｙ", "k-e-y", "k\ney", "k\\ney", "api_", "token"),
        *("to\u200bken", "tokén", "cookie", "jwt", "xai-", "pplx-", "nvapi-", "sess-"),
        *("secret", "ſecret", "password", "pass", "pwd", "auth", "authorization", "Bearer ", "credential"),
        *("sk-", "SK-", "AIza", "aİza", "LTAI", "eyJ", "hf_", "gsk_", "r8_", "ghp_"),
        *("github_pat_", "lcb_", "0123456789abcdef" * 2, ".", "-----BEGIN PRIVATE KEY-----", "primary_", "max_", "s"),
        *("=", ":", " ", "\n", '"', "'", "\\", "/", "_", "-", "1", "é", "名", WORD, "AbCdEf0123456789abcdef"),
        *("name", "value", "header", "field", "colour", "red", *SHAPED.values()),
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=5).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def encodings(value: Any) -> list[str]:
    """The same value as several clients write it."""
    texts = [json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=1)]
    try:
        return [*texts, canonical.encode(value).decode()]
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return texts


@settings(max_examples=1_500, deadline=None)
@given(VALUES)
def test_what_is_said_to_hold_no_secret_is_not_redacted(value: Any) -> None:
    for text in encodings(value):
        if not may_hold_secret(text):
            assert redact(value) == value


@settings(max_examples=1_500, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_neither_are_texts_beside_each_other(texts: list[str]) -> None:
    if not may_hold_secret("\n".join(texts)):
        assert [redact_text(text) for text in texts] == texts


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED)
def test_shapes_are_hinted_at(secret: str) -> None:
    assert may_hold_secret(json.dumps({"text": f"a {secret} b"}))
    assert may_hold_secret(f"a\n{secret}")


@pytest.mark.parametrize(
    "name", ["api_key", "pwd", "auth", "jwt", "Set-Cookie", "credentials", "ｐｗｄ", "p w d", "tokén"]
)
def test_names_are_hinted_at(name: str) -> None:
    assert may_hold_secret(json.dumps({name: "hunter2"}, ensure_ascii=False))
    assert may_hold_secret(json.dumps({"name": name, "value": "hunter2"}, ensure_ascii=False))
    assert may_hold_secret(json.dumps([name, "hunter2"], ensure_ascii=False))


@pytest.mark.parametrize(
    "value",
    [
        {"seconds": 1.5, "source": "desktop", "view": {"scroll": 0.25, "panel": "notes"}, "steps": [1, 2, 3]},
        {"chapter": "ch1_intro", "id": "550e8400-e29b-41d4-a716-446655440000", "at": "2026-03-01T08:30:00+00:00"},
        {"标题": "第一章：导论", "größe": 1},
    ],
)
def test_ordinary_payloads_take_the_fast_path(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert not may_hold_secret(text)
    assert is_surely_storable(text, names_max=1_000)


ODD_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters() | st.sampled_from("\x00\ud800\\u:[{")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=1_000, deadline=None)
@given(ODD_VALUES, st.integers(0, 70), st.integers(0, 80))
def test_what_is_surely_storable_is_storable(value: Any, depth: int, names_max: int) -> None:
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    for text in encodings(value):
        if is_surely_storable(text, names_max=names_max):
            assert json_fault(json.loads(text), names_max=names_max) is None
