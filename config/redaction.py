"""Secrets out of text that is about to be stored or logged: LLM keys, bearer tokens, passwords.

Three rules. What stands under a name like `api_key` or `Authorization` is a secret whatever it looks like; what has a
known shape (`sk-…`, `AIza…`, a JWT) is one wherever it stands; and under a name that only ends in `key` it is one when
it is a long word of letters and digits. All would rather hide too much: a hidden word of an analytics event costs
little, a stored key costs its owner money.

Texts come from strangers and are up to a megabyte, so every pattern runs in linear time: quantifiers are bounded,
possessive, or anchored where the run that they scan begins.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

REDACTED: Final = "[redacted]"

_INNOCENT_KEYS: Final = (
    *("primary", "foreign", "sort", "cache", "partition", "storage", "object", "translation", "message", "lookup"),
    *("idempotency", "public", "hot", "mon"),
)
"""What stands before `key` in names whose values may be long words, and are no secrets."""

_NO_INNOCENT_KEY: Final = "".join(f"(?<!{word}key)(?<!{word}[ _-]key)" for word in _INNOCENT_KEYS)
_ASSIGNED_TO_KEY: Final = r"""s?(?:[_-]?[0-9]{1,3})?(?:\\?["'])?\s{0,4}[:=]\s{0,4}(?:\\?["'])?"""
_KEYED: Final = rf"""
    # OPENAI_KEY=value and the like. The value is judged up to its first `=`: no two names ever scan the same text.
    | (?P<keyed>(?i:key(?={_ASSIGNED_TO_KEY}){_NO_INNOCENT_KEY}{_ASSIGNED_TO_KEY}))
      (?=[A-Za-z._~+/-]*+[0-9])(?=[0-9._~+/-]*+[A-Za-z])[A-Za-z0-9._~+/-]{{16,}}+[^\s"'\\&,;<>]*+
"""

_SHAPES: Final = re.compile(
    r"""
    # A PEM private key; one that was cut off hides the rest of the text.
    -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----|\Z)
    # name=value, name: value and "name": "value" within a text, also in a URL's query or in JSON inside a string.
    | (?P<named>
        (?i:api[ _-]?key|(?:access|secret|private)[_-]?key|token|secret|password|passwd|passphrase|authorization)
        (?:\\?["'])?\s{0,4}[:=]\s{0,4}(?:\\?["'])?
      )
      (?i:(?:basic|bearer|digest|token)\s{1,4})?[^\s"'\\&,;<>]{4,}
    | (?i:bearer)\s{1,8}[A-Za-z0-9._~+/=-]{4,}
    # JWT: header.payload.signature, the first two of them base64url of `{"…`.
    # What stands before it begins a new word also when it is an escape (`\n`, `%3D`).
    | (?:(?<![A-Za-z0-9_-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))
      (?:eyJ[A-Za-z0-9_-]*+\.[A-Za-z0-9_-]++|[A-Za-z0-9_-]++\.eyJ[A-Za-z0-9_-]*+)\.[A-Za-z0-9_-]*+
    # Keys by their prefix; a letter before it makes it a part of a word (`task-force-members`).
    | (?:(?<![A-Za-z])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))
      (?: sk-[A-Za-z0-9_-]{8,}                           # OpenAI, Anthropic (sk-ant-), DeepSeek, OpenRouter
        | AIza[A-Za-z0-9_-]{16,}                         # Google
        | (?:hf|gsk|r8|ghp|gho|ghu|ghs)_[A-Za-z0-9]{12,} # Hugging Face, Groq, Replicate, GitHub
        | github_pat_[A-Za-z0-9_]{12,}
        | (?:xai|pplx|nvapi)-[A-Za-z0-9_-]{16,}          # xAI, Perplexity, NVIDIA
        | sess-[A-Za-z0-9]{16,}                          # OpenAI; a UUID, with its hyphens, is a client's session
        | LTAI[A-Za-z0-9]{12,}                           # Alibaba Cloud
        | lcb_[A-Za-z0-9_-]{12,}                         # our own API tokens
      )
    | [0-9a-f]{32}\.[A-Za-z0-9]{16,}                     # Zhipu
    """
    + _KEYED,
    re.VERBOSE,
)

_SHAPE_HINTS: Final = (
    *("key", "token", "secret", "pass", "authorization", "bearer", "eyj", "sk-", "aiza", "xai-", "pplx-", "nvapi-"),
    *("hf_", "gsk_", "r8_", "ghp_", "gho_", "ghu_", "ghs_", "github_pat_", "sess-", "ltai", "lcb_"),
)
"""Lower-case. A text without any of them matches no shape but Zhipu's, and `in` is far quicker than the pattern."""

_ZHIPU_HINT: Final = re.compile(r"\.(?<=[0-9a-f]{32}\.)[A-Za-z0-9]{16}")
"""Begins with the literal dot, which the engine finds quickly."""

_SQUEEZED_HINTS: Final = (
    *("key", "token", "secret", "pass", "pwd", "auth", "credential", "bearer", "cookie", "jwt"),
    *("eyj", "aiza", "ltai"),
)
"""What squeezed text has one of when a name in it says something of its values, or a shape begins in it."""

# What is left of the shapes. They begin with the literal, which the engine finds quickly.
_HYPHEN_HINT: Final = re.compile(r"-(?:(?<=sk-)|(?<=xai-)|(?<=pplx-)|(?<=nvapi-)|(?<=sess-))")
_UNDERSCORE_HINT: Final = re.compile(r"_(?:(?<=hf_)|(?<=gsk_)|(?<=r8_)|(?<=gh[opsu]_)|(?<=github_pat_)|(?<=lcb_))")

_SECRET_NAME: Final = re.compile(
    r"apikey|(?:access|secret|private|signing|encryption|license)key|secret|password|passwd|passphrase|passcode|^pwd$"
    r"|authorization|^auth$|authheader|credential|bearer|cookie|jwt"
)
_TOKEN_NAME: Final = re.compile(r"token(?!i[sz])")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^a-z0-9]+")
_INNOCENT_NAME_ENDS: Final = tuple(f"{word}key" for word in _INNOCENT_KEYS)
_KEY_LIKE: Final = re.compile(r"\s*+(?=[^0-9]*+[0-9])(?=[^A-Za-z]*+[A-Za-z])[A-Za-z0-9._~+/=-]{16,}+\s*+")

_CACHED_NAME_MAX_CHARACTERS: Final = 64

# `{"name": "api_key", "value": "…"}` and `["Authorization", "Basic …"]`. A sentence is no name: a question about tokens
# and its answer are a pair, too.
_NAMING_FIELDS: Final = frozenset({"name", "key", "header", "field"})
_VALUE_FIELDS: Final = frozenset({"value", "values"})
_STATED_NAME_MAX_CHARACTERS: Final = 64
_STATED_NAME_MAX_WORDS: Final = 3

_Container = dict[str, Any] | list[Any]


class _Secrecy(IntEnum):
    """What a name says of the values below it."""

    NONE = 0
    KEY = 1
    """Texts that look like a key are secret: `key` is also the name of much else."""
    TOKEN = 2
    """Texts are secret. Numbers are kept: `max_tokens` and `prompt_tokens` count something."""
    SECRET = 3
    """Texts and numbers are secret."""


def redact_text(text: str) -> str:
    """Return the text with all that is shaped like a secret replaced by REDACTED. Linear time.

    The result may be longer than the text.
    """
    lowered = text.lower()
    if not any(hint in lowered for hint in _SHAPE_HINTS) and not _ZHIPU_HINT.search(text):
        return text
    return _SHAPES.sub(rf"\g<named>\g<keyed>{REDACTED}", text)


def may_hold_secret(text: str) -> bool:
    """Tell whether a JSON text could hold a secret; if not, `redact` returns the same value, and needn't be asked.

    Looks for hints anywhere, across names and values, so it says yes too often: a fifth of the time of `redact`. The
    same goes for `redact_text` of a text that is part of this one.
    """
    if "\\" in text:  # an escape could hide a hint
        return True
    squeezed = _squeeze_text(text)
    for hint in _SQUEEZED_HINTS:  # `any` with a generator takes twice the time, and this runs for each event
        if hint in squeezed:
            return True
    return (
        _HYPHEN_HINT.search(text) is not None
        or _UNDERSCORE_HINT.search(text) is not None
        or _ZHIPU_HINT.search(text) is not None
    )


def redact(value: Any) -> Any:
    """Return a copy of a JSON value without secrets, in names and in values. Walks without recursion.

    Booleans, nulls and empty texts stay: they say that there was no secret.
    """
    root: list[Any] = [None]
    stack: list[tuple[_Container, Any, _Secrecy]] = [([value], root, _Secrecy.NONE)]
    while stack:
        source, copy, outer = stack.pop()
        for place, item, secrecy in _entries(source, outer, copy):
            if isinstance(item, dict | list):
                copy[place] = {} if isinstance(item, dict) else [None] * len(item)
                stack.append((item, copy[place], secrecy))
            else:
                copy[place] = _redact_scalar(item, secrecy)
    return root[0]


def _entries(source: _Container, outer: _Secrecy, copy: Any) -> Iterator[tuple[Any, Any, _Secrecy]]:
    """Yield the place in the copy, the value and its secrecy for each entry of a container."""
    if isinstance(source, list):
        paired = _read_stated_name(source[0]) if len(source) == 2 else _Secrecy.NONE
        for index, item in enumerate(source):
            yield index, item, max(outer, paired) if index else outer
        return
    stated = max([outer, *(_read_stated_name(source[name]) for name in source if name.lower() in _NAMING_FIELDS)])
    for name, item in source.items():
        place, own = _read_name(name)
        if place in copy:
            place = f"{place} {len(copy)}"  # two secrets as names: neither value is lost
        yield place, item, max(own, stated if name.lower() in _VALUE_FIELDS else outer)


def _read_stated_name(stated: Any) -> _Secrecy:
    """Return what a name that stands as a value, beside the value that it names, says of that."""
    if not isinstance(stated, str) or len(stated) > _STATED_NAME_MAX_CHARACTERS:
        return _Secrecy.NONE
    return _read_name(stated)[1] if len(stated.split()) <= _STATED_NAME_MAX_WORDS else _Secrecy.NONE


def _read_name(name: str) -> tuple[str, _Secrecy]:
    """Return the name without secrets, and what it says of the values below it."""
    # Names of fields repeat; a very long one is hardly a name, and must not fill the cache.
    read = _read_name_cached if len(name) <= _CACHED_NAME_MAX_CHARACTERS else _read_name_cached.__wrapped__
    return read(name)


@lru_cache(maxsize=4096)
def _read_name_cached(name: str) -> tuple[str, _Secrecy]:
    squeezed = _squeeze(name)
    if _SECRET_NAME.search(squeezed):
        secrecy = _Secrecy.SECRET
    elif _TOKEN_NAME.search(squeezed):
        secrecy = _Secrecy.TOKEN
    elif _is_key_name(squeezed):
        secrecy = _Secrecy.KEY
    else:
        secrecy = _Secrecy.NONE
    return redact_text(name), secrecy


def _squeeze(name: str) -> str:
    """Return the name's letters and digits in lower case, full-width and accented ones as plain ones."""
    if not name.isascii():
        # One by one: sorting a long run of combining marks takes quadratic time.
        name = "".join(unicodedata.normalize("NFKD", character) for character in name)
    return _NOT_ALPHANUMERIC.sub("", name.lower())


class _SqueezedCharacters(dict[int, str | None]):
    """What `_squeeze` makes of each character, for `str.translate`; worked out when one is met first."""

    def __missing__(self, codepoint: int) -> str | None:
        squeezed = _squeeze(chr(codepoint)) or None  # None, and not the empty text, has a fast path in `translate`
        if codepoint < _REMEMBERED_CODEPOINTS:
            self[codepoint] = squeezed
        return squeezed


_REMEMBERED_CODEPOINTS: Final = 0x10000  # the characters of all living scripts
_SQUEEZED: Final = _SqueezedCharacters()
_ASCII_LOWERED: Final = bytes(range(256)).lower()
_ASCII_DROPPED: Final = bytes(code for code in range(128) if not chr(code).isalnum())


def _squeeze_text(text: str) -> str:
    """Return what `_squeeze` makes of a text, character by character. Bytes take a quarter of the time."""
    if text.isascii():
        return text.encode().translate(_ASCII_LOWERED, _ASCII_DROPPED).decode()
    return text.translate(_SQUEEZED)


def _is_key_name(squeezed: str) -> bool:
    singular = squeezed.rstrip("0123456789").removesuffix("s")
    return singular.endswith("key") and not singular.endswith(_INNOCENT_NAME_ENDS)


def _redact_scalar(item: Any, secrecy: _Secrecy) -> Any:
    if isinstance(item, str):
        hidden = _KEY_LIKE.fullmatch(item) if secrecy is _Secrecy.KEY else item and secrecy > _Secrecy.KEY
        return REDACTED if hidden else redact_text(item)
    if secrecy is _Secrecy.SECRET and isinstance(item, int | float) and not isinstance(item, bool):
        return REDACTED
    return item
