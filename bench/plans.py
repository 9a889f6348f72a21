"""How PostgreSQL runs a statement, in one line."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from telemetry.models import AnalyticsEvent

_EVENTS: Final = AnalyticsEvent._meta.db_table
_PARTITION: Final = re.compile(rf"^{_EVENTS}_(y\d+m\d+|default)")


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes of a plan, each before its children in brackets, and what it took."""

    nodes: str
    milliseconds: float
    blocks: int
    whole_partitions: Sequence[str]
    """The partitions of events that were read from the first block to the last."""


def explain(statement: str) -> Plan:
    """Run a statement that has its values in it."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        [(result,)] = cursor.fetchall()
    [explained] = json.loads(result) if isinstance(result, str) else result
    root = explained["Plan"]
    return Plan(
        nodes=_shape(root),
        milliseconds=explained["Planning Time"] + explained["Execution Time"],
        blocks=_blocks(root),
        whole_partitions=[
            node["Relation Name"]
            for node in _walk(root)
            if node["Node Type"] == "Seq Scan" and _PARTITION.match(node["Relation Name"]) and _blocks(node)
        ],
    )


def _blocks(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


def _shape(node: dict[str, Any]) -> str:
    """Return the nodes' kinds, with the index or table that they read. Children that are alike are shown once."""
    place = _PARTITION.sub(f"{_EVENTS}_*", node.get("Index Name") or node.get("Relation Name") or "")
    children = list(dict.fromkeys(_shape(child) for child in node.get("Plans", [])))
    return " ".join(filter(None, [node["Node Type"], place, f"({', '.join(children)})" if children else ""]))
