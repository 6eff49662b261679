r"""Escape text for terminals, logs and notebooks, and render facts as small tables in a notebook.

Cells, headers, paths and replies of stores may contain characters that clear a screen, forge a log line or reverse the
order of letters. `printable` writes them as escapes (`\x1b`, `\u202e`, `\n`). It is applied
where text leaves the package: by the base class of all errors, by `logger`, by the tables here and by the command line.
Fields that programs read keep the original values.

Notebooks align cells to the right, which makes paths hard to read, so each cell here has a style of its own that aligns
it. A style sheet would not do: JupyterLab drops it in notebooks that are not trusted, and other pages always.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SPACES = "Zs"  # no-break and other spaces, which Python's `isprintable` leaves out, too
_SINGULAR = {"are": "is", "were": "was", "have": "has", "do": "does"}
_LEFT, _RIGHT = 'style="text-align:left"', 'class="number" style="text-align:right"'


class Printable(str):
    """An escaped text. The line ends in it were put there by this package."""

    __slots__ = ()

    def __str__(self) -> Printable:
        return self


def printable(text: str) -> Printable:
    """Return a text with its unprintable characters escaped, line ends included. A `Printable` stays as it is."""
    return text if isinstance(text, Printable) else Printable(_escaped(text))


def lines(*texts: str) -> Printable:
    """Return the texts joined, one line each."""
    return Printable("\n".join(map(printable, texts)))


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return "1 row" or "2,000 rows"; with a `verb` in the plural, such as "are", "1 row is" or "2,000 rows are"."""
    if number != 1:
        return f"{number:,} {noun}s {verb}".rstrip()
    return f"1 {noun} {_SINGULAR.get(verb, verb and f'{verb}s')}".rstrip()


def size(num_bytes: int) -> str:
    """Return a number of bytes in binary units, exact below 1 KiB."""
    left = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if left < 1024:  # noqa: PLR2004  the step between binary units
            return f"{num_bytes} B" if unit == "B" else f"{left:.1f} {unit}"
        left /= 1024
    return f"{left:,.1f} TiB"


def nearest(name: str, names: Iterable[str], shown: Callable[[str], str] = repr) -> str:
    """Return the question whether the nearest of the right names was meant; empty where none is near.

    A name of which `name` is the start is near, and capitals and spaces at the ends don't count.
    """
    from difflib import get_close_matches

    known = {one.lower(): one for one in names}
    asked = name.strip().lower()
    near = [one for one in known if asked and one.startswith(asked)] or get_close_matches(asked, known, n=1, cutoff=0.5)
    return f" Did you mean {shown(known[near[0]])}?" if near else ""


def labelled(facts: Iterable[tuple[str, object]], width: int) -> list[str]:
    """Return a line for each label and its value. Labels are padded to `width`, and a space always follows them."""
    return [f"{f'{name} ':<{width}}{value}" for name, value in facts]


def indented(text: str) -> Printable:
    """Return another library's text with all lines but the first indented, so that none looks like this package's."""
    first, *more = text.split("\n")
    return lines(first, *(f"  {line}" for line in more))


def logger(name: str) -> logging.Logger:
    """Return the logger of a module. The values in its records are escaped, so that each record is one line."""
    made = logging.getLogger(name)
    if not any(isinstance(one, _Escaping) for one in made.filters):
        made.addFilter(_Escaping())
    return made


class _Escaping(logging.Filter):
    """Escapes the values of records; the text around them comes from this package."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the values of a record, and pass the record on."""
        if isinstance(record.args, tuple):
            record.args = tuple(one if isinstance(one, int | float) else _escaped(str(one)) for one in record.args)
        return True


def _escaped(text: str) -> str:
    if text.isprintable():
        return str.__str__(text)
    return "".join(
        one
        if one.isprintable() or unicodedata.category(one) == _SPACES
        else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in text
    )


class Fact(Protocol):
    """An object that a notebook shows as a few labelled values."""

    def shown(self) -> Mapping[str, object]:
        """Return the labelled values in display order; None hides a row."""


_F = TypeVar("_F", bound=Fact)


class Listing(list[_F]):
    """A list that a notebook shows as a table with a row for each item."""

    def _repr_html_(self) -> str:
        items = [one.shown() for one in self]
        return rows(list(items[0]), [list(one.values()) for one in items]) if items else line("The list is empty.")


def facts(labelled_values: Iterable[tuple[str, object]]) -> str:
    """Return a table with a row for each label and its value; a value of None hides its row."""
    shown = ((name, value) for name, value in labelled_values if value is not None)
    cells = (f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{_text(value)}</td></tr>" for name, value in shown)
    return _table("".join(cells))


def rows(head: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """Return a table with a head. Numbers are aligned to the right; None is an empty cell."""
    names = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in head)
    table = ""
    for values in body:
        cells = (f"<td {_RIGHT if _is_number(value) else _LEFT}>{_text(value)}</td>" for value in values)
        table += f"<tr>{''.join(cells)}</tr>"
    return _table(f"<thead><tr>{names}</tr></thead><tbody>{table}</tbody>")


def line(text: str, *, strong: bool = False) -> str:
    """Return a paragraph with a line of text."""
    return f"<p><b>{escape(text)}</b></p>" if strong else f"<p>{escape(text)}</p>"


def escape(text: str) -> str:
    """Return a text as HTML, with control characters shown as escapes."""
    from html import escape as escape_markup

    return escape_markup(printable(text))


def _table(inner: str) -> str:
    return f'<table class="mc-sink">{inner}</table>'


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: object) -> str:
    """Return the value as escaped HTML text."""
    if value is None:
        return ""
    return f"{value:,}" if _is_number(value) else escape(str(value))
