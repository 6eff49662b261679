"""What a format is: a value that can say what it can't carry, and have Polars write the rest into a file object."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from polars.selectors import by_name

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from mc_sink.receipt import CountedWarning


class BinaryFile(Protocol):
    """All that engines and encoders ask of a file."""

    def write(self, data: bytes) -> int:
        """Take bytes."""

    def flush(self) -> None:
        """Do whatever flushing is."""

    def tell(self) -> int:
        """Bytes taken so far."""


class Runs(Protocol):
    """Rows that an encoder is run for more than once: each run of a plan yields those that follow the run before."""

    @property
    def ended(self) -> bool:
        """Whether the rows of the run that is under way, or was last, have all been given."""

    @property
    def more(self) -> bool:
        """Whether more rows follow those of that run."""

    @property
    def num_rows(self) -> int:
        """Rows that have been given in all runs."""


class Gathers(NamedTuple):
    """What an encoder holds at once: it gathers `num_rows` rows, which should be no more than `num_bytes`."""

    num_rows: int
    num_bytes: int


@runtime_checkable
class Format(Protocol):
    """A frozen value that knows its suffix and media type, and how to encode a frame."""

    @property
    def extension(self) -> str:
        """The suffix of a file's name, with its dot."""

    @property
    def content_type(self) -> str:
        """The media type that a store should note."""

    def gathers(self, row_group_size: int) -> Gathers:
        """Return how many rows the encoder gathers in memory, whatever they take, and what they should take at most."""

    def check(self, schema: pl.Schema) -> None:
        """Refuse columns that this format can't carry, by name and dtype, before the first byte."""

    def write(
        self,
        frame: pl.LazyFrame,
        file: BinaryFile,
        row_group_size: int,
        *,
        metadata: Mapping[str, str] | None = None,
        runs: Runs | None = None,
    ) -> tuple[CountedWarning, ...]:
        """Run the query and encode its rows into `file`, in order; returns when all bytes are written.

        With `runs`, the query is run again as long as more rows follow, and all of them make one file. `metadata` are
        facts about the delivery, kept in the file where the format has a place for them. What comes back is what the
        receiver should be told about the cells, counted.
        """


def refuse_dtypes(schema: pl.Schema, format_name: str, refused: Callable[[pl.DataType], bool], advice: str) -> None:
    """Raise `ConfigurationError` that names every column whose dtype `refused` picks."""
    found = [f"{name!r} ({dtype})" for name, dtype in schema.items() if refused(dtype)]
    if found:
        raise ConfigurationError(
            f"{len(found)} column(s) can't be written as {format_name}: {', '.join(found)}. {advice} Nothing was sent."
        )


def column_named(name: str) -> pl.Expr:
    """Give the column of that name and no other; `pl.col` takes "*" and "^a$" for patterns."""
    return by_name(name).as_expr()


def as_io(file: BinaryFile) -> IO[bytes]:
    """Call a file what Polars' types call it; measured: it asks for no more than `BinaryFile` has."""
    return cast("IO[bytes]", file)
