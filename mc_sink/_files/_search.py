"""How many rows fill a file of so many bytes: from what the last file took, narrowed down by every try.

Nobody can tell what rows will come to before they are encoded: text is quoted, columns are compressed, Parquet adds a
page header here and a footer there, and engines write long after they were fed. So a file is made, and looked at.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

# The next file is aimed at so much of its bound: rows may take a tenth more than those before them.
AIM = 0.9
# A smaller file is made anew with more rows, where there are more.
LEAST = 0.5
# S3 takes no smaller part, so that nothing of a smaller file has been sent before it is finished.
UNSENT_BYTES = 5 * 2**20
# Guesses, and then halvings of what is left to guess, before any number of rows that fits will do.
GUESSES, HALVINGS = 4, 4


@dataclass(slots=True)
class Search:
    """The search for one file's rows; `empty` is the bytes of a file without any, `bytes_per_row` is a first guess."""

    max_bytes: int
    empty: int
    bytes_per_row: float
    max_rows: int = sys.maxsize
    _fits: tuple[int, int] = (0, 0)
    _too_large: tuple[int, int] | None = None
    _last: tuple[int, int] = (0, 0)
    _tries: int = 0

    @property
    def num_rows(self) -> int:
        """Rows to try next; what is known to fit again, when guessing and halving were of no use."""
        least, most = self._fits[0] + 1, self._most
        if self._tries >= GUESSES + HALVINGS and self._fits[0]:
            return self._fits[0]
        if self._tries >= GUESSES and self._too_large:
            return max(1, (self._fits[0] + most) // 2)
        return max(1, min(max(self._guess(), least), most))

    def note(self, num_rows: int, num_bytes: int) -> None:
        """Learn what so many rows came to."""
        self._tries += 1
        self._last = num_rows, num_bytes
        if num_bytes > self.max_bytes:
            self._too_large = self._last
        else:
            self._fits = self._last
        self.bytes_per_row = max((num_bytes - self.empty) / max(1, num_rows), 1 / 1024)

    @property
    def fits(self) -> bool:
        """Whether the last try is within the bound."""
        return self._last[1] <= self.max_bytes

    @property
    def is_full(self) -> bool:
        """Whether the last try fits and is worth being a file, or can't well be made larger."""
        num_rows, num_bytes = self._last
        worth = num_bytes >= min(LEAST * self.max_bytes, UNSENT_BYTES)
        return self.fits and (worth or num_rows >= self._most or self._tries >= GUESSES + HALVINGS)

    @property
    def _most(self) -> int:
        return min(self._too_large[0] - 1 if self._too_large else sys.maxsize, self.max_rows)

    def _guess(self) -> int:
        """Draw a line: between what fits and what doesn't, or on from what is known."""
        rows, num_bytes = self._fits if self._fits[0] else (0, self.empty)
        slope = self.bytes_per_row
        if self._too_large:
            slope = max((self._too_large[1] - num_bytes) / (self._too_large[0] - rows), 1 / 1024)
        return rows + int((AIM * self.max_bytes - num_bytes) / slope)
