"""What a run would do, without writing anything: the source's schema and a sample, and the keys."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

from mc_sink._order import Order
from mc_sink._plan import as_lazyframe
from mc_sink._preview import preview
from mc_sink._sink import sink_madconnect
from mc_sink.connections._arguments import arguments_for
from mc_sink.connections._sources import opened, refuse_own_target
from mc_sink.exceptions import panics_as_query_errors
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import polars as pl

    from mc_sink._preview import Preview
    from mc_sink.connections._load import Connection

SAMPLE_ROWS = 5


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The first rows of a source, None where nobody asked for them, and what a delivery of it would make."""

    sample: pl.DataFrame | None
    preview: Preview


def inspect(connection: Connection) -> str:
    """Give the target's URL, or raise what contradicts in a connection; opens no source, and sends nothing."""
    arguments = arguments_for(sink_madconnect, connection)
    refuse_own_target(connection.settings.source, connection.folder, Order(**arguments))
    if set(arguments) <= set(signature(preview).parameters):
        return preview(None, **arguments).target
    return parse_target(arguments["target"]).url


def rehearse(connection: Connection, *, run_id: str | None = None, rows: int | None = SAMPLE_ROWS) -> Rehearsal:
    """Open the source, read `rows` of it, and name the keys; raises what the run would raise before its first byte.

    With `rows` None the source is opened and not read.
    """
    arguments = arguments_for(preview, connection)
    refuse_own_target(connection.settings.source, connection.folder, Order(**arguments))
    with opened(connection.settings.source, connection.folder) as frame:
        seen = preview(frame, **arguments, run_id=run_id)
        with panics_as_query_errors():
            sample = None if rows is None else as_lazyframe(frame).head(rows).collect()
    return Rehearsal(sample, seen)
