"""The page that a sender forwards to a receiver, as Markdown and as HTML: headings, paragraphs, tables and code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mc_sink._display import printable


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of code in a language, such as "sql", "json" or "console"."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class FactTable:
    """A table of labelled values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its paragraphs, tables and code."""

    title: str
    blocks: tuple[str | CodeBlock | FactTable, ...]


@dataclass(frozen=True, slots=True)
class ReceiverPage:
    """The page about a delivery for its receiver: `str()` is Markdown, `sections` are its parts. Holds no secret."""

    title: str
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        parts = [f"# {_plain(self.title)}"]
        for section in self.sections:
            parts += [f"## {_plain(section.title)}", *map(_as_markdown, section.blocks)]
        return "\n\n".join(parts) + "\n"

    def _repr_markdown_(self) -> str:
        return str(self)


def _as_markdown(block: str | CodeBlock | FactTable) -> str:
    if isinstance(block, CodeBlock):
        text = "\n".join(map(printable, block.text.split("\n")))
        fence = "`" * max(3, _longest_run(text) + 1)
        return f"{fence}{block.language}\n{text}\n{fence}"
    if isinstance(block, FactTable):
        rows = [f"| {_plain(name)} | {_cell(value)} |" for name, value in block.rows]
        return "\n".join(["| | |", "|---|---|", *rows])
    return _plain(block)


def _plain(text: str) -> str:
    """Return text in which Markdown finds no markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(text))


def _cell(text: str) -> str:
    """Return text as code in a cell of a table, where a bar ends the cell also within code."""
    text = printable(text).replace("|", "\\|")
    marks = "`" * (_longest_run(text) + 1)
    padding = " " if "`" in text else ""
    return f"{marks}{padding}{text}{padding}{marks}" if text else ""


def _longest_run(text: str) -> int:
    return max(map(len, re.findall(r"`+", text)), default=0)
