"""The inspector's checks, as the learner may run them: standard library only, one CSV file at a time."""

import csv
import sys
from collections import Counter
from pathlib import Path

DISGUISED_GAPS = {"", "n/a", "na", "none", "null", "-", "?"}


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def count_gaps(rows: list[dict[str, str]]) -> dict[str, int]:
    """Count the missing values of each column, also those that hide behind a word."""
    columns = list(rows[0]) if rows else []
    return {name: sum((row[name] or "").strip().lower() in DISGUISED_GAPS for row in rows) for name in columns}


def count_doubles(rows: list[dict[str, str]]) -> int:
    """Count the rows that repeat an earlier one."""
    seen = Counter(tuple(row.items()) for row in rows)
    return sum(count - 1 for count in seen.values())


if __name__ == "__main__":
    found = read_rows(Path(sys.argv[1]))
    print(f"{len(found)} rows, {count_doubles(found)} of them doubles")
    for column, gaps in count_gaps(found).items():
        print(f"{column}: {gaps} missing")
