"""A limit as a receiver documents it: what is measured, the number, its unit and where it stands; and how to refuse."""

from __future__ import annotations

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
    "cell size",
    "line ends in a cell",
    "digits of a number",
    "row size",
    "rows per file",
    "fewest rows per file",
    "file size",
]
_ADVICE: dict[LimitName, str] = {
    "format": "Choose another format=, or leave it to the preset.",
    "columns": "Select fewer.",
    "nested columns": "Unnest, cast or drop them, or choose Parquet where the receiver takes it.",
    "header length": "Rename them.",
    "header characters": "Rename them.",
    "header prefixes": "Rename them.",
    "duplicate headers": "Rename them: the receiver doesn't tell upper from lower case.",
    "cell size": "Shorten or split them in the query.",
    "line ends in a cell": "Replace line ends in the query.",
    "digits of a number": "Drop or shorten the numbers: the receiver makes zeros of the digits behind.",
    "row size": "Shorten cells, or select fewer columns.",
    "rows per file": "Deliver to a prefix with a max_rows_per_file within the limit.",
    "fewest rows per file": "Deliver more rows, or cut files elsewhere.",
    "file size": "Cut files smaller with max_bytes_per_file.",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that a receiver documents, with its unit and the page that it stands on.

    `name` says what is measured, and so which check it is for. `value` is the most there may be ("fewest": the least);
    for "format" the extensions that are taken, for "header characters" a regular expression of the whole header, for
    "header prefixes" what none may begin with. `formats` are the extensions that the limit is for; empty for all.
    """

    name: LimitName
    value: int | str
    unit: str
    source: str
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in get_args(LimitName):
            raise ConfigurationError(f"Limit({self.name!r}) is none of {', '.join(get_args(LimitName))}.")
        if isinstance(self.value, str) != (self.name in {"format", "header characters", "header prefixes"}):
            raise ConfigurationError(
                f"Limit({self.name!r}, {self.value!r}): a number stands for a text, or a text for one."
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
        """Whether files of this format have the limit."""
        return not self.formats or format.extension in self.formats


@dataclass(frozen=True, slots=True, eq=False)
class Excess:
    """What breaks a limit: how many of what, and where."""

    number: int
    what: str
    where: str = ""


def refusal(preset: str, limit: Limit, found: Excess) -> LimitError:
    """Say how many of what break the limit, where, and what to do; cells are never shown."""
    return LimitError(
        f'{found.number:,} {found.what}{found.where and f" ({found.where})"} break "{limit.name}" of the preset '
        f'"{preset}": {limit}, says {limit.source}. {_ADVICE[limit.name]}',
        preset=preset,
        limit=limit.name,
    )
