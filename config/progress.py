"""How services tell whoever started them how far they got."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows how far a stage got; `config.terminal.Progress` does, for commands."""

    def counting(self, name: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Yield a function that has to be told how many more of `total` are done."""
        ...
