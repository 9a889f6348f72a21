"""The development secret: made once per checkout, so that nothing has to be configured to start."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def development_secret(folder: Path) -> str:
    """Return the secret kept in `folder`, making it on first use.

    Several workers import the settings at once: the file appears by `os.link`, complete or not at all, and
    whoever comes second reads the first one's.
    """
    try:
        return _read_or_make(folder)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"The folder {folder}, where the development secret is kept, can't be used ({error})."
        raise ImproperlyConfigured(f"{reason} Make it yours, delete it, or set JWT_SECRET.") from error


def _read_or_make(folder: Path) -> str:
    path = folder / "secret"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    return path.read_text(encoding="ascii").strip()
