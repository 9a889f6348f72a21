"""Secrets out of texts and JSON values."""

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.redaction import REDACTED, redact, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----"

WORD = "a1b2c3d4-e5f6.g7h8"
"""No shape is known of it."""

SHAPED = {
    "OpenAI": "sk-abcDEF1234567890abcd",
    "OpenAI project": "sk-proj-abc_DEF-1234567890",
    "Anthropic": "sk-ant-api03-abc_DEF-1234567890",
    "Google": "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "Hugging Face": "hf_abcdefghijKLMNOP1234",
    "Groq": "gsk_abcdefghijKLMNOP1234",
    "xAI": "xai-abcdefghijKLMNOP1234",
    "GitHub": "ghp_abcdefghijKLMNOP1234",
    "NVIDIA": "nvapi-abc_DEF-1234567890abcd",
    "OpenAI session": "sess-abcDEF1234567890abcd",
    "Alibaba Cloud": "LTAI5tAbCdEfGhIjKlMnOp",
    "Alibaba Cloud, short": "LTAIabcdEFGH1234",
    "Zhipu": "0123456789abcdef0123456789abcdef.AbCdEfGh12345678",
    "JWT": JWT,
    "JWT with an empty payload": "eyJhbGciOiJub25lIn0.e30.",
    "PEM": PEM,
    "EC PEM": PEM.replace("RSA", "EC"),
    "PKCS 8": PEM.replace("RSA ", ""),
    "bearer": "Bearer abc.DEF-123_456~7+8/9==",
    "lower-case bearer": "bearer abcdefgh",
}


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "key {} in a sentence.",
        "'{}'",
        '{{"k":"{}"}}',
        "x={}&y=1",
        "line\\n{}\\n",
        "%22{}%22",
        "(see:{})",
        "é {} é",
    ],
)
def test_shapes(secret: str, around: str) -> None:
    text = around.format(secret)
    redacted = redact_text(text)
    assert REDACTED in redacted
    assert secret.rstrip("=.") not in redacted
    assert secret[8:20] not in redacted
    assert redact_text(redacted) == redacted


def test_text_around_a_secret_stays() -> None:
    assert redact_text(f"Called with {SHAPED['OpenAI']}, twice.") == f"Called with {REDACTED}, twice."
    assert redact_text(f"a\n{PEM}\nb") == f"a\n{REDACTED}\nb"


def test_private_key_that_was_cut_off() -> None:
    assert redact_text(f"a {PEM[:60]}") == f"a {REDACTED}"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("OPENAI_API_KEY=abc123def", f"OPENAI_API_KEY={REDACTED}"),
        ("https://x.example/?api_key=abc123&page=2", f"https://x.example/?api_key={REDACTED}&page=2"),
        ('{"apiKey": "abc123", "n": 1}', f'{{"apiKey": "{REDACTED}", "n": 1}}'),
        ('{\\"password\\": \\"abc123\\"}', f'{{\\"password\\": \\"{REDACTED}\\"}}'),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: {REDACTED}"),
        ("client_secret : abc123", f"client_secret : {REDACTED}"),
        (f"OPENAI_KEY={WORD}", f"OPENAI_KEY={REDACTED}"),
        (f"OPENAI_KEYS={WORD}==, x", f"OPENAI_KEYS={REDACTED}, x"),
        (f"LLM_KEY_2: '{WORD}'", f"LLM_KEY_2: '{REDACTED}'"),
        (f"https://x.example/?key={WORD}&page=2", f"https://x.example/?key={REDACTED}&page=2"),
        (f"https://x.example/?key={WORD}%2Bab:c&page=2", f"https://x.example/?key={REDACTED}&page=2"),
        (f'{{\\"llmKey\\": \\"{WORD}\\"}}', f'{{\\"llmKey\\": \\"{REDACTED}\\"}}'),
        (f"cache_key={SHAPED['OpenAI']}", f"cache_key={REDACTED}"),
    ],
)
def test_named_within_a_text(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task-force-members-and-their-roles",
        "desk-12345678901234567890",
        "sk-SK",
        "sk-learn",
        "a key, a token and a secret",
        "version 1.2.3 of a.b.c",
        "hf_hub_download",
        "The bearer",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "max_tokens=4096",
        "OPENAI_KEY=changeme",
        "key=" + "a" * 40,
        "key=" + "1" * 40,
        "key: press-the-blue-button",
        f"keyboard={WORD}",
        f"the key is {WORD}",
        f"CACHE_KEY={WORD}",
        f"primary key: {WORD}",
        f"sortKey={WORD}",
        "sess-550e8400-e29b-41d4-a716-446655440000",
        "nvapi-docs",
        "the SALTAI5tAbCdEfGhIjKl",
        "0123456789abcdef0123456789abcdef.json",
        "0123456789abcdef.AbCdEfGh12345678",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apikey",
        "API-KEY",
        "x-api-key",
        "openaiApiKey",
        "token",
        "access_token",
        "refreshToken",
        "authorization",
        "Proxy-Authorization",
        "secret",
        "client_secret",
        "secretAccessKey",
        "password",
        "db_password",
        "Passwd",
        "pwd",
        "passphrase",
        "private_key",
        "credentials",
        "Set-Cookie",
        "auth",
        "jwt",
        "tokens",
        "api keys",
    ],
)
def test_names(name: str) -> None:
    assert redact({name: "hunter2"}) == {name: REDACTED}
    assert redact({name: {"inner": ["a", {"deep": "b"}]}}) == {name: {"inner": [REDACTED, {"deep": REDACTED}]}}
    assert redact({name: None, "n": True}) == {name: None, "n": True}
    assert redact({name: ""}) == {name: ""}


@pytest.mark.parametrize(
    "name", ["key", "author", "tokenizer", "tokenization", "keyboard", "monkey", "primary_key", "pass", "compass"]
)
def test_harmless_names(name: str) -> None:
    assert redact({name: "value", "n": 1}) == {name: "value", "n": 1}


@pytest.mark.parametrize(
    "name", ["key", "KEY", "keys", "llm_key", "openaiKey", "OPENAI_KEY", "key2", "openai-key-1", "llmkey"]
)
def test_names_that_end_in_key(name: str) -> None:
    """What stands under them is hidden if it is a long word of letters and digits."""
    assert redact({name: WORD}) == {name: REDACTED}
    assert redact({name: f" {WORD}\n"}) == {name: REDACTED}
    assert redact({name: [{"inner": WORD}, 1]}) == {name: [{"inner": REDACTED}, 1]}
    for harmless in ("", "abc123", "a" * 40, "1" * 40, f"see {WORD}", "müller-1234567890", 1234567890123456, None):
        assert redact({name: harmless}) == {name: harmless}
    assert redact({name: f"see {SHAPED['OpenAI']}"}) == {name: f"see {REDACTED}"}


@pytest.mark.parametrize(
    "name",
    [
        *("primary_key", "foreignKey", "sort-key", "cache_key", "partition_key", "storage_key", "translationKey"),
        *("hotkey", "monkey", "cache keys", "keyboard", "keyId"),
    ],
)
def test_names_that_end_in_key_and_are_innocent(name: str) -> None:
    assert redact({name: WORD}) == {name: WORD}


@pytest.mark.parametrize("name", ["ａｐｉ＿ｋｅｙ", "Ｐassword", "tokén", "to\u200bken"])
def test_names_in_other_letters(name: str) -> None:
    assert redact({name: "hunter2"}) == {name: REDACTED}


@pytest.mark.parametrize("naming", ["name", "key", "header", "field", "Name"])
@pytest.mark.parametrize("value_first", [True, False])
def test_name_beside_its_value(naming: str, value_first: bool) -> None:
    def pair(stated: Any, value: Any, **more: Any) -> dict[str, Any]:
        return {"value": value, naming: stated, **more} if value_first else {**more, naming: stated, "value": value}

    assert redact(pair("api_key", "hunter2", note="a")) == pair("api_key", REDACTED, note="a")
    assert redact([pair("Authorization", ["Basic abc", 5])]) == [pair("Authorization", [REDACTED, REDACTED])]
    assert redact(pair("OPENAI_KEY", WORD)) == pair("OPENAI_KEY", REDACTED)
    for stated, value in [("max_tokens", 4096), ("colour", "red"), ("OPENAI_KEY", "red"), (5, "red"), (["token"], "a")]:
        assert redact(pair(stated, value)) == pair(stated, value)
    assert redact(pair("What is a token, then?", "A word")) == pair("What is a token, then?", "A word")
    assert redact({"password": pair("colour", "red")}) == {"password": pair(REDACTED, REDACTED)}


def test_pairs() -> None:
    headers = [["Authorization", "Basic abc"], ["Host", "x.example"], ["X-Api-Key", {"a": "b"}]]
    redacted = [["Authorization", REDACTED], ["Host", "x.example"], ["X-Api-Key", {"a": REDACTED}]]
    assert redact({"headers": headers}) == {"headers": redacted}
    assert redact(["OPENAI_KEY", WORD]) == ["OPENAI_KEY", REDACTED]
    for harmless in (["token"], ["a", "token", "b"], ["max_tokens", 5], ["What is a token, then?", "A word"], [5, "a"]):
        assert redact(harmless) == harmless
    assert redact(["password " * 20, "a"]) == ["password " * 20, "a"]


def test_numbers() -> None:
    assert redact({"pin_password": 1234, "prompt_tokens": 12, "usage": {"tokens": {"total": 1.5}}}) == {
        "pin_password": REDACTED,
        "prompt_tokens": 12,
        "usage": {"tokens": {"total": 1.5}},
    }


def test_secrets_as_names() -> None:
    assert redact({SHAPED["OpenAI"]: 1, SHAPED["Google"]: 2, "a": 3}) == {REDACTED: 1, f"{REDACTED} 1": 2, "a": 3}
    assert list(redact({SHAPED["OpenAI"]: 1, REDACTED: 2}).values()) == [1, 2]
    assert list(redact({REDACTED: 1, SHAPED["OpenAI"]: 2}).values()) == [1, 2]
    assert redact({"x" * 100 + " " + SHAPED["OpenAI"]: 1}) == {"x" * 100 + f" {REDACTED}": 1}


def test_argument_is_left_as_it_is() -> None:
    value = {"list": [{"api_key": "abc"}, SHAPED["OpenAI"]], "order": 1, "n": {}}
    before = copy.deepcopy(value)
    result = redact(value)
    assert value == before
    assert list(result) == list(value)
    assert result["list"] == [{"api_key": REDACTED}, REDACTED]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("abc \n1", max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    )
)
def test_value_without_secrets_stays(value: Any) -> None:
    assert redact(value) == value


def test_depth_is_no_matter() -> None:
    value: Any = SHAPED["OpenAI"]
    for _ in range(50_000):
        value = [value]
    value = redact(value)
    for _ in range(50_000):
        value = value[0]
    assert value == REDACTED


@pytest.mark.parametrize(
    "unit",
    [
        "sk-",
        "eyJ",
        "eyJ.",
        "a.eyJ.",
        "a.eyJa",
        "\\neyJ",
        "bearer ",
        "bearer" + " " * 9,
        "token",
        "token :   ",
        "a" * 999 + " ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "-----BEGIN " + "A" * 40 + "PRIVATE ",
        "authorization: basic ",
        "-",
        "hf_a",
        "%20eyJ",
        "key=",
        "key=a",
        "key=a1",
        "primary_key=1",
        'key1: "',
        "key=" + "a" * 999_980,
        "0123456789abcdef",
        "0123456789abcdef" * 2 + ".",
        "." * 5,
        "sess-nvapi-LTAI",
    ],
    ids=lambda unit: unit[:40],
)
def test_hostile_texts_take_linear_time(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit))) + " key"
    start = time.perf_counter()
    redact_text(text)
    # About 0.2 s; quadratic would be minutes.
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("unit", ["key", "ｋ", "e\u0301\u0323", "\ufdfa"])
def test_hostile_names_take_linear_time(unit: str) -> None:
    name = unit * (500_000 // len(unit))
    start = time.perf_counter()
    redact([{name: name, "name": name, "value": name}, [name, name], {"key": name}])
    assert time.perf_counter() - start < 5
