r"""Show text as what it is, obeyed in nothing, in terminals, logs and pages; and facts as small tables in a notebook.

Cells, headers, paths and replies of stores may hold characters that clear a screen, forge the line of a log or turn the
order of letters around. `printable` writes them as escapes (`\x1b`, `\u202e`, `\n`). It is applied where
text leaves: by the base of all errors, by `logger`, by `_html` and by what the command line writes with. Fields that
programs read keep the true values.

Notebooks align cells to the right, which no path is readable in; the one rule of style here says so, and a page that
leaves it out, as some do, shows the same tables.
"""

from __future__ import annotations

import logging
import unicodedata
from html import escape as escape_markup
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SPACES = "Zs"  # no-break and other spaces, which Python's `isprintable` leaves out, too
_SINGULAR = {"are": "is", "were": "was", "have": "has", "do": "does"}
_LOOK = "<style>table.mc-sink th,table.mc-sink td{text-align:left}table.mc-sink td.number{text-align:right}</style>"


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


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return "1 row" or "2,000 rows"; with a `verb` in the plural, such as "are", "1 row is" or "2,000 rows are"."""
    if number != 1:
        return f"{number:,} {noun}s {verb}".rstrip()
    return f"1 {noun} {_SINGULAR.get(verb, verb and f'{verb}s')}".rstrip()


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


class Fact(Protocol):
    """Anything that can say what it is in a few named values."""

    def shown(self) -> Mapping[str, object]:
        """Give its values by their names, in the order to be read; None for what there is nothing to say of."""


_F = TypeVar("_F", bound=Fact)


class Listing(list[_F]):
    """A list that a notebook shows as a table with a line for each fact; in everything else it is a list."""

    def _repr_html_(self) -> str:
        told = [one.shown() for one in self]
        return rows(list(told[0]), [list(one.values()) for one in told]) if told else line("0 are listed.")


def facts(of: Iterable[tuple[str, object]]) -> str:
    """Give a table with a line for each name and its value; those without a value are left out."""
    told = ((name, value) for name, value in of if value is not None)
    return _table("".join(f"<tr><th>{escape(name)}</th><td>{_text(value)}</td></tr>" for name, value in told))


def rows(head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """Give a table with a head; numbers stand to the right, and None is an empty cell."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    cells = ("".join(map(_cell, values)) for values in body)
    return _table(f"<thead><tr>{names}</tr></thead><tbody>{''.join(f'<tr>{one}</tr>' for one in cells)}</tbody>")


def line(text: str, *, strong: bool = False) -> str:
    """Give a line of text."""
    return f"<p><b>{escape(text)}</b></p>" if strong else f"<p>{escape(text)}</p>"


def escape(text: str) -> str:
    """Return a text as HTML that shows it, control characters too."""
    return escape_markup(printable(text))


def _table(inner: str) -> str:
    return f'{_LOOK}<table class="mc-sink">{inner}</table>'


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int) and not isinstance(value, bool) else ""
    return f"<td{kind}>{_text(value)}</td>"


def _text(value: object) -> str:
    """Write a value as text that can be nothing else."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))
