"""Register `frame.sink_madconnect(...)` on Polars' DataFrame and LazyFrame; it forwards its arguments.

Type checkers can't see a registered namespace: `lf.pipe(sink_madconnect, target, ...)` is the typed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._lazy import load_part
from mc_sink.secret import seals_options

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Options, Preview

NAME = "sink_madconnect"


@pl.api.register_dataframe_namespace(NAME)
@pl.api.register_lazyframe_namespace(NAME)
class SinkMadConnect:
    """Deliver this frame. Takes the arguments of `mc_sink.sink_madconnect` that follow the frame."""

    def __init__(self, frame: pl.LazyFrame | pl.DataFrame) -> None:
        self._frame = frame

    @seals_options
    def __call__(self, target: str | os.PathLike[str], **options: Unpack[Options]) -> Receipt:
        """Deliver this frame, whole or not at all; see `mc_sink.sink_madconnect`."""
        receipt: Receipt = load_part("sink").sink_madconnect(self._frame, target, **options)
        return receipt

    @seals_options
    def preview(self, target: str | os.PathLike[str], **options: Unpack[Options]) -> Preview:
        """Preview the delivery of this frame without sending anything; see `mc_sink.preview`."""
        seen: Preview = load_part("sink").preview(self._frame, target, **options)
        return seen
