"""A documented limit of a receiver: the measure, the number, the unit and the source; and its error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mc_sink.exceptions import ConfigurationError, LimitError

if TYPE_CHECKING:
    from mc_sink.formats import Format

LimitName = Literal[
    "format",
    "columns",
    "nested columns",
    "header length",
    "header characters",
    "header prefixes",
    "duplicate headers",
    "dtypes",
    "cell size",
    "forbidden characters",
    "line ends in a cell",
    "digits of a number",
    "row size",
    "rows per file",
    "fewest rows per file",
    "file size",
    "file names",
    "other files",
]
# The unit decides how text is measured, and whether nested columns count.
Unit = Literal[
    "",
    "bytes",
    "bytes, compressed",
    "bytes, not compressed",
    "characters",
    "columns",
    "columns, nested ones included",
    "digits",
    "files",
    "headers",
    "line ends",
    "rows",
    "rows below the header",
]
# The dtypes that a limit can name, with the dtype to cast to.
DTYPES = {
    "Time": "String",
    "Datetime(ns)": "Datetime('us')",
    "UInt8": "Int16",
    "UInt16": "Int32",
    "UInt32": "Int64",
    "UInt64": "Int64 or Decimal(20, 0)",
    "Int128": "Decimal(38, 0)",
    "UInt128": "Decimal(38, 0)",
    "Float16": "Float32",
    "Duration": "Int64",
    "Boolean": "UInt8",
    "Null": "the column's dtype on other days",
}
CHARACTERS = {"backslash": "\\", "quote": '"', "NUL": "\0", "line-feed": "\n", "carriage-return": "\r", "tab": "\t"}
_OF_TEXT = {"format", "header characters", "header prefixes", "dtypes", "forbidden characters", "file names"}
_ADVICE: dict[LimitName, str] = {
    "format": "Choose another format=, or leave it to the preset.",
    "columns": "Select fewer.",
    "nested columns": "Unnest, cast or drop them, or choose Parquet where the receiver takes it.",
    "header length": "Rename them.",
    "header characters": "Rename them.",
    "header prefixes": "Rename them.",
    "duplicate headers": "Rename them: the receiver doesn't tell upper from lower case.",
    "dtypes": "Cast or drop them.",
    "forbidden characters": "Replace them in the query, or choose Parquet where the receiver takes it.",
    "cell size": "Shorten or split them in the query.",
    "line ends in a cell": "Replace line ends in the query.",
    "digits of a number": "Round them in the query (round_sig_figs for floats): the receiver keeps no more digits.",
    "row size": "Shorten cells, or select fewer columns.",
    "rows per file": "Deliver to a prefix with a max_rows_per_file within the limit.",
    "fewest rows per file": "Deliver more rows, or cut files elsewhere.",
    "file size": "Cut files smaller with max_bytes_per_file.",
    "file names": "Give name= and run_id= that make such names, or a file of such a name as the target.",
    "other files": "The receiver takes every file under the prefix for data. Leave them out, or write them elsewhere; "
    "shares can't do without a manifest, so deliver by sink_madconnect.",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A documented limit of a receiver, with its unit and the page that states it.

    name
        The measure, which decides the check.
    value
        The maximum ("fewest": the minimum). For "format" the accepted extensions, for "header characters" and "file
        names" a regular expression for a whole header, or the last part of a file's name without the suffix of an
        encryption; for "header prefixes", "dtypes" and "forbidden characters" the forbidden ones, each separated by a
        space. Characters have names: "backslash", "quote", "NUL", "line-feed", "carriage-return", "tab".
    unit
        One of a few texts. "characters" measures text in characters instead of bytes, and "columns, nested ones
        included" counts the fields inside columns too.
    formats
        The extensions that the limit is for; empty for all.
    is_soft
        Whether the receiver still takes data beyond it: then the run logs a warning. Only for cells and rows.
    """

    name: LimitName
    value: int | str
    unit: Unit
    source: str
    formats: tuple[str, ...] = ()
    is_soft: bool = False

    def __post_init__(self) -> None:
        if self.name not in get_args(LimitName):
            raise ConfigurationError(f"Cannot use Limit({self.name!r}). Give one of {', '.join(get_args(LimitName))}.")
        if self.unit not in get_args(Unit):
            raise ConfigurationError(f"Cannot use the unit {self.unit!r}. Give one of {get_args(Unit)}.")
        if isinstance(self.value, str) != (self.name in _OF_TEXT):
            kind = "a number" if isinstance(self.value, str) else "text"
            raise ConfigurationError(f"Cannot use Limit({self.name!r}, {self.value!r}). Give {kind}.")
        if self.name in {"header characters", "file names"}:
            try:
                re.compile(str(self.value))
            except re.error as error:
                raise ConfigurationError(
                    f"Cannot use Limit({self.name!r}, {self.value!r}): not a regular expression ({error}). Correct it."
                ) from None
        known = {"dtypes": DTYPES, "forbidden characters": CHARACTERS}.get(self.name)
        if known and (unknown := [text for text in self.texts if text not in known]):
            raise ConfigurationError(
                f"Cannot use Limit({self.name!r}, {self.value!r}): {unknown[0]} is unknown. "
                f"Give some of {' '.join(known)}."
            )

    def __str__(self) -> str:
        return " ".join(filter(None, (self.shown, self.unit)))

    @property
    def shown(self) -> str:
        """The value, with commas between thousands."""
        return self.value if isinstance(self.value, str) else f"{self.value:,}"

    @property
    def number(self) -> int:
        """The value of a limit that is a number."""
        return int(self.value)

    @property
    def texts(self) -> tuple[str, ...]:
        """The values of a limit that are several texts."""
        return tuple(str(self.value).split(" "))

    def holds_for(self, format: Format) -> bool:
        """Return whether the limit is for files of this format."""
        return not self.formats or format.extension in self.formats


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """What breaks a limit: a number, a noun in the singular with what follows it ("of column 'a'"), and a place."""

    number: int
    noun: str
    where: str = ""
    owner: str = ""
    advice: str = ""


def refusal(preset: str, limit: Limit, found: Excess) -> LimitError:
    """Return the error with the excess, its place, the limit and the remedy. Cells are never shown."""
    noun = found.noun if found.number == 1 else f"{found.noun}s"
    breaks = "breaks" if found.number == 1 else "break"
    return LimitError(
        f'{found.number:,} {noun}{found.owner}{found.where and f" ({found.where})"} {breaks} "{limit.name}" of '
        f'the preset "{preset}": {limit} ({limit.source}). {found.advice or _ADVICE[limit.name]}',
        preset=preset,
        limit=limit.name,
    )
