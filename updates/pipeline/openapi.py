"""How the pipeline's calls are documented."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, OpenApiParameter

from config.errors import ErrorCode
from config.openapi import operation

RELEASE_ID: Final = OpenApiParameter(
    "id", {"type": "string", "format": "uuid"}, OpenApiParameter.PATH, description="The release's id."
)


_MESSAGES: Final = {
    ErrorCode.UNAUTHORIZED: "Send an API token.",
    ErrorCode.INVALID_TOKEN: "The API token is not known, was revoked or has expired.",
}
"""What codes of the catalogue mean to a pipeline."""


class StrictRequestSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Requests whose unknown fields are refused."""

    target_class = "updates.pipeline.serializers.StrictRequest"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(  # type: ignore[no-untyped-call]
            self.target, direction, bypass_extensions=True
        )
        return {**schema, "additionalProperties": False}


class PipelineScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """An API token or ADMIN_API_KEY, in either of two headers."""

    target_class = "updates.pipeline.authentication.PipelineAuthentication"
    name = ["apiToken", "adminKey"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> Any:
        what = "An API token, which staff make in the admin (`lcb_…`), or ADMIN_API_KEY."
        return [
            {"type": "http", "scheme": "bearer", "description": what},
            {"type": "apiKey", "in": "header", "name": "X-Admin-Key", "description": what},
        ]


def pipeline_operation(
    *,
    errors: Iterable[ErrorCode] = (),
    about_one: bool = False,
    messages: Mapping[ErrorCode, str] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Document a call of the pipeline: `config.openapi.operation`, with what its authentication may answer."""
    codes = [ErrorCode.UNAUTHORIZED, ErrorCode.INVALID_TOKEN, ErrorCode.FORBIDDEN, *errors]
    parameters = [*options.pop("parameters", ()), *([RELEASE_ID] if about_one else [])]
    return operation(
        errors=[*codes, ErrorCode.NOT_FOUND] if about_one else codes,
        parameters=parameters,
        messages={**_MESSAGES, **(messages or {})},
        tags=["pipeline"],
        **options,
    )
