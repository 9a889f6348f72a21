"""Charts of the admin: a picture for the eye, and its numbers as a table for everybody (WCAG 2.2, 1.1.1)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

_HEIGHT_REM: Final = 15
_HEIGHT_MAX_REM: Final = 60
_AXIS_REM: Final = 4
_BAR_REM: Final = 1.25
_GAP_REM: Final = 0.75


@dataclass(frozen=True, slots=True)
class Series:
    """One line or kind of bar: its name and a value for each of the chart's labels; None is a gap.

    `is_rest` is what the others leave over, such as those who have not begun: it is grey.
    """

    name: str
    values: Sequence[float | None]
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over common labels, such as days. Shown by the template `admin/chart.html`.

    Args:
        labels: what the values belong to, in order; the table has a row for each.
        label_heading: what the labels are, as a column's heading ("Day").
        kind: lines ("line"), bars beside each other ("bar") or stacked up ("stacked"), both over time; or lying bars,
            which leave room for long labels such as chapters: beside each other ("hbar") or end to end ("hstacked").
            Lying bars and the rows of their table keep the order of the labels.
        empty: what is said instead when there is no value at all.
    """

    title: str
    labels: Sequence[str]
    label_heading: str
    series: Sequence[Series]
    kind: Literal["line", "bar", "stacked", "hbar", "hstacked"] = "line"
    empty: str = ""

    @property
    def is_lying(self) -> bool:
        return self.kind in ("hbar", "hstacked")

    @property
    def height_rem(self) -> int:
        """The picture's height in rem: lying bars need some for each label, up to a bound where labels are thinned."""
        if not self.is_lying:
            return _HEIGHT_REM
        bars = len(self.series) if self.kind == "hbar" else 1
        return min(_AXIS_REM + math.ceil(len(self.labels) * (_GAP_REM + _BAR_REM * bars)), _HEIGHT_MAX_REM)

    @property
    def is_empty(self) -> bool:
        return not any(value for series in self.series for value in series.values)

    @property
    def config(self) -> str:
        """What config/admin.js makes the picture of, as JSON. Its colours are the style sheet's, for light and dark."""
        series = [
            {"name": series.name, "values": list(series.values), **({"rest": True} if series.is_rest else {})}
            for series in self.series
        ]
        return json.dumps({"kind": self.kind, "labels": list(self.labels), "series": series})

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """The table: a label and its values. Over time the last comes first, since the newest day matters most."""
        by_label = zip(*(series.values for series in self.series), strict=True)
        rows = [(label, list(values)) for label, values in zip(self.labels, by_label, strict=True)]
        return rows if self.is_lying else rows[::-1]
