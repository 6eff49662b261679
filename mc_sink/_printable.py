r"""Text that a terminal, a log or a page shows as what it is, and obeys in nothing.

Cells, headers, paths and replies of stores may hold characters that clear a screen, forge the line of a log or turn the
order of letters around. `printable` writes them as escapes (`\x1b`, `\u202e`, `\n`). It is applied where
text leaves: by the base of all errors, by `logger`, by `_html` and by what the command line writes with. Fields that
programs read keep the true values.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SPACES = "Zs"  # no-break and other spaces, which Python's `isprintable` leaves out, too


class Printable(str):
    """A text that has been escaped; the ends of lines that are in it are ours."""

    __slots__ = ()

    def __str__(self) -> Printable:
        return self


def printable(text: str) -> Printable:
    """Return a text with escapes for what isn't shown as itself, ends of lines too; what is printable stays so."""
    return text if isinstance(text, Printable) else Printable(_escaped(text))


def lines(*texts: str) -> Printable:
    """Return texts as a line each."""
    return Printable("\n".join(map(printable, texts)))


def labelled(facts: Iterable[tuple[str, object]], width: int) -> list[str]:
    """Return a line for each label and its value, in columns; labels have this `width`, or more where one is longer.

    A label never touches its value.
    """
    return [f"{f'{name} ':<{width}}{value}" for name, value in facts]


def indented(text: str) -> Printable:
    """Return another library's text, with its lines after the first set in, so that none of them passes for ours."""
    first, *more = text.split("\n")
    return lines(first, *(f"  {line}" for line in more))


def logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records have escaped values, a line each."""
    made = logging.getLogger(name)
    if not any(isinstance(one, _Escaping) for one in made.filters):
        made.addFilter(_Escaping())
    return made


class _Escaping(logging.Filter):
    """Escapes the values of records; the words around them are ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(one if isinstance(one, int | float) else _escaped(str(one)) for one in record.args)
        return True


def _escaped(text: str) -> str:
    if text.isprintable():
        return str.__str__(text)
    return "".join(one if one.isprintable() or unicodedata.category(one) == _SPACES else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
