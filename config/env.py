"""Reading of environment variables: strict, and silent about values.

django-environ reads `.env` and splits database URLs. It is kept from two of its habits: a value that starts
with `$` is literal here (no look-up of another variable), and a word that is no boolean is refused instead of
being taken for false. Every error names the variable and never echoes its value, which may be a secret.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


_LINE: Final = re.compile(r"\s*(#.*|(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=.*)?")


def _check_lines(dotenv: Path) -> None:
    """Refuse what the library would skip with a warning that shows the line, secret and all."""
    try:
        lines = dotenv.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{dotenv} can't be read, or is not UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if not _LINE.fullmatch(line):
            raise ImproperlyConfigured(f"Line {number} of {dotenv} is not NAME=value.")


class Environment:
    """Typed look-ups in one mapping of variables. An empty value counts as absent.

    A variable `NAME` may also be given as `NAME_FILE`, the path of a file that holds the value (container secrets).
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    @classmethod
    def load(cls, dotenv: Path) -> "Environment":
        """Read the process environment, completed by the `dotenv` file when there is one; the environment wins.

        With APP_ENV=test the file is not read: the suite must not depend on what lies on a developer's desk.
        """
        if os.environ.get("APP_ENV") != "test" and dotenv.exists():
            _check_lines(dotenv)
            environ.Env.read_env(dotenv)
        return cls(os.environ)

    def text(self, name: str, default: str = "") -> str:
        value = self._variables.get(name, "").strip()
        if value:
            return value
        path = self._variables.get(f"{name}_FILE", "").strip()
        if path:
            try:
                return Path(path).read_text(encoding="utf-8").strip() or default
            except (OSError, UnicodeDecodeError) as error:
                raise ImproperlyConfigured(f"{name}_FILE names a file that can't be read.") from error
        return default

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(name, default).lower()
        if value not in choices:
            raise ImproperlyConfigured(f"{name} must be one of: {', '.join(choices)}.")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name).lower()
        if not value:
            return default
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise ImproperlyConfigured(f"{name} must be true or false.")

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """Read a whole number within `minimum..maximum`, both allowed."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and minimum <= int(text[:20]) <= maximum):
            raise ImproperlyConfigured(f"{name} must be a whole number from {minimum} to {maximum}.")
        return int(text)

    def items(self, name: str) -> list[str]:
        """Read a comma-separated list; blanks around and empty items are dropped."""
        return [item for part in self.text(name).split(",") if (item := part.strip())]

    def http_url(self, name: str) -> str:
        """Read an absolute http(s) URL without query and fragment; the answer has no trailing slash."""
        value = self.text(name)
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018  a port that is no number raises here
        except ValueError as error:
            raise ImproperlyConfigured(f"{name} must be an absolute http(s) URL.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ImproperlyConfigured(f"{name} must be an absolute http(s) URL.")
        return value.rstrip("/")

    def database(self, name: str) -> dict[str, Any] | None:
        """Read a PostgreSQL URL as Django's database settings, or None when it is not given.

        SQLAlchemy's spelling `postgresql+driver://` is accepted, since earlier deployments used it.
        """
        url = self.text(name)
        if not url:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
            raise ImproperlyConfigured(f"{name} must be a postgresql:// URL.")
        try:
            config: dict[str, Any] = environ.Env.db_url_config(f"postgresql://{rest}")
        except Exception as error:
            # The library raises whatever its parsing runs into, with the URL (and so the password) in the text.
            raise ImproperlyConfigured(f"{name} can't be parsed as a postgresql:// URL.") from error
        if not config.get("NAME"):
            raise ImproperlyConfigured(f"{name} must name a database after the host.")
        return config
