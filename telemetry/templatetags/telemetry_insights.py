"""What the templates of insights need."""

import json
from typing import Any

from django import template

register = template.Library()


@register.filter
def pretty_json(value: Any) -> str:
    """Write a JSON value in lines, as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2)
