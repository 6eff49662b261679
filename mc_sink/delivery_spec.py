"""The frozen specification of one delivery. The rows, the files, the store and the preview all read this one object."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mc_sink.keys import Partitioning
from mc_sink.storage import Stores

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Iterator, Mapping

    import polars as pl

    from mc_sink._frames import Frame
    from mc_sink.encryption import Cipher
    from mc_sink.formats import Format
    from mc_sink.keys import FileNames
    from mc_sink.object_options import ObjectOptions
    from mc_sink.presets import Preset
    from mc_sink.staged import IfExists, ManifestForm, NoteHidden, OnEmpty, Report, Staged, Stale
    from mc_sink.storage import SupportMemory
    from mc_sink.target import Target
    from mc_sink.validation import OnInvalid, SchemaLike


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class DeliverySpec:
    """The caller's options, resolved: every value is chosen and checked, and nothing has been opened.

    The options that are not explained here keep the meaning that they have in `sink_madconnect`.

    names
        The names of the files. They hold the target and the run id.
    run_id_given
        Whether the caller chose the run id, so that an earlier attempt of this run may exist.
    include_key
        Whether the files have the partition columns. By default they don't in Hive folders, whose readers restore them,
        and do under a custom template.
    rejects
        The file of the rejected rows and its format; None where invalid rows fail the run.
    manifest, success_marker
        Where they will be written; None where the delivery has none.
    cipher
        The encryption of the files, with checked keys; None where they are written in the clear.
    lost
        The options of the preset's dialect that the caller's own format leaves out.
    support_memory
        What the saved platform remembers of its stores.
    report
        What is called when an upload has begun; see `Delivery.stage`.
    note
        What is called before a hidden file is made; see `mc_sink.publishing.hidden_files`.
    """

    names: FileNames
    run_id_given: bool
    format: Format
    row_group_size: int
    max_rows_per_file: int | None
    max_bytes_per_file: int | None
    partition_by: tuple[str, ...]
    include_key: bool
    schema: SchemaLike | None
    on_invalid: OnInvalid
    rejects: tuple[Target, Format] | None
    max_rejects: float | None
    min_rows: int | None
    on_empty: OnEmpty
    if_exists: IfExists
    stale: Stale
    previous: Frame | str | os.PathLike[str] | None
    action_column: str
    keys: tuple[str, ...]
    manifest: Target | None
    manifest_form: ManifestForm
    success_marker: Target | None
    preset: Preset | None
    lost: tuple[str, ...]
    cipher: Cipher | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    support_memory: SupportMemory | None
    progress: bool | None
    report: Report | None = None
    note: NoteHidden = lambda _url, _place: None

    def __repr__(self) -> str:
        return "DeliverySpec(…)"  # the values may be credentials and cells

    @property
    def target(self) -> Target:
        """The target of the delivery."""
        return self.names.target

    @property
    def repeatable(self) -> bool:
        """Whether a file that is found at its key, with the same bytes, must be this run's own."""
        return self.run_id_given or self.names.are_its_own

    @property
    def records_begun(self) -> bool:
        """Whether each attempt is recorded in the store before its first file is visible; see `publishing.begun`."""
        stem = self.names.stem.path[len(self.target.path) :]  # without the run id, it begins other runs' names too
        is_wide = self.target.protocol == "s3" and bool(self.partition_by) and self.names.run_id not in stem
        return is_wide and self.run_id_given and self.if_exists == "fail" and self.manifest is not None

    def stores(self) -> Stores:
        """Return the stores of the target and the rejects. They are opened when they are first needed."""
        return Stores(self.storage_options, self.object_options, self.support_memory, self.report, self.note)

    def check_places(self, stores: Stores) -> None:
        """Raise for a store that can't be used, before a row is read; sends nothing.

        Where an earlier attempt has published on a disk, nothing may be left to write, and nothing is tried.
        """
        store, names, is_local = stores.of(self.target), self.names, self.target.protocol == "file"
        if is_local and self.run_id_given:
            stem = names.stem if names.target.is_prefix else names.target
            if names.of_this_run(store.listing(stem, exact=not names.target.is_prefix)):
                return
        for place in (self.target, *(self.rejects or ())[:1]):
            stores.check(place, self.if_exists)

    def partitioning(self, schema: pl.Schema) -> Partitioning:
        """Return how rows with these columns are partitioned; raises `ConfigurationError` where they can't be."""
        return Partitioning(self.partition_by, schema, self.include_key)

    def check(self, schema: pl.Schema) -> pl.Schema:
        """Return the columns of the files. Raises for columns that the format or the receiver doesn't accept."""
        columns = self.partitioning(schema).file_schema
        self.format.check(columns)
        if self.preset:
            in_folders = self.partition_by if self.names.has_folders and not self.include_key else ()
            self.preset.check(columns, self.format, in_folders=in_folders)
        return columns

    def watch(self, batches: Generator[pl.DataFrame, None, None]) -> Generator[pl.DataFrame, None, None]:
        """Pass batches on, and raise for cells and rows that the receiver doesn't accept."""
        with closing(batches):  # the query ends at once, even while the error is kept
            yield from self._watched(batches, self.preset) if self.preset else batches

    def _watched(self, batches: Iterable[pl.DataFrame], preset: Preset) -> Iterator[pl.DataFrame]:
        later = {"fewest rows per file"} if self.on_empty == "skip" else set()  # a skipped delivery has no file
        if self.names.is_numbered:  # `check_files` counts the rows of each file
            later = {"rows per file", "fewest rows per file"}
        limits = tuple(limit for limit in preset.limits if limit.name not in later)
        left_out = () if self.include_key else self.partition_by
        return replace(preset, limits=limits).watch(batches, self.format, left_out=left_out)

    def check_files(self, staged: Staged) -> None:
        """Raise for finished files that the receiver doesn't accept."""
        if self.preset:
            for file in staged.files:
                name = file.path.removesuffix(self.cipher.suffix) if self.cipher else file.path
                self.preset.check_name(name, self.format)
                self.preset.check_file(file, self.format)
