"""A sum over the last seconds, with a fixed number of cells: no list grows with the traffic."""

from __future__ import annotations

from typing import Final

CELLS: Final = 12


class Window:
    """Sum over the last `seconds`, give or take a twelfth of that."""

    __slots__ = ("_cells", "_total", "_turn", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / CELLS
        self._cells = [0.0] * CELLS
        self._turn = 0
        self._total = 0.0

    def __repr__(self) -> str:
        return f"<Window {self._total:g} in {self._width * CELLS:g} s>"

    def add(self, amount: float, now: float) -> None:
        """Something happened now; times never run backwards."""
        turn = int(now / self._width)
        if turn != self._turn:
            self._advance(turn)
        self._cells[self._turn % CELLS] += amount
        self._total += amount

    def sum(self, now: float) -> float:
        """Return the sum within the window."""
        self._advance(int(now / self._width))
        return self._total

    def clear(self) -> None:
        """Forget everything."""
        self._cells = [0.0] * CELLS
        self._total = 0.0

    def _advance(self, turn: int) -> None:
        if turn - self._turn >= CELLS:
            self.clear()
        else:
            for old in range(self._turn + 1, turn + 1):
                self._total -= self._cells[old % CELLS]
                self._cells[old % CELLS] = 0.0
        self._turn = max(turn, self._turn)
