"""The lines of the log: each has its request's id, which is also in the answer's header and in the body of an error.

None of them shows a secret.
"""

import logging
import re
from contextvars import ContextVar
from typing import Any, Final

from config.redaction import redact_text

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Puts `request_id` on each record, `-` outside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What starts another line, moves a terminal's cursor, or changes the direction of what follows."""


class LineFormatter(logging.Formatter):
    """Keeps a record to its line, whatever a client sent: nobody forges another one (CWE-117).

    A traceback has its own lines below; each is indented, and so is no record. The database's messages repeat values
    that came in, of a row that a constraint refuses, say: what looks like a secret is redacted in all of them.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        return _escape(redact_text(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        return _indent(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  logging's name
        return _indent(super().formatStack(stack_info))


def _indent(text: str) -> str:
    return "\n".join(f"  {_escape(line)}" for line in redact_text(text).split("\n"))


def _escape(text: str) -> str:
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
