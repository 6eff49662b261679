"""One delivery, from the call to the receipt: options, specification, pipeline, staging; and its preview."""

from mc_sink.sink.deliver import check_new_run, deliver_frame, sink_madconnect, stage
from mc_sink.sink.options import DEFAULT_REJECTS, KINDS, Options, SinkOptions
from mc_sink.sink.pipeline import RowCountGuard
from mc_sink.sink.previewing import Preview, preview
from mc_sink.sink.spec import refuse_own_source, resolve

__all__ = [
    "DEFAULT_REJECTS",
    "KINDS",
    "Options",
    "Preview",
    "RowCountGuard",
    "SinkOptions",
    "check_new_run",
    "deliver_frame",
    "preview",
    "refuse_own_source",
    "resolve",
    "sink_madconnect",
    "stage",
]
