"""Charts of the admin: a picture for the eye, and its numbers as a table for everybody (WCAG 2.2, 1.1.1)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Series:
    """One line or kind of bar: its name and a value for each of the chart's labels; None is a gap."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over common labels, such as days. Shown by the template `admin/chart.html`.

    Args:
        labels: what the values belong to, in order; the table has a row for each.
        label_heading: what the labels are, as a column's heading ("Day").
        kind: lines, bars beside each other, or bars that are stacked up.
        empty: what is said instead when there is no value at all.
    """

    title: str
    labels: Sequence[str]
    label_heading: str
    series: Sequence[Series]
    kind: Literal["line", "bar", "stacked"] = "line"
    empty: str = ""

    @property
    def is_empty(self) -> bool:
        return not any(value for series in self.series for value in series.values)

    @property
    def config(self) -> str:
        """What config/admin.js makes the picture of, as JSON. Its colours are the style sheet's, for light and dark."""
        series = [{"name": series.name, "values": list(series.values)} for series in self.series]
        return json.dumps({"kind": self.kind, "labels": list(self.labels), "series": series})

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """The table: a label and its values, the last label first, since the newest day matters most."""
        by_label = zip(*(series.values for series in self.series), strict=True)
        return [(label, list(values)) for label, values in zip(self.labels, by_label, strict=True)][::-1]
