"""The history of a course, in which higher rooms tell what they did to it in sentences of their own."""

import json
from typing import TYPE_CHECKING, Any, Final

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    from config.admin import ModelAdmin

    _Base = ModelAdmin[Any]
else:
    _Base = object

_sentences: Final[dict[str, "StrOrPromise"]] = {}


def told_as(name: str, sentence: "StrOrPromise") -> None:
    """Tell entries that were written as "Added <name> “<object>”" by this sentence, which has `%(object)s`.

    Django's own words are for rows that were added; a higher room does other things to a course as well.
    """
    _sentences[name] = sentence


class HistoryMixin(_Base):
    """Tells the history of an object in these sentences."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            for entry in response.context_data["action_list"]:
                entry.change_message = _retold(entry.change_message)
        return response


def _retold(message: str) -> str:
    """Return the sentence of an entry that has one, in the reader's language."""
    try:
        told = json.loads(message)
    except ValueError:
        return message
    match told:
        case [{"added": {"name": str(name), "object": what}}] if name in _sentences:
            return str(_sentences[name]) % {"object": what}
    return message
