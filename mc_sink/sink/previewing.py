"""Preview a delivery without running it: the keys it would create, the permissions and uploads it needs.

Nothing is sent, and no store is written to or listed. What the run would refuse before its first byte is refused here,
in the same words.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink import _display, validation
from mc_sink._arrow import empty_batch
from mc_sink._display import labelled, lines
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.fork_guard import check_fork
from mc_sink.exceptions import panics_as_query_errors
from mc_sink.formats import Parquet
from mc_sink.secret import seal
from mc_sink.sink.options import SinkOptions, takes_options
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.spec import refuse_own_source, resolve, scanned, schema_name
from mc_sink.target import RENAMES
from mc_sink.writing import DeliveryPlan, foreseen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Unpack

    from mc_sink._frames import Frame
    from mc_sink.formats import Format
    from mc_sink.object_options import ObjectOptions
    from mc_sink.sink.options import Options
    from mc_sink.sink.spec import DeliverySpec
    from mc_sink.storage import Stores

MIB = 2**20
# As many names as a person reads.
SHOWN = 20
# How the store cuts an upload, where the options don't say: tests/sink/test_preview.py holds them to the store's own.
PART_SIZE, IN_FLIGHT = 16 * MIB, 64 * MIB
# As many names as tell how they go on, where nobody knows how many there will be.
FIRST = 3


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """How S3 would get an object: in parts of `part_size` bytes, up to `in_flight` of them at once.

    An object smaller than a part goes as a whole. From the 901st part on, parts double, and fewer are in flight. Where
    a store is known to take only parts of one size, they don't, and `most_bytes` is the most that a file may have.
    """

    part_size: int
    in_flight: int
    most_bytes: int | None = None

    @property
    def num_bytes(self) -> int:
        """The most bytes of an object in memory: the parts in flight, and one more that is being cut."""
        return self.part_size * (self.in_flight + 1)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delivery would do. Holds no credentials.

    `files` are the URLs of all files, or, where their number can't be known before the run, of the first ones; then
    `num_files` is None. `pattern` is a URL with what differs from file to file in braces. `rejects` is where bad rows
    would go. `columns` are those of the files; None where the frame can't be looked at, because it can be read only
    once, or has to be run. `format` has the dialect in force; `lost` are the options of the preset's dialect that the
    caller's own format leaves out. `permissions` are S3's actions, and `upload` is None where nothing goes to S3.
    `unkept` has a sentence for each promise that the store is known not to keep its part of, as far as that was learnt
    with a saved platform.
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
        number = "as many files as the rows fill" if self.num_files is None else f"{self.num_files:,} file(s)"
        groups = f", row groups of {self.row_group_size:,} rows" if isinstance(self.format, Parquet) else ""
        facts = {
            "would make": f"{number}; nothing was sent",
            "to": self.target,
            "run id": self.run_id,
            "manifest": self.manifest,
            "marker": self.success_marker,
            "rejects": self.rejects,
            "format": _told(self.format) + groups,
            "preset": self.preset,
            "lost": f"of the preset's dialect: {', '.join(self.lost)}" if self.lost else None,
            "columns": "not looked at" if self.columns is None else _listed(self.columns),
            "object": _told(self.object_options) if self.object_options else None,
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


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join([*names[:SHOWN], *([f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else [])])


def _size(upload: UploadPlan) -> str:
    size, memory = upload.part_size / MIB, upload.num_bytes / MIB
    plan = f"{upload.in_flight} part(s) of {size:,.1f} MiB at once, up to {memory:,.1f} MiB of memory for a file"
    if upload.most_bytes is None:
        return plan
    most = upload.most_bytes / 2**30
    return (
        f"{plan}; all parts have one size, so a file may have {most:,.1f} GiB: a larger one needs a larger "
        "default_block_size in storage_options"
    )


def _told(options: object) -> str:
    """Write a value with what isn't as usual in it."""
    values = [(field, getattr(options, field.name)) for field in fields(options)] if is_dataclass(options) else []
    unusual = [(field.name, value) for field, value in values if value != field.default and _is_set(field, value)]
    return f"{type(options).__name__}({', '.join(f'{name}={value!r}' for name, value in unusual)})"


def _is_set(field: Any, value: object) -> bool:
    return field.default_factory is MISSING or value != field.default_factory()


@takes_options
def preview(frame: Frame | None, target: str | os.PathLike[str], **options: Unpack[Options]) -> Preview:
    """Say what `sink_madconnect` would do with the same arguments: the exact keys, and what they need. Sends nothing.

    With the `run_id` of the preview, the run makes exactly these keys. Raises what the run would raise before its first
    byte, except what only a store could tell. A `frame` of None leaves its columns and its number of rows open. Of
    `frame` and `previous`, only Polars' frames, pyarrow's tables and readers, and lists of batches are looked at:
    another iterable would be used up, and a relation would be run. No row is read but the partition columns of a
    DataFrame, which name its files.
    """
    options["storage_options"] = seal(options.get("storage_options"))  # first: a traceback may show what is bound here
    order = SinkOptions.of(target, options)
    check_fork()
    to, stores = resolve(order), order.stores()
    with panics_as_query_errors():
        refuse_own_source(to, scanned(frame, to), "the frame")
        refuse_own_source(to, scanned(order.previous, to), "previous=")
        columns = _columns(frame, order, to)
        unkept = _check_stores(to, stores)
        shown = replace(_preview(order, to, columns, keys_of(frame, order, to)), unkept=unkept)
        most = stores.most_bytes(to.names.target) if to.names.target.protocol == "s3" else None
        return replace(shown, upload=shown.upload and replace(shown.upload, most_bytes=most))


def _preview(
    order: SinkOptions, to: DeliverySpec, columns: tuple[str, ...] | None, keys: tuple[tuple[str, ...], int | None]
) -> Preview:
    files, num_files = keys
    to_s3 = "s3" in {to.names.target.protocol, to.rejects[0].protocol if to.rejects else None}
    return Preview(
        run_id=to.names.run_id,
        target=to.names.target.url,
        files=files,
        num_files=num_files,
        pattern=to.names.pattern,
        manifest=to.manifest.url if to.manifest else None,
        success_marker=to.success_marker.url if to.success_marker else None,
        rejects=to.rejects[0].url if to.rejects else None,
        format=to.format,
        row_group_size=to.row_group_size,
        object_options=order.object_options,
        columns=columns,
        permissions=_permissions(order.object_options) if to_s3 else (),
        upload=_upload(order.storage_options or {}) if to_s3 else None,
        preset=to.preset.name if to.preset else None,
        lost=to.lost,
    )


def _columns(frame: object, order: SinkOptions, to: DeliverySpec) -> tuple[str, ...] | None:
    """Check what is delivered against schema and format, as the run would; None where it can't be looked at."""
    plan = None if frame is None else _looked_at(frame)
    is_path = order.previous is None or isinstance(order.previous, str | os.PathLike)
    previous = order.previous if is_path else _looked_at(order.previous)
    if plan is None or (previous is None and order.previous is not None):
        schema_name(order.schema)
        validation.compile(None, pl.LazyFrame(), on_invalid=order.on_invalid, max_rejects=order.max_rejects)
        return None
    with open_rows(plan, replace(order, previous=previous), to.format) as rows:
        return tuple(to.check(rows.delivered))


def _looked_at(frame: object) -> pl.LazyFrame | None:
    """Give the plan of a frame whose columns are known without running it or using it up; refuse what is no frame."""
    if isinstance(frame, pl.LazyFrame | pl.DataFrame | list | tuple):
        return as_lazyframe(frame)
    schema: Any = getattr(frame, "schema", None)
    if hasattr(frame, "__arrow_c_stream__") and hasattr(schema, "empty_table"):  # one of pyarrow's
        return as_lazyframe(empty_batch(schema))
    readable = hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__iter__")
    return None if readable and not isinstance(frame, str | bytes | dict | type) else as_lazyframe(frame)


def _check_stores(to: DeliverySpec, stores: Stores) -> tuple[str, ...]:
    """Refuse options and filesystems that the run would refuse; one that would connect at once is left alone.

    Returns what is known not to be kept by the stores.
    """
    targets = [to.names.target, *([to.rejects[0]] if to.rejects else [])]
    unkept = [stores.unkept(target) for target in targets if target.protocol not in RENAMES]
    return tuple(dict.fromkeys(sentence for found in unkept for sentence in found))


def _permissions(options: ObjectOptions | None) -> tuple[str, ...]:
    """Give the actions that the requests need; S3 documents them with PutObject and CreateMultipartUpload."""
    asked = options.request("") if options else {}
    kms = str(asked.get("ServerSideEncryption", "")).startswith("aws:kms")
    needed = {
        "s3:PutObject": True,
        "s3:ListBucket": True,
        "s3:PutObjectAcl": "ACL" in asked,
        "s3:PutObjectTagging": "Tagging" in asked,
        "s3:PutObjectRetention": "ObjectLockMode" in asked,
        "s3:PutObjectLegalHold": "ObjectLockLegalHoldStatus" in asked,
        "kms:GenerateDataKey": kms,
        "kms:Decrypt": kms,
    }
    return tuple(action for action, is_needed in needed.items() if is_needed)


def _upload(storage_options: Mapping[str, Any]) -> UploadPlan:
    size = storage_options.get("default_block_size") or PART_SIZE
    return UploadPlan(size, storage_options.get("max_concurrency") or max(2, IN_FLIGHT // size))


def keys_of(frame: object, order: SinkOptions, to: DeliverySpec) -> tuple[tuple[str, ...], int | None]:
    """Give the URLs of all files, with their number; or of the first ones, where nobody knows how many there will be.

    Of partitions nothing is known but by their rows, and these are looked at only where they are in memory already and
    neither a schema nor a comparison has a say in them.
    """
    known = order.on_invalid == "fail" and order.previous is None and to.max_bytes_per_file is None
    if to.names.columns:
        if not known or order.schema is not None or not isinstance(frame, pl.DataFrame):
            return (), None
        files = foreseen(frame, _plan(to, frame))
        return files, len(files)
    number = _number(to, _height(frame) if known else None)
    return tuple(to.names.file(part).url for part in range(FIRST if number is None else number)), number


def _number(to: DeliverySpec, height: int | None) -> int | None:
    if not to.names.is_numbered:
        return 1
    most = to.max_rows_per_file
    return None if most is None or height is None else max(1, -(-height // most))


def _height(frame: object) -> int | None:
    """Give the number of rows, where a frame knows it."""
    rows = frame.height if isinstance(frame, pl.DataFrame) else getattr(frame, "num_rows", None)
    return rows if isinstance(rows, int) else None


def _plan(to: DeliverySpec, frame: pl.DataFrame) -> DeliveryPlan:
    return DeliveryPlan(
        to.names,
        frame.schema,
        to.format,
        to.row_group_size,
        to.max_rows_per_file,
        already_published=frozenset(),
        partition_by=to.partition_by,
    )
