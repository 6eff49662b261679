"""Open a run that several workers deliver: refuse, once and before any work, everything that can be refused."""

from __future__ import annotations

import secrets
import socket
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._frames import schema_of
from mc_sink.encryption import PublicKeys
from mc_sink.exceptions import AlreadyDelivered, ConfigurationError
from mc_sink.keys import new_run_id
from mc_sink.publishing import journal, recover
from mc_sink.secret import seals_options
from mc_sink.sink.delivery_json import SchemaText
from mc_sink.sink.options import SinkOptions, takes_options
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.prior_attempt import find_prior_attempt
from mc_sink.sink.shares import Delivery, versions
from mc_sink.sink.spec import on_platform, schema_name
from mc_sink.sink.travelling import travelling
from mc_sink.target import parse_target
from mc_sink.validation import check_bucketed, read_schema

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink.sink.options import Options
    from mc_sink.validation import SchemaLike

# Of `SinkOptions`, what a delivery holds in another form, or not at all.
_APART = {"target", "run_id", "schema", "platform", "storage_options"}


@seals_options
@takes_options
def open_delivery(
    target: str | os.PathLike[str],
    columns: object,
    *,
    credentials: str | None = None,
    by_bucket: bool = False,
    **options: Unpack[Options],
) -> Delivery:
    """Open a run that several workers deliver, and refuse here, before any work, everything that can be refused.

        import polars as pl
        import mc_sink

        rows = pl.DataFrame({"id": range(100)})
        delivery = mc_sink.open_delivery("./out/", rows.schema, format="parquet", run_id="20261127")
        shares = [delivery.stage(rows[start : start + 50], number=start // 50) for start in (0, 50)]
        receipt = delivery.publish(shares, num_shares=2)

    Parameters
    ----------
    target
        A prefix, as in `sink_madconnect`. A local one is for workers of this machine.
    columns
        The columns of the rows: a mapping from names to Polars' dtypes, an Arrow schema, or a frame that has them.
    credentials
        "module:function": a function without arguments that returns `storage_options`, and that every process calls.
        Default: where AWS' own libraries look. Keys, secrets and tokens in `storage_options`, and platforms that have
        them, are refused: they would travel.
    by_bucket
        Whether the rows are divided among the shares by `Delivery.buckets`. A schema with `unique` needs it.
    options
        As in `sink_madconnect`, but for `previous`. Names have a token `{share:05d}`. Of `encrypt`, the public keys
        travel; a key that signs is refused.

    Raises
    ------
    AlreadyDelivered
        The run's manifest is visible. A scheduler may count that as a success.
    TargetError, ConfigurationError, ValidationError, PermissionDenied, AlreadyExistsError
        For what `sink_madconnect` raises before the first byte is sent, and for what several shares can't have.
    """
    if not isinstance(credentials, str | None):
        raise ConfigurationError(
            f'Cannot use credentials= with a {type(credentials).__name__}. Give "module:function", as text.'
        )
    if not isinstance(by_bucket, bool):
        raise ConfigurationError(f"Cannot use by_bucket= with a {type(by_bucket).__name__}. Give True or False.")
    given = on_platform(SinkOptions.of("open_delivery", target, options))
    run_id, place = new_run_id() if given.run_id is None else given.run_id, parse_target(given.target).url
    schema: SchemaLike | SchemaText | None = given.schema
    if isinstance(schema, str | Path):
        schema = SchemaText(schema_name(schema) or "unnamed", read_schema(schema))
    given = replace(
        given, target=place, rejects=given.rejects_target.url if given.on_invalid == "reject" else given.rejects
    )
    keys = given.encrypt and PublicKeys.of(given.encrypt)
    own = {one.name: getattr(given, one.name) for one in fields(SinkOptions) if one.name not in _APART}
    defaults = {one.name: one.default for one in fields(SinkOptions)}
    delivery = Delivery(
        target=place,
        run_id=run_id,
        opened_at=datetime.now(UTC),
        id=secrets.token_hex(8),
        columns=schema_of(columns),
        unique=(),
        credentials=credentials,
        published=(),
        host=socket.gethostname(),
        versions=versions(),
        options={name: value for name, value in (own | {"encrypt": keys}).items() if value is not defaults[name]},
        store_options=travelling(given.storage_options),
        schema=schema,
        run_id_given=given.run_id is not None,
    )
    return _opened(delivery, by_bucket=by_bucket)


def _opened(delivery: Delivery, *, by_bucket: bool) -> Delivery:
    """Return the delivery, checked against its schema, the state folder and the store."""
    spec = delivery.spec(0)
    with open_rows(pl.LazyFrame(schema=delivery.columns), spec) as rows:
        spec.check(rows.delivered)
        keys = [one.columns for one in rows.compiled.unique]
        delivered, name = rows.compiled.delivered, rows.compiled.name
    if keys and not by_bucket:
        raise ConfigurationError(
            f"Schema {name!r} requires {', '.join(keys[0])} to be unique over all rows, and each share has only some. "
            "Divide the rows by Delivery.buckets(frame), so that rows with one number come to one share, and pass "
            "by_bucket=True. Or deliver all rows by sink_madconnect."
        )
    if len(keys) > 1:
        raise ConfigurationError(
            f"Schema {name!r} requires {len(keys)} unique keys, and rows can be divided by one. Leave one in the "
            "schema, or deliver all rows by sink_madconnect."
        )
    for key in keys:
        check_bucketed(key, delivered)
        if cast := [column for column in key if delivery.columns.get(column) != delivered[column]]:
            raise ConfigurationError(
                f"Schema {name!r} casts column {cast[0]!r}, by which rows are divided. Cast it before."
            )
    journal.prepare()
    stores = spec.stores()
    spec.check_places(stores)
    prior = find_prior_attempt(spec, stores)
    if prior.manifest and spec.if_exists == "fail":
        if journal.find(delivery.run_id, delivery.target):  # its process ended between the manifest and the end
            recover(delivery.run_id, target=delivery.target, storage_options=spec.storage_options)
        raise AlreadyDelivered(
            f"Run {delivery.run_id} has been delivered: its manifest is at {prior.manifest}. Nothing is to be done; "
            "other data need a new run_id.",
            manifest=prior.manifest,
        )
    return replace(
        delivery,
        unique=keys[0] if keys else (),
        published=tuple(sorted(prior.to_compare)),
        is_unlisted=prior.is_unlisted,
    )
