from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer


class EscapingJSONRenderer(JSONRenderer):
    """JSON in ASCII, everything else escaped."""

    ensure_ascii = True


class SafeJSONRenderer(JSONRenderer):
    """UTF-8 JSON; a lone surrogate that a message repeats from the request is escaped, not a 500."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            return EscapingJSONRenderer().render(data, accepted_media_type, renderer_context)
