"""Three ways to insert a call's events in one statement, beside each other: `python -m bench.statements`.

Rows as one JSON text (what the server does), as an array for each column, and by COPY into a temporary table; each over
a connection of its own, with a commit for each batch, in turns. Shown are the median time of a batch, and the
processor's time that the client spent on it, which counts since the threads of a worker share one interpreter.
"""

import argparse
import json
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec
import psycopg

from bench.ingest import bench_database, empty_tables, make_body, make_cast, make_events
from telemetry.ingest import INSERT_EVENTS, SENT_ROWS, insert_parameters

BATCHES: Final = {1: 200, 100: 50, 1_000: 20}

COLUMNS: Final = {
    "index": "int",
    "event_id": "text",
    "event_time": "timestamptz",
    "event_type": "text",
    "course_id": "uuid",
    "chapter_id": "text",
    "session_id": "text",
    "payload": "text",
}
_ARRAYS: Final = ", ".join(f"%({name})s::{kind}[]" for name, kind in COLUMNS.items())
INSERT_ARRAYS: Final = INSERT_EVENTS.replace(SENT_ROWS, f"unnest({_ARRAYS}) AS sent ({', '.join(COLUMNS)})")
INSERT_COPIED: Final = INSERT_EVENTS.replace(SENT_ROWS, "sent")
CREATE_COPIED: Final = (
    f"CREATE TEMPORARY TABLE sent ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())}) "
    "ON COMMIT DELETE ROWS"
)

Database = psycopg.Connection[tuple[Any, ...]]


def insert_json(database: Database, parameters: dict[str, Any]) -> None:
    database.execute(INSERT_EVENTS, parameters | {"rows": msgspec.json.encode(parameters["parsed"]).decode()})


def insert_arrays(database: Database, parameters: dict[str, Any]) -> None:
    rows = parameters["parsed"]
    database.execute(INSERT_ARRAYS, parameters | {name: [row[name] for row in rows] for name in COLUMNS})


def insert_copied(database: Database, parameters: dict[str, Any]) -> None:
    with database.transaction(), database.cursor() as cursor:
        with cursor.copy("COPY sent FROM STDIN") as copy:
            for row in parameters["parsed"]:
                copy.write_row([row[name] for name in COLUMNS])
        cursor.execute(INSERT_COPIED, parameters)


WAYS: Final[dict[str, Callable[[Database, dict[str, Any]], None]]] = {
    "JSON": insert_json,
    "arrays": insert_arrays,
    "COPY": insert_copied,
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with bench_database() as url:
        learners, course = make_cast()
        databases = {way: psycopg.connect(url, autocommit=True) for way in WAYS}
        databases["COPY"].execute(CREATE_COPIED)
        print("| events a batch | way | median | client's processor |")
        print("|---:|---|---:|---:|")
        for size, batches in BATCHES.items():
            empty_tables()
            times = _measure([make_body(size, course, number * size) for number in range(batches)], learners, databases)
            for way, measured in times.items():
                wall, processor = (1_000 * statistics.median(figures) for figures in zip(*measured, strict=True))
                print(f"| {size:,} | {way} | {wall:.2f} ms | {processor:.2f} ms |", flush=True)
        for database in databases.values():
            database.close()


def _measure(
    bodies: list[bytes], learners: list[Any], databases: dict[str, Database]
) -> dict[str, list[tuple[float, float]]]:
    """Insert each batch in every way, as another learner's; return the seconds on the wall and of the processor."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for body in bodies:
        for (way, insert), learner in zip(WAYS.items(), learners, strict=False):
            parameters = insert_parameters(learner.user.pk, make_events(body))
            parameters["parsed"] = [
                row | {"course_id": uuid.UUID(row["course_id"])} for row in json.loads(parameters["rows"])
            ]
            began, began_processor = time.perf_counter(), time.process_time()
            insert(databases[way], parameters)
            times[way].append((time.perf_counter() - began, time.process_time() - began_processor))
    return times


if __name__ == "__main__":
    main()
