"""The planned files of a delivery: their names, their columns and format, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.keys import Partitioning
from mc_sink.storage import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl

    from mc_sink.formats import Format
    from mc_sink.keys import FileNames, Partition
    from mc_sink.storage import Store
    from mc_sink.target import Target


def check_files_apart(url: str, run_id: str, waiting: frozenset[str]) -> None:
    """Raise if another staged part of the run has a file at the same URL."""
    if url in waiting:
        raise ConfigurationError(
            f"A file of run {run_id} is already staged for {url} and waits to be published, and this part would have "
            f"the same name. Give each part names and rejects= of its own, or discard the staged file."
        )


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryPlan:
    """How a delivery is divided into files.

    `max_rows` and `max_bytes` bound a file, the latter as it is stored. Without both, each partition is one file.
    `partition_by` names columns of `schema`; the files don't have them unless `include_key` is set.
    `already_published` are URLs of files that a previous attempt published, and `waiting` URLs that another part of the
    run has staged. `folder` is for rows that wait on disk, by default where temporary files go. `metadata` is stored in
    formats that have a place for it.
    """

    names: FileNames
    schema: pl.Schema
    format: Format
    row_group_size: int
    max_rows: int | None
    already_published: frozenset[str]
    max_bytes: int | None = None
    partition_by: tuple[str, ...] = ()
    include_key: bool = False
    folder: str | None = None
    metadata: Mapping[str, str] | None = None
    waiting: frozenset[str] = frozenset()

    @property
    def is_one_file(self) -> bool:
        """Whether exactly one file is made, of any rows."""
        return self.max_rows is None and self.max_bytes is None and not self.partition_by

    @property
    def partitioning(self) -> Partitioning:
        """How rows are divided; raises `ConfigurationError` if they can't be."""
        return Partitioning(self.partition_by, self.schema, self.include_key)

    def files(self, schema: pl.Schema, partition: Partition | None = None) -> Iterator[FilePlan]:
        """Plan one file after the other, numbered from 0, for one partition or for all rows."""
        for part in count():
            named = self.names.file(part, partition.folder, partition.names) if partition else self.names.file(part)
            check_files_apart(named.url, self.names.run_id, self.waiting)
            yield FilePlan(
                named,
                schema,
                self.format,
                self.row_group_size,
                is_numbered=self.names.is_numbered,
                already_published=named.url in self.already_published,
                partition=partition,
                metadata=self.metadata,
            )


@dataclass(frozen=True, slots=True, eq=False)
class FilePlan:
    """One planned file: its URL, columns and format.

    `is_numbered` means that it is one of several, `already_published` that a previous attempt published it. `metadata`
    is stored in formats that have a place for it.
    """

    target: Target
    schema: pl.Schema
    format: Format
    row_group_size: int
    is_numbered: bool = False
    already_published: bool = False
    partition: Partition | None = None
    metadata: Mapping[str, str] | None = None

    def open(self, store: Store) -> Writer:
        """Open the file for writing, or for comparison with the file that a previous attempt published."""
        if self.already_published:
            return Writer(store.compare(self.target))
        return Writer(store.open(self.target, self.format.content_type, several=self.is_numbered))
