"""What the formats of an export hold is what the table holds."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from courses.models import Course
from telemetry.exports import Format, Selection, stream
from telemetry.models import AnalyticsEvent
from telemetry.tests.exported import (
    HOSTILE_TEXTS,
    NOON,
    fill,
    make_event,
    make_hostile_events,
    read_back,
)
from telemetry.tests.partitioned import run
from tests.cast import Actor

pytestmark = pytest.mark.django_db(transaction=True)

TABULAR = [Format.NDJSON, Format.CSV, Format.PARQUET]


def exported(chosen: Format, **options: Any) -> bytes:
    return b"".join(stream(chosen, Selection(), **options))


def table(course: Course) -> list[dict[str, Any]]:
    """Return what an identifying export has to say of each event, but for the pseudonym."""
    return [
        {
            "user_id": str(event.user_id),
            "email": event.user.email,
            "event_id": event.event_id,
            "event_time": event.event_time,
            "received_at": event.received_at,
            "event_type": event.event_type,
            "course_id": event.course_id and str(event.course_id),
            "course_code": course.course_code if event.course_id == course.pk else None,
            "chapter_id": event.chapter_id,
            "session_id": event.session_id,
            "payload": event.payload,
            "time_mark": ["plain", "ahead", "expired"][event.time_mark],
        }
        for event in AnalyticsEvent.objects.select_related("user").order_by("event_time", "user_id", "event_id")
    ]


def without_learner(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "learner"} for row in rows]


@pytest.mark.parametrize("chosen", TABULAR)
def test_equal_to_the_table(chosen: Format, learner: Actor, fellow: Actor, course: Course) -> None:
    make_hostile_events(learner.user, course)
    make_event(fellow.user, "after", event_time=NOON + timedelta(hours=1))
    make_event(fellow.user, "at the same time", event_time=NOON)
    make_event(fellow.user, "of a course that is gone", course_id="00000000-0000-4000-8000-000000000000")

    rows = read_back(exported(chosen, identify=True), chosen)

    assert without_learner(rows) == table(course)
    assert len({row["learner"] for row in rows}) == 2


@pytest.mark.parametrize("chosen", TABULAR)
def test_many_row_groups_and_batches(chosen: Format, learner: Actor, course: Course) -> None:
    fill(learner.user, course, 20_000)
    run("UPDATE telemetry_analyticsevent SET course_id = NULL WHERE substr(event_id, 8)::int %% 7 < 3")
    content = exported(chosen, identify=True)
    assert without_learner(read_back(content, chosen)) == table(course)
    if chosen is Format.PARQUET:
        assert pq.ParquetFile(io.BytesIO(content)).metadata.num_row_groups == 2


@pytest.mark.parametrize("chosen", TABULAR)
def test_columns(chosen: Format, learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    pseudonymous = [
        "learner",
        "event_id",
        "event_time",
        "received_at",
        "event_type",
        "course_id",
        "course_code",
        "chapter_id",
        "session_id",
        "payload",
        "time_mark",
    ]
    identified = [pseudonymous[0], "user_id", "email", *pseudonymous[1:]]

    def columns(**options: Any) -> list[str]:
        return list(read_back(exported(chosen, **options), chosen)[0])

    assert columns() == pseudonymous
    assert columns(identify=True) == identified
    assert columns(with_payload=False) == [name for name in pseudonymous if name != "payload"]
    assert columns(identify=True, with_payload=False) == [name for name in identified if name != "payload"]


@pytest.mark.parametrize("chosen", list(Format))
def test_no_events(chosen: Format) -> None:
    assert read_back(exported(chosen), chosen) == []


# --- CSV ----------------------------------------------------------------------------------------------------------


def test_csv_as_rfc_4180_has_it(learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course, event_type='say "a,b"\nc', payload={})
    lines = exported(Format.CSV, identify=True, with_payload=False).decode()
    header, _, rest = lines.partition("\r\n")
    assert header.startswith("learner,user_id,email,event_id,event_time,")
    assert ',"say ""a,b""\nc",' in rest
    assert rest.endswith(",plain\r\n")


def test_no_cell_begins_a_formula(learner: Actor, course: Course) -> None:
    make_hostile_events(learner.user, course)
    Course.objects.filter(pk=course.pk).update(course_code="-1+1")
    content = exported(Format.CSV, identify=True).decode()
    cells = [cell for row in csv.reader(io.StringIO(content, newline=""), strict=True) for cell in row if cell]
    assert "'=1+1" in cells
    assert "'-1+1" in cells
    for cell in cells:
        assert not cell.lstrip(" ").startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")), cell


# --- NDJSON -------------------------------------------------------------------------------------------------------


def test_ndjson_has_an_object_a_line(learner: Actor, course: Course) -> None:
    make_hostile_events(learner.user, course)
    lines = exported(Format.NDJSON).split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(HOSTILE_TEXTS) + 6
    integers = next(line for line in lines if b"9223372036854775807" in line)
    assert json.loads(integers)["payload"] == {"most": 2**63 - 1, "least": -(2**63), "exact": 9_007_199_254_740_993}


# --- Parquet ------------------------------------------------------------------------------------------------------


def test_schema_of_parquet(learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    make_event(learner.user, "two")
    file = pq.ParquetFile(io.BytesIO(exported(Format.PARQUET, identify=True)))
    nullable = {"email", "course_id", "course_code"}
    for field in file.schema_arrow:
        assert str(field.type) == ("timestamp[us, tz=UTC]" if field.name in ("event_time", "received_at") else "string")
        assert field.nullable == (field.name in nullable)
    chunks = [file.metadata.row_group(0).column(index) for index in range(file.metadata.num_columns)]
    with_dictionary = {chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page}
    assert with_dictionary == set(file.schema_arrow.names) - {"event_id", "event_time", "received_at", "payload"}
    assert {chunk.compression for chunk in chunks} == {"GZIP"}
    statistics = next(chunk.statistics for chunk in chunks if chunk.path_in_schema == "event_time")
    assert (statistics.min, statistics.max, statistics.null_count) == (NOON, NOON, 0)


def test_parquet_can_be_searched(learner: Actor, course: Course) -> None:
    """Readers skip row groups by their statistics, and look values up in dictionaries."""
    fill(learner.user, course, 17_000)
    make_event(learner.user, "last", event_type="found", event_time=NOON + timedelta(days=1))
    content = io.BytesIO(exported(Format.PARQUET, identify=True))
    wanted = [("event_time", ">=", NOON + timedelta(seconds=16_999)), ("event_type", "in", ["found", "chapter_opened"])]
    assert pq.read_table(content, filters=wanted)["event_id"].to_pylist() == ["filled 16999", "filled 17000", "last"]
