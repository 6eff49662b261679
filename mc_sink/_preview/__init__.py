"""What a delivery would do, without doing it: the keys it would make, what it would ask for, and what it would need.

Nothing is sent, and no store is written to or listed. What the run would refuse before its first byte is refused here,
in the same words.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink import validation
from mc_sink._arrow import empty_batch
from mc_sink._fork import check_fork
from mc_sink._order import Order, refuse_own_source, resolve, scanned, schema_name, takes_options
from mc_sink._plan import as_lazyframe
from mc_sink._preview._fact import MIB, Preview, UploadPlan
from mc_sink._preview._keys import keys_of
from mc_sink._rows import rows_of
from mc_sink.exceptions import panics_as_query_errors
from mc_sink.secret import seal
from mc_sink.target import RENAMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from mc_sink._order import Options, Resolved
    from mc_sink._plan import Frame
    from mc_sink.object_options import ObjectOptions
    from mc_sink.storage import Stores

__all__ = ["Preview", "UploadPlan", "preview"]

# How the store cuts an upload, where the options don't say: tests/test_preview.py holds them to the store's own.
PART_SIZE, IN_FLIGHT = 16 * MIB, 64 * MIB


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
    order = Order.of(target, options)
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
    order: Order, to: Resolved, columns: tuple[str, ...] | None, keys: tuple[tuple[str, ...], int | None]
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


def _columns(frame: object, order: Order, to: Resolved) -> tuple[str, ...] | None:
    """Check what is delivered against schema and format, as the run would; None where it can't be looked at."""
    plan = None if frame is None else _looked_at(frame)
    is_path = order.previous is None or isinstance(order.previous, str | os.PathLike)
    previous = order.previous if is_path else _looked_at(order.previous)
    if plan is None or (previous is None and order.previous is not None):
        schema_name(order.schema)
        validation.compile(None, pl.LazyFrame(), on_invalid=order.on_invalid, max_rejects=order.max_rejects)
        return None
    with rows_of(plan, replace(order, previous=previous), to.format) as rows:
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


def _check_stores(to: Resolved, stores: Stores) -> tuple[str, ...]:
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
