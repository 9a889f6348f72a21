"""What templates need to name nobody to those who may not look at users."""

from collections.abc import Iterable
from typing import Any

from django import template
from django.contrib.admin.models import LogEntry
from django.template import Context

from accounts.people import conceal_in_history

register = template.Library()


@register.simple_tag(takes_context=True)
def history_for_viewer(context: Context, entries: Iterable[LogEntry]) -> Any:
    """Give the entries as whoever asked for the page may see them: `{% history_for_viewer entries as shown %}`."""
    shown = list(entries)
    conceal_in_history(context["request"].user, shown)
    return shown
