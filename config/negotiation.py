from collections.abc import Sequence

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from config.errors import ApiError, ErrorCode


class IgnoreAccept(BaseContentNegotiation):
    """Always JSON: a client that sends `Accept: text/html` gets its answer, not a 406 that it can't parse."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser | None:  # type: ignore[override]
        media_type = (request.content_type or "").split(";")[0].strip().lower()
        for parser in parsers:
            if parser.media_type == media_type:
                return parser
        wanted = " or ".join(str(parser.media_type) for parser in parsers)
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"The request body must be {wanted}.")

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type or "application/json"
