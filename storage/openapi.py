"""How a download of bytes is documented."""

from collections.abc import Callable
from typing import Any

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = {"application/gzip": _BYTES, "application/octet-stream": _BYTES}
_WHOLE = {
    "Accept-Ranges": {"schema": {"type": "string", "enum": ["bytes"]}},
    "ETag": {"schema": {"type": "string"}, "description": "Strong; the bytes under a URL's key never change."},
    "Content-Length": {"schema": {"type": "integer", "minimum": 0}},
}
_PART = {**_WHOLE, "Content-Range": {"schema": {"type": "string"}, "description": "`bytes FIRST-LAST/SIZE`"}}
_ANSWERS: dict[str, Any] = {
    "200": {"description": "The artifact's bytes.", "content": _CONTENT, "headers": _WHOLE},
    "206": {"description": "The bytes that `Range` asks for.", "content": _CONTENT, "headers": _PART},
    "304": {"description": "The client has these bytes already (`If-None-Match`)."},
}


def answers_bytes(method: Callable[..., Any]) -> Callable[..., Any]:
    """Put above `@operation`: replaces its one JSON answer of success by those of a download.

    The serializers from which the document is made can't say "bytes of this media type, in whole or in part".
    """
    documented = method.kwargs["schema"]  # type: ignore[attr-defined]  # set by drf-spectacular's extend_schema

    class DownloadSchema(documented):  # type: ignore[valid-type,misc]
        def get_operation(self, *args: Any, **kwargs: Any) -> Any:
            operation = super().get_operation(*args, **kwargs)
            errors = {status: answer for status, answer in operation["responses"].items() if status != "200"}
            operation["responses"] = _ANSWERS | errors
            return operation

    method.kwargs["schema"] = DownloadSchema  # type: ignore[attr-defined]
    return method
