"""What an order comes to: target, names, format and bounds, and what a receiver can take of them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mc_sink.partitions import Partitioning

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import polars as pl

    from mc_sink.formats import Format
    from mc_sink.names import Names
    from mc_sink.presets import Preset
    from mc_sink.staged import ManifestForm, OnEmpty, Staged
    from mc_sink.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """What a delivery writes, and as what; `rejects` is where bad rows go, if they are to go anywhere.

    `again` says that the caller chose the run id, so that there may have been an earlier try of this very run. `lost`
    are the options of the preset's dialect that the caller's own format leaves out.
    """

    names: Names
    format: Format
    row_group_size: int
    max_rows_per_file: int | None
    max_bytes_per_file: int | None
    partition_by: tuple[str, ...]
    include_key: bool
    rejects: tuple[Target, Format] | None
    manifest: Target | None
    manifest_form: ManifestForm
    success_marker: Target | None
    preset: Preset | None
    again: bool
    on_empty: OnEmpty
    lost: tuple[str, ...] = ()

    def check(self, schema: pl.Schema) -> pl.Schema:
        """Give the columns of the files, and refuse those that their format or their receiver can't take."""
        columns = self.partitioning(schema).file_schema
        self.format.check(columns)
        if self.preset:
            self.preset.check(columns, self.format)
        return columns

    def watch(self, batches: Generator[pl.DataFrame, None, None]) -> Generator[pl.DataFrame, None, None]:
        """Pass batches on, and refuse cells and rows that the receiver can't take; rows of several files come later."""
        with closing(batches):  # also while somebody holds on to what was raised
            yield from self._watched(batches, self.preset) if self.preset else batches

    def _watched(self, batches: Iterable[pl.DataFrame], preset: Preset) -> Iterator[pl.DataFrame]:
        later = {"fewest rows per file"} if self.on_empty == "skip" else set()  # no file may be what comes
        if self.names.several:
            later = {"rows per file", "fewest rows per file"}
        on_the_way = [limit for limit in preset.limits if limit.name not in later]
        left_out = () if self.include_key else self.partition_by
        return replace(preset, limits=tuple(on_the_way)).watch(batches, self.format, left_out=left_out)

    def check_files(self, staged: Staged) -> None:
        """Refuse finished files that the receiver can't take."""
        if self.preset:
            for file in staged.files:
                self.preset.check_file(file, self.format)

    def partitioning(self, schema: pl.Schema) -> Partitioning:
        """Say how rows with these columns are divided; raises `ConfigurationError` where they can't be."""
        return Partitioning(self.partition_by, schema, self.include_key)

    @property
    def repeatable(self) -> bool:
        """Whether a file that is found at its key, with the same bytes, must be this run's own."""
        return self.again or self.names.are_its_own
