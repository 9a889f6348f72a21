"""Charts: what the table beside a picture says, and how much room the picture takes."""

import json
from typing import Any

import pytest
from django.template.loader import render_to_string

from config.charts import Chart, Series


def make(kind: Any, *, labels: int = 3, series: int = 1) -> Chart:
    values = [Series(f"series {number}", list(range(labels))) for number in range(series)]
    return Chart("Title", [f"label {number}" for number in range(labels)], "Label", values, kind)


@pytest.mark.parametrize("kind", ["line", "bar", "stacked"])
def test_over_time_the_table_begins_with_what_is_newest(kind: str) -> None:
    assert [label for label, _ in make(kind).rows] == ["label 2", "label 1", "label 0"]


@pytest.mark.parametrize("kind", ["hbar", "hstacked"])
def test_the_table_of_lying_bars_has_the_order_of_the_picture(kind: str) -> None:
    chart = make(kind, series=2)
    assert chart.rows == [("label 0", [0, 0]), ("label 1", [1, 1]), ("label 2", [2, 2])]
    assert json.loads(chart.config)["labels"] == ["label 0", "label 1", "label 2"]


def test_lying_bars_take_room_for_each_label_up_to_a_bound() -> None:
    heights = [make("hbar", labels=labels).height_rem for labels in (1, 10, 20, 200)]
    assert heights == sorted(heights)
    assert heights[1] - heights[0] == 18  # two lines of text for each label
    assert heights[-1] == 60
    assert make("hbar", labels=10, series=3).height_rem > make("hstacked", labels=10, series=3).height_rem
    assert make("bar", labels=10).height_rem == make("line", labels=200).height_rem == 15


def test_the_names_of_the_series_are_text_where_there_are_several() -> None:
    """A picture has no text for the eye that can't read its colours; a single series is what the title says."""
    assert "chart-legend" not in render_to_string("admin/chart.html", {"chart": make("hbar")})
    text = render_to_string("admin/chart.html", {"chart": make("hstacked", series=2)})
    assert "<li>series 0</li><li>series 1</li>" in text
