"""A first look at the week's sales: how many rows, which columns, and the first three rows."""

import csv
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "datasets" / "tea_sales.csv"


def read_sales(path: Path = DATA) -> list[dict[str, str]]:
    """Return one dictionary per pot of tea that was sold."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sales = read_sales()
    print(f"{len(sales)} rows")
    print("columns:", ", ".join(sales[0]))
    for row in sales[:3]:
        print(row)
