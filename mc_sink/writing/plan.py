"""The planned files: their names, their contents, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.storage import Writer

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    import polars as pl

    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.encryption import Cipher
    from mc_sink.formats import Format
    from mc_sink.keys import Partition
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
    """The files of a delivery: its specification, and the facts that are known only after its rows are open.

    schema
        The columns of the rows, with the partition columns.
    already_published
        URLs of this run's files that an earlier attempt published.
    waiting
        URLs that another part of the run has staged.
    metadata
        Facts about the run, for formats that can store them.
    folder
        Where rows are buffered on disk; None for the default folder of temporary files.
    """

    spec: DeliverySpec
    schema: pl.Schema
    already_published: Container[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    metadata: Mapping[str, str] | None = None
    folder: str | None = None

    @property
    def is_one_file(self) -> bool:
        """Whether the delivery has exactly one file, however many rows it has."""
        spec = self.spec
        is_whole = spec.names.share is None  # a share without rows has no file
        return is_whole and spec.max_rows_per_file is None and spec.max_bytes_per_file is None and not spec.partition_by

    def files(self, schema: pl.Schema, partition: Partition | None = None) -> Iterator[FilePlan]:
        """Yield the plans of the files of one partition, or of all rows, numbered from 0."""
        names = self.spec.names
        for part in count():
            target = names.file(part, partition.folder, partition.names) if partition else names.file(part)
            check_files_apart(target.url, names.run_id, self.waiting)
            yield FilePlan(
                target,
                schema,
                self.spec.format,
                self.spec.row_group_size,
                several=names.is_numbered or bool(self.waiting),
                already_published=target.url in self.already_published,
                partition=partition,
                metadata=self.metadata,
                cipher=self.spec.cipher,
            )


@dataclass(frozen=True, slots=True, eq=False)
class FilePlan:
    """One file to be: where, with which columns, in which format; one of `several`, or `already_published` already.

    `metadata` are facts about the run that a format may have a place for; `cipher` encrypts the file.
    """

    target: Target
    schema: pl.Schema
    format: Format
    row_group_size: int
    several: bool = False
    already_published: bool = False
    partition: Partition | None = None
    metadata: Mapping[str, str] | None = None
    cipher: Cipher | None = None

    @property
    def extension(self) -> str:
        """The end of the file's name."""
        return self.format.extension + (self.cipher.suffix if self.cipher else "")

    def open(self, store: Store) -> Writer:
        """Open a writer that stores the file, or that compares it with what an earlier attempt published."""
        if self.already_published:
            return Writer(store.compare(self.target))
        media_type = (self.cipher or self.format).content_type
        return Writer(store.open(self.target, media_type, several=self.several))
