"""The planned files: their names, their contents, and their limits."""

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
    """Raise where another part of the run is to have a file at the same URL."""
    if url in waiting:
        raise ConfigurationError(
            f"1 file of run {run_id} is already staged for {url} and waits to be published, and this part would have "
            f"the same name. Give each part names and rejects= of its own, or discard what is staged."
        )


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryPlan:
    """The files to be: their names, columns and format, what each may hold at most, and which are there already.

    `max_rows` and `max_bytes` bound a file, the latter as it is stored; without both, all rows of a partition are one.
    `partition_by` are columns of `schema`, left out of the files unless `include_key`. What has to wait for its file
    waits in `folder`, by default where temporary files go. `metadata` are facts about the run. `waiting` are URLs that
    another part of the run has staged.
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
        """Whether there is one file, whatever comes."""
        return self.max_rows is None and self.max_bytes is None and not self.partition_by

    @property
    def partitioning(self) -> Partitioning:
        """How rows are divided; raises `ConfigurationError` where they can't be."""
        return Partitioning(self.partition_by, self.schema, self.include_key)

    def files(self, schema: pl.Schema, partition: Partition | None = None) -> Iterator[FilePlan]:
        """Plan one file after the other, numbered from 0: of one partition, or of all rows."""
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
    """One file to be: where, with which columns, in which format; one of `is_numbered`, or `already_published` already.

    `metadata` are facts about the run that a format may have a place for.
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
        """Take bytes for it, or compare them with those that an earlier try has published."""
        if self.already_published:
            return Writer(store.compare(self.target))
        return Writer(store.open(self.target, self.format.content_type, several=self.is_numbered))
