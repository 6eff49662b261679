"""How facts look in a notebook: plain small tables, every value escaped, nothing fetched and nothing executed.

Notebooks align cells to the right, which no path is readable in; the one rule of style here says so, and a page that
leaves it out, as some do, shows the same tables.
"""

from __future__ import annotations

from html import escape as escape_markup
from typing import TYPE_CHECKING, Protocol, TypeVar

from mc_sink._printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LOOK = "<style>table.mc-sink th,table.mc-sink td{text-align:left}table.mc-sink td.number{text-align:right}</style>"


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
