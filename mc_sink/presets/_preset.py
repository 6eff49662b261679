"""A receiver as plain values; the caller's own replace them with `dataclasses.replace`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mc_sink.presets._limit import Found, refusal
from mc_sink.presets._schema import check_schema
from mc_sink.presets._watch import watched

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import polars as pl

    from mc_sink.formats import Format
    from mc_sink.presets._limit import Limit

    Batches = Generator[pl.DataFrame, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What a receiver documents: how files are written, cut and named, and what they may hold.

    `format` is the format and dialect. `file_name` is the template for names under a prefix (docs/names.md), None for
    the default one. `max_rows_per_file` and `max_bytes_per_file` (as stored, in `format`) say where files are cut.
    `manifest` and `success_marker` are as in `sink_madconnect`. `limits` are checked; who knows better leaves one
    out:

        replace(preset, limits=tuple(limit for limit in preset.limits if limit.name != "row size"))
    """

    name: str
    format: Format
    file_name: str | None = None
    max_rows_per_file: int | None = None
    max_bytes_per_file: int | None = None
    manifest: Literal["redshift", True] | None = None
    success_marker: bool = False
    limits: tuple[Limit, ...] = ()

    def bytes_per_file(self, format: Format) -> int | None:
        """Give the size, as stored, at which files of a format are to be cut: `max_bytes_per_file` for its own."""
        if format.extension == self.format.extension:
            return self.max_bytes_per_file
        sizes = [limit.number for limit in self.limits if limit.name == "file size" and limit.holds_for(format)]
        return min(sizes, default=None)

    def check(self, schema: pl.Schema, format: Format | None = None) -> None:
        """Raise `LimitError` for a format, columns, headers or dtypes that the receiver doesn't take.

        `schema` is that of the files, partition columns left out where the files leave them out.
        """
        check_schema(self.name, self.limits, schema, format or self.format)

    def check_file(self, num_bytes: int, url: str, format: Format | None = None) -> None:
        """Raise `LimitError` for a finished file, not yet visible, that is larger than the receiver takes."""
        for limit in self.limits:
            if limit.name == "file size" and limit.holds_for(format or self.format) and num_bytes > limit.number:
                raise refusal(self.name, limit, Found(num_bytes, "bytes", url))

    def watch(self, batches: Iterable[pl.DataFrame], format: Format | None = None) -> Batches:
        """Pass batches on untouched, and raise `LimitError` before the first that has a cell or row that is too large.

        Rows are counted too: more than a file may hold, unless `max_rows_per_file` cuts files in time (None: there is
        one file), and fewer than it must hold. What no limit asks for isn't computed.
        """
        yield from watched(self.name, self.limits, batches, format or self.format, self.max_rows_per_file)
