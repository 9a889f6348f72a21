"""Events that leave the server, as a stream of bytes in one of four formats; docs/exports.md describes them.

`stream` is the only way in, for the command and for pages: whatever calls it holds at most a few MiB of it in memory.
"""

from telemetry.exports.export import Export, Format, stream
from telemetry.exports.reading import estimate_rows
from telemetry.exports.selection import Selection

__all__ = ["Export", "Format", "Selection", "estimate_rows", "stream"]
