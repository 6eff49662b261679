"""A receiver's documented requirements as a plain value, and the checks of a delivery against its limits.

preset = replace(preset_of("excel"), max_rows_per_file=None)    the caller's own arguments override
preset.check(schema)                                            columns, headers and dtypes, before the run
batches = preset.watch(batches)                                 cells, rows and their number, on the way
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import polars as pl

from mc_sink._argument_kinds import check_kinds
from mc_sink._display import logger
from mc_sink._hints import hints_fields
from mc_sink.formats import Csv, Format, Parquet, options_of
from mc_sink.presets.limit import Excess, Limit, refusal
from mc_sink.presets.limit_checks import (
    check_schema,
    forbidden_characters,
    long_cells,
    long_numbers,
    long_rows,
    many_line_ends,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from mc_sink.presets.limit import LimitName
    from mc_sink.staged import StagedFile

    Batches = Generator[pl.DataFrame, None, None]
    Look = Callable[[Limit, Format, pl.DataFrame, int], Excess | None]

_log = logger(__name__)
_OF_FILES = {"file size", "rows per file", "fewest rows per file"}
_LOOKS: dict[LimitName, Look] = {
    "cell size": long_cells,
    "forbidden characters": forbidden_characters,
    "line ends in a cell": many_line_ends,
    "digits of a number": long_numbers,
    "row size": long_rows,
}


@hints_fields({})
@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The documented requirements of a receiver: how files are written, split and named, and the limits of the data.

    `format` is the usual format and dialect, `other_formats` are the dialects of other kinds of file. `file_name` is
    the template for names under a prefix (docs/names.md), None for the default. `max_rows_per_file` and
    `max_bytes_per_file` (as stored, in `format`) are where files are split. `manifest` and `success_marker` are as in
    `sink_madconnect`. `limits` are checked; to leave one out:

        replace(preset, limits=tuple(limit for limit in preset.limits if limit.name != "row size"))
    """

    name: str
    format: Format
    other_formats: tuple[Format, ...] = ()
    file_name: str | None = None
    max_rows_per_file: int | None = None
    max_bytes_per_file: int | None = None
    manifest: Literal["redshift", True] | None = None
    success_marker: bool = False
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        check_kinds(self, Format=Format, Limit=Limit)

    @property
    def dialects(self) -> tuple[Format, ...]:
        """The dialects of all kinds of file that the preset knows, the usual one first."""
        return (self.format, *self.other_formats)

    @property
    def takes_every_file(self) -> bool:
        """Whether the receiver takes every file for data, so that none may lie beside it."""
        return any(limit.name == "other files" for limit in self.limits)

    def bytes_per_file(self, format: Format) -> int | None:
        """Return the stored size at which files of a format are split: `max_bytes_per_file` for the preset's own."""
        if format.extension == self.format.extension:
            return self.max_bytes_per_file
        sizes = [limit.number for limit in self.limits if limit.name == "file size" and limit.holds_for(format)]
        return min(sizes, default=None)

    def lost_in(self, format: object) -> tuple[str, ...]:
        """Return the options of the preset's dialect that the caller's own format leaves out.

        A name such as "csv.gz" changes only the compression. Another kind of file has other options.
        """
        dialect = next((one for one in self.dialects if isinstance(format, type(one))), None)
        if not isinstance(format, Csv | Parquet) or dialect is None:
            return ()
        ours, usual, given = options_of(dialect), options_of(type(dialect)()), options_of(format)
        names = [name for name in ours if not name.startswith("compression")]
        return tuple(f"{n}={ours[n]!r}" for n in names if ours[n] != usual[n] and given[n] != ours[n])

    def check(self, schema: pl.Schema, format: Format | None = None, *, in_folders: Sequence[str] = ()) -> None:
        """Raise `LimitError` for a format, columns, headers or dtypes that the receiver doesn't accept.

        `schema` has the columns of the files. `in_folders` are partition columns that only the folders have: for the
        receiver, their names are those of columns.
        """
        check_schema(self.name, self.limits, schema, format or self.format, in_folders)

    def check_other_files(self, files: Sequence[str]) -> None:
        """Raise `LimitError` for files besides the data, if the receiver takes every file for data."""
        for limit in self.limits:
            if limit.name == "other files" and len(files) > limit.number:
                raise refusal(self.name, limit, Excess(len(files), "file", ", ".join(files)))

    def check_name(self, url: str, format: Format | None = None) -> None:
        """Raise `LimitError` for a file whose name, without the suffix of an encryption, the receiver doesn't take."""
        name, extension = url.rpartition("/")[2], (format or self.format).extension
        if any(limit.name == "format" and extension not in limit.texts for limit in self.limits):
            return  # `check` refuses the format
        for limit in self.limits:
            is_meant = limit.name == "file names" and limit.holds_for(format or self.format)
            if is_meant and not re.fullmatch(str(limit.value), name):
                raise refusal(self.name, limit, Excess(1, "file name", repr(name)))

    def check_file(self, file: StagedFile, format: Format | None = None) -> None:
        """Raise `LimitError` for a finished, invisible file with too many or too few rows or bytes."""
        for limit in self.limits:
            if limit.name in _OF_FILES and limit.holds_for(format or self.format):
                number, what = (file.num_bytes, "byte") if limit.name == "file size" else (file.num_rows, "row")
                if number < limit.number if limit.name == "fewest rows per file" else number > limit.number:
                    raise refusal(self.name, limit, Excess(number, what, file.path))

    def watch(
        self, batches: Iterable[pl.DataFrame], format: Format | None = None, *, left_out: Sequence[str] = ()
    ) -> Batches:
        """Yield batches unchanged, and raise `LimitError` before the first with a cell or row that is too large.

        `left_out` are columns that the files don't have. The rows of a single file are counted too; `check_file` counts
        those of several files. Only values that a limit needs are computed.
        """
        bound = self.max_rows_per_file
        yield from watched(self.name, self.limits, batches, format or self.format, bound, left_out=left_out)


def watched(  # noqa: PLR0913  the limits, and the facts of the delivery
    preset: str,
    limits: Sequence[Limit],
    batches: Iterable[pl.DataFrame],
    format: Format,
    max_rows: int | None,
    *,
    left_out: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Yield batches, and raise `LimitError` before one that breaks a limit, or at the end for too few rows."""
    limits = [limit for limit in limits if limit.holds_for(format)]
    looks = [(limit, partial(_LOOKS[limit.name], limit, format)) for limit in limits if limit.name in _LOOKS]
    most = [limit for limit in limits if limit.name == "rows per file" and limit.number < (max_rows or math.inf)]
    num_rows = 0
    for batch in batches:
        seen = pl.DataFrame([column for column in batch.get_columns() if column.name not in left_out])
        for limit, look in tuple(looks):
            if (found := look(seen, num_rows)) is not None:
                error = refusal(preset, limit, found)
                if not limit.is_soft:
                    raise error
                _log.warning("%s", error.args[0])
                looks.remove((limit, look))
        num_rows += batch.height
        for limit in most:
            if num_rows > limit.number:
                raise refusal(preset, limit, Excess(num_rows, "row", "or more, for one file"))
        yield batch
    least = (num_rows % max_rows or max_rows) if max_rows and num_rows > max_rows else num_rows
    for limit in limits:
        if limit.name == "fewest rows per file" and least < limit.number:
            raise refusal(preset, limit, Excess(least, "row", "in the smallest file" if least < num_rows else ""))
