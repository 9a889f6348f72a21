"""Secrets out of text that is about to be stored or logged: LLM keys, bearer tokens, passwords.

Two rules. What stands under a name like `api_key` or `Authorization` is a secret whatever it looks like; what looks
like a key (`sk-…`, `AIza…`, a JWT) is one wherever it stands. Both would rather hide too much: a hidden word of an
analytics event costs little, a stored key costs its owner money.

Texts come from strangers and are up to a megabyte, so every pattern runs in linear time: quantifiers are bounded,
possessive, or anchored where the run that they scan begins.
"""

import re
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

REDACTED: Final = "[redacted]"

_SHAPES: Final = re.compile(
    r"""
    # A PEM private key; one that was cut off hides the rest of the text.
    -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY-----|\Z)
    # name=value, name: value and "name": "value" within a text, also in a URL's query or in JSON inside a string.
    | (?P<kept>
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
        | (?:xai|pplx)-[A-Za-z0-9_-]{16,}                # xAI, Perplexity
      )
    """,
    re.VERBOSE,
)

_SHAPE_HINTS: Final = (
    *("key", "token", "secret", "pass", "authorization", "bearer", "eyj", "sk-", "aiza", "xai-", "pplx-"),
    *("hf_", "gsk_", "r8_", "ghp_", "gho_", "ghu_", "ghs_", "github_pat_"),
)
"""Lower-case. A text without any of them matches no shape, and `in` is far quicker than the pattern."""

_SECRET_NAME: Final = re.compile(
    r"apikey|(?:access|secret|private|signing|encryption|license)key|secret|password|passwd|passphrase|passcode|^pwd$"
    r"|authorization|^auth$|authheader|credential|bearer|cookie|jwt"
)
_TOKEN_NAME: Final = re.compile(r"token(?!i[sz])")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^a-z0-9]+")

_CACHED_NAME_MAX_CHARACTERS: Final = 64

_Container = dict[str, Any] | list[Any]


class _Secrecy(IntEnum):
    """What a name says of the values below it."""

    NONE = 0
    TOKEN = 1
    """Texts are secret. Numbers are kept: `max_tokens` and `prompt_tokens` count something."""
    SECRET = 2
    """Texts and numbers are secret."""


def redact_text(text: str) -> str:
    """Return the text with all that is shaped like a secret replaced by REDACTED. Linear time.

    The result may be longer than the text.
    """
    lowered = text.lower()
    if not any(hint in lowered for hint in _SHAPE_HINTS):
        return text
    return _SHAPES.sub(rf"\g<kept>{REDACTED}", text)


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
        for index, item in enumerate(source):
            yield index, item, outer
        return
    for name, item in source.items():
        # Names of fields repeat; a very long one is hardly a name, and must not fill the cache.
        read = _read_name if len(name) <= _CACHED_NAME_MAX_CHARACTERS else _read_name.__wrapped__
        place, own = read(name)
        if place != name and place in copy:
            place = f"{place} {len(copy)}"  # two secrets as names: neither value is lost
        yield place, item, max(outer, own)


@lru_cache(maxsize=4096)
def _read_name(name: str) -> tuple[str, _Secrecy]:
    squeezed = _NOT_ALPHANUMERIC.sub("", name.lower())
    if _SECRET_NAME.search(squeezed):
        secrecy = _Secrecy.SECRET
    elif _TOKEN_NAME.search(squeezed):
        secrecy = _Secrecy.TOKEN
    else:
        secrecy = _Secrecy.NONE
    return redact_text(name), secrecy


def _redact_scalar(item: Any, secrecy: _Secrecy) -> Any:
    if isinstance(item, str):
        return redact_text(item) if secrecy is _Secrecy.NONE or not item else REDACTED
    if secrecy is _Secrecy.SECRET and isinstance(item, int | float) and not isinstance(item, bool):
        return REDACTED
    return item
