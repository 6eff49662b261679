"""Preview a delivery without running it: the keys it would create, the permissions and uploads it needs.

Nothing is sent, and no store is written to or listed. Errors that the run would raise before its first byte are raised
here with the same message.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink import _display, validation
from mc_sink._arrow import empty_batch
from mc_sink._display import counted, labelled, lines
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.fork_guard import check_fork
from mc_sink.exceptions import panics_as_query_errors
from mc_sink.formats import Parquet
from mc_sink.secret import seals_options
from mc_sink.sink.options import SinkOptions, takes_options
from mc_sink.sink.own_source import refuse_own_frames
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.spec import resolve, schema_name
from mc_sink.target import RENAMES
from mc_sink.writing import DeliveryPlan, foreseen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Unpack

    from mc_sink._frames import Frame
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.formats import Format
    from mc_sink.object_options import ObjectOptions
    from mc_sink.sink.options import Options

MIB = 2**20
# The number of file and column names that are shown.
SHOWN = 20
# The store's defaults for uploads. tests/sink/test_preview.py compares them with the store's own.
PART_SIZE, IN_FLIGHT = 16 * MIB, 256 * MIB  # at most, where more parts at once make an upload faster
# The number of file names that are listed where the number of files is unknown.
FIRST = 3


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """How an object would be uploaded to S3: in parts of `part_size` bytes, with `in_flight` of them at once at most.

    An object smaller than a part is sent whole. From the 901st part on, parts double in size, and fewer are in flight.
    Some stores accept only parts of one size; for these, `most_bytes` is the largest possible file, else None.
    """

    part_size: int
    in_flight: int
    most_bytes: int | None = None

    @property
    def num_bytes(self) -> int:
        """The memory of the first 900 parts of an object in bytes: those in flight, and one that is being filled."""
        return self.part_size * (self.in_flight + 1)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delivery would do. Holds no credentials.

    files, num_files
        The URLs of all files and their number. If the number is unknown before the run: the first URLs, and None.
    pattern
        A URL with the parts that differ from file to file in braces.
    rejects
        The URL of the rejected rows.
    columns
        The columns of the files; None for a frame that can be read only once or would have to be run.
    format, lost
        The format with its dialect, and the options of the preset's dialect that the caller's own format leaves out.
    permissions, upload
        The actions that S3 must allow, and how objects are uploaded; empty and None without S3.
    unkept
        A sentence for each promise that the store is known not to support, as learnt with a saved platform.
    """

    run_id: str
    target: str
    files: tuple[str, ...]
    num_files: int | None
    pattern: str
    manifest: str | None
    success_marker: str | None
    rejects: str | None
    format: Format
    row_group_size: int
    object_options: ObjectOptions | None
    columns: tuple[str, ...] | None
    permissions: tuple[str, ...]
    upload: UploadPlan | None
    preset: str | None = None
    lost: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()

    def __str__(self) -> str:
        return lines(*labelled(self._facts(), 12), *(f"  {url}" for url in self._shown()))

    def _repr_html_(self) -> str:
        return _display.facts(self._facts()) + _display.rows(("file",), [(url,) for url in self._shown()])

    def _facts(self) -> list[tuple[str, str]]:
        number = "as many files as the rows fill" if self.num_files is None else counted(self.num_files, "file")
        columns = "unknown before the run"
        if self.columns is not None:
            more = [f"and {len(self.columns) - SHOWN:,} more"] if len(self.columns) > SHOWN else []
            columns = ", ".join([*self.columns[:SHOWN], *more])
        groups = f", row groups of {self.row_group_size:,} rows" if isinstance(self.format, Parquet) else ""
        facts = {
            "would make": f"{number}; nothing was sent",
            "to": self.target,
            "run id": self.run_id,
            "manifest": self.manifest,
            "marker": self.success_marker,
            "rejects": self.rejects,
            "format": _non_default(self.format) + groups,
            "preset": self.preset,
            "lost": f"of the preset's dialect: {', '.join(self.lost)}" if self.lost else None,
            "columns": columns,
            "object": _non_default(self.object_options) if self.object_options else None,
            "needs": ", ".join(self.permissions),
            "uploads": _size(self.upload) if self.upload else None,
        }
        return [*((name, value) for name, value in facts.items() if value), *(("not kept", one) for one in self.unkept)]

    def _shown(self) -> Iterator[str]:
        yield from self.files[:SHOWN]
        if self.num_files is None:
            yield f"{self.pattern}, and so on"
        elif self.num_files > SHOWN:
            yield f"… and {self.num_files - SHOWN:,} more"


def _size(upload: UploadPlan) -> str:
    size, memory = upload.part_size / MIB, upload.num_bytes / MIB
    parts = counted(upload.in_flight, "part")
    plan = f"{parts} of {size:,.1f} MiB at once, up to {memory:,.1f} MiB of memory for the first 900 parts of a file"
    if upload.most_bytes is None:
        return plan
    most = upload.most_bytes / 2**30
    return (
        f"{plan}; all parts have one size, so a file can have at most {most:,.1f} GiB: a larger file needs a larger "
        "default_block_size in storage_options"
    )


def _non_default(options: object) -> str:
    """Return the text of a dataclass with only the fields that differ from their defaults."""

    def differs(one: Field[Any], value: object) -> bool:
        return value != one.default and (one.default_factory is MISSING or value != one.default_factory())

    values = [(one, getattr(options, one.name)) for one in fields(options)] if is_dataclass(options) else []
    given = [f"{one.name}={value!r}" for one, value in values if differs(one, value)]
    return f"{type(options).__name__}({', '.join(given)})"


@seals_options
@takes_options
def preview(frame: Frame | None, target: str | os.PathLike[str], **options: Unpack[Options]) -> Preview:
    """Return what `sink_madconnect` would do with the same arguments: the exact keys and their needs. Sends nothing.

    With the `run_id` of the preview, the run makes exactly these keys. Raises the errors that the run would raise
    before its first byte, except those that need an answer of a store. `frame=None` leaves columns and rows open.

    Only frames of Polars, tables and readers of pyarrow, and lists of batches are inspected: another iterable would be
    used up, and a relation would have to be run. The only rows that are read are the partition columns of a DataFrame,
    which name its files.
    """
    spec = resolve(SinkOptions.of("preview", target, options))
    check_fork()
    stores = spec.stores()
    with panics_as_query_errors():
        refuse_own_frames(spec, frame)
        columns = _columns(frame, spec)
        targets = [spec.target, *([spec.rejects[0]] if spec.rejects else [])]
        # It also raises for options and filesystems that the run would refuse. One that connects isn't opened.
        unkept = [one for target in targets if target.protocol not in RENAMES for one in stores.unkept(target)]
        files, num_files = files_of(frame, spec)
    given = spec.storage_options or {}
    size = given.get("default_block_size") or PART_SIZE
    most_bytes = stores.most_bytes(spec.target) if spec.target.protocol == "s3" else None
    upload = UploadPlan(size, given.get("max_concurrency") or max(2, IN_FLIGHT // size), most_bytes)
    to_s3 = any(target.protocol == "s3" for target in targets)
    return Preview(
        run_id=spec.names.run_id,
        target=spec.target.url,
        files=files,
        num_files=num_files,
        pattern=spec.names.pattern,
        manifest=spec.manifest.url if spec.manifest else None,
        success_marker=spec.success_marker.url if spec.success_marker else None,
        rejects=spec.rejects[0].url if spec.rejects else None,
        format=spec.format,
        row_group_size=spec.row_group_size,
        object_options=spec.object_options,
        columns=columns,
        permissions=permissions_of(spec.object_options) if to_s3 else (),
        upload=upload if to_s3 else None,
        preset=spec.preset.name if spec.preset else None,
        lost=spec.lost,
        unkept=tuple(dict.fromkeys(unkept)),
    )


def _columns(frame: object, spec: DeliverySpec) -> tuple[str, ...] | None:
    """Check the columns against schema and format, as the run would; None if they are unknown before the run."""
    plan = None if frame is None else plan_of(frame)
    is_path = spec.previous is None or isinstance(spec.previous, str | os.PathLike)
    previous = spec.previous if is_path else plan_of(spec.previous)
    if plan is None or (previous is None and spec.previous is not None):
        schema_name(spec.schema)
        validation.compile(None, pl.LazyFrame(), on_invalid=spec.on_invalid, max_rejects=spec.max_rejects)
        return None
    with open_rows(plan, replace(spec, previous=previous)) as rows:
        return tuple(spec.check(rows.delivered))


def plan_of(frame: object) -> pl.LazyFrame | None:
    """Return the plan of a frame; None if its columns can't be known without running it or using it up.

    Raises `ConfigurationError` for a value that is not a frame.
    """
    if isinstance(frame, pl.LazyFrame | pl.DataFrame | list | tuple):
        return as_lazyframe(frame)
    schema: Any = getattr(frame, "schema", None)
    if hasattr(frame, "__arrow_c_stream__") and hasattr(schema, "empty_table"):  # a table or reader of pyarrow
        return as_lazyframe(empty_batch(schema))
    readable = hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__iter__")
    return None if readable and not isinstance(frame, str | bytes | dict | type) else as_lazyframe(frame)


def permissions_of(options: ObjectOptions | None) -> tuple[str, ...]:
    """Return the actions that the requests need, as S3 documents them for PutObject and CreateMultipartUpload."""
    sent = options.request("") if options else {}
    kms = str(sent.get("ServerSideEncryption", "")).startswith("aws:kms")
    needed = {
        "s3:PutObject": True,
        "s3:ListBucket": True,
        "s3:PutObjectAcl": "ACL" in sent,
        "s3:PutObjectTagging": "Tagging" in sent,
        "s3:PutObjectRetention": "ObjectLockMode" in sent,
        "s3:PutObjectLegalHold": "ObjectLockLegalHoldStatus" in sent,
        "kms:GenerateDataKey": kms,
        "kms:Decrypt": kms,
    }
    return tuple(action for action, is_needed in needed.items() if is_needed)


def files_of(frame: object, spec: DeliverySpec) -> tuple[tuple[str, ...], int | None]:
    """Return the URLs of all files and their number, or the first URLs and None if the number is unknown.

    Partitions are known from their rows only. These are read only for a DataFrame, and only if neither a schema nor a
    comparison can change which rows are delivered.
    """
    is_known = spec.on_invalid == "fail" and spec.previous is None and spec.max_bytes_per_file is None
    if spec.names.columns:
        if not is_known or spec.schema is not None or not isinstance(frame, pl.DataFrame):
            return (), None
        files = foreseen(frame, DeliveryPlan(spec, frame.schema))
        return files, len(files)
    number, most = None if spec.names.is_numbered else 1, spec.max_rows_per_file
    # A frame may have its number of rows at hand.
    height = frame.height if isinstance(frame, pl.DataFrame) else getattr(frame, "num_rows", None)
    if number is None and is_known and most is not None and isinstance(height, int):
        number = max(1, -(-height // most))
    return tuple(spec.names.file(part).url for part in range(FIRST if number is None else number)), number
