"""The protocol of a format: a value that refuses what it can't hold, and has Polars encode the rest into a file."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from polars.selectors import by_name

from mc_sink._display import counted
from mc_sink._nested import dtype_shown
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from mc_sink._frames import Batches
    from mc_sink.receipt import CountedWarning


class BinaryFile(Protocol):
    """The methods of a file that engines and encoders call."""

    def write(self, data: bytes) -> int:
        """Write bytes and return their number."""

    def flush(self) -> None:
        """Write out buffered bytes, where the file has a buffer."""

    def tell(self) -> int:
        """Return the number of bytes written so far."""


class Runs(Protocol):
    """Rows of the columns `schema`, for an encoder that is run for them once, or again as long as `more` follow."""

    schema: pl.Schema

    def pull(self) -> Batches:
        """Yield the rows of the next run; called on an engine's thread."""

    @property
    def ended(self) -> bool:
        """Whether the current or last run has yielded all its rows."""

    @property
    def more(self) -> bool:
        """Whether rows follow those of that run."""

    @property
    def num_rows(self) -> int:
        """Rows yielded in all runs."""


class OneRun:
    """Rows that are encoded in one run."""

    def __init__(self, batches: Batches, schema: pl.Schema) -> None:
        self._batches, self.schema = batches, schema
        self.ended = self.more = False
        self.num_rows = 0

    def pull(self) -> Batches:
        """Yield all batches."""
        for batch in self._batches:
            yield batch
            self.num_rows += batch.height
        self.ended = True


class Renamed:
    """Runs whose columns have other names in the files."""

    def __init__(self, runs: Runs, names: Mapping[str, str]) -> None:
        self._runs, self._names = runs, names
        self.schema = type(runs.schema)({names[name]: dtype for name, dtype in runs.schema.items()})

    def pull(self) -> Batches:
        """Yield all batches, renamed."""
        return (batch.rename(self._names) for batch in self._runs.pull())

    @property
    def ended(self) -> bool:
        """Whether the current or last run has yielded all its rows."""
        return self._runs.ended

    @property
    def more(self) -> bool:
        """Whether rows follow those of that run."""
        return self._runs.more

    @property
    def num_rows(self) -> int:
        """Rows yielded in all runs."""
        return self._runs.num_rows


class Gathers(NamedTuple):
    """What an encoder holds at once: it gathers `num_rows` rows, which should take no more than `num_bytes`."""

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
        """The media type to store with a file."""

    def gathers(self, row_group_size: int) -> Gathers:
        """Return how many rows the encoder gathers in memory, however large they are, and how many bytes it should."""

    def check(self, schema: pl.Schema) -> None:
        """Raise for columns that this format can't hold, with their names and dtypes, before the first byte."""

    def write(
        self, runs: Runs, file: BinaryFile, row_group_size: int, *, metadata: Mapping[str, str] | None = None
    ) -> tuple[CountedWarning, ...]:
        """Encode rows into `file`, in order; return when all bytes are written.

        All runs make one file. `metadata` are facts about the delivery, stored in the file if the format has a place
        for them. The counted warnings are about cells that the receiver should know of.
        """


def refuse_dtypes(schema: pl.Schema, format_name: str, refused: Callable[[pl.DataType], bool], advice: str) -> None:
    """Raise `ConfigurationError` naming every column for whose dtype `refused` is true."""
    found = [f"{name!r} ({dtype_shown(dtype)})" for name, dtype in schema.items() if refused(dtype)]
    if found:
        raise ConfigurationError(
            f"{counted(len(found), 'column')} can't be written as {format_name}: {', '.join(found)}. {advice}"
        )


def column_named(name: str) -> pl.Expr:
    """Return the column of exactly that name; `pl.col` would treat "*" and "^a$" as patterns."""
    return by_name(name).as_expr()


def as_io(file: BinaryFile) -> IO[bytes]:
    """Cast a file to the type that Polars declares; measured, it calls only the methods of `BinaryFile`."""
    return cast("IO[bytes]", file)
