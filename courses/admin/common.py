"""What the pages of courses and enrolments share."""

from typing import Final

STATE_LABELS: Final = {"on": "success", "off": "danger"}
"""unfold's variants, by the key of a state."""
