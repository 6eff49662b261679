"""What is refused of an order before anything is opened: contradictions, and bounds with nothing in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink._order._options import ACTION
from mc_sink.exceptions import AlreadyExistsError, ConfigurationError, TargetError
from mc_sink.storage import not_a_file, odd_kind

if TYPE_CHECKING:
    from mc_sink._order._options import Order
    from mc_sink.staged import IfExists
    from mc_sink.target import Target


def check_place(target: Target, if_exists: IfExists) -> None:
    """Refuse one local file where something that isn't a regular file is already.

    A symbolic link is a name that is taken, and what it leads to is not replaced either.
    """
    if target.protocol != "file" or target.is_prefix or not (kind := odd_kind(target.path)):
        return
    taken = kind == "a symbolic link" and if_exists == "fail"
    raise (AlreadyExistsError if taken else TargetError)(not_a_file(target.path, kind))


def check(order: Order, target: Target) -> None:
    """Raise `ConfigurationError` for what contradicts in an order, or has no meaning."""
    if order.stale == "keep" and order.if_exists != "overwrite":
        raise ConfigurationError(
            'stale="keep" accepts files that a run which replaces another leaves beside its own: it needs '
            'if_exists="overwrite".'
        )
    if order.row_group_size is not None and order.row_group_size < 1:
        raise ConfigurationError(f"row_group_size={order.row_group_size} has no rows in it; give at least 1.")
    _check_changes(order)
    _check_splitting(order, target)
    _check_manifest(order, target)
    if order.rejects is not None and order.on_invalid != "reject":
        raise ConfigurationError('rejects= says where bad rows go: it needs on_invalid="reject".')
    if order.on_invalid == "reject" and order.schema is None:
        raise ConfigurationError('on_invalid="reject" needs a schema= to reject by.')
    if order.object_options is not None and target.protocol != "s3":
        raise ConfigurationError(f"object_options are for S3; {target.url} has no ACLs, tags or storage classes.")
    if order.storage_options and target.protocol == order.rejects_target.protocol == "file":
        raise ConfigurationError(
            f"A local target takes no storage_options, but got {', '.join(order.storage_options)}."
        )


def _check_changes(order: Order) -> None:
    if (order.previous is None) != (order.keys is None):
        raise ConfigurationError("previous= and keys= go together: the last delivery, and what tells its rows apart.")


def _check_splitting(order: Order, target: Target) -> None:
    bounds = {"max_rows_per_file": order.max_rows_per_file, "max_bytes_per_file": order.max_bytes_per_file}
    for name, bound in bounds.items():
        if bound is not None and bound < 1:
            raise ConfigurationError(f"{name}={bound} has nothing in it; give at least 1.")
    if order.include_key is not None and not order.columns:
        raise ConfigurationError("include_key= is about the columns of partition_by=, and there are none.")
    several: dict[str, Any] = {
        **bounds,
        'changes="files"': ACTION if ACTION in order.columns else None,
        "partition_by": order.partition_by,
        "success_marker": order.success_marker or None,
    }
    if not target.is_prefix and (asked := [name for name, value in several.items() if value is not None]):
        raise ConfigurationError(
            f"{target.url} is one file, and {asked[0]} may need several: give a prefix, {target.folder.url}"
        )


def _check_manifest(order: Order, target: Target) -> None:
    if order.manifest == "redshift" and target.protocol != "s3":
        raise ConfigurationError(f'manifest="redshift" lists objects in S3, and {target.url} is none.')
