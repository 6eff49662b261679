"""mc_sink: deliver a frame into another party's bucket, validated, whole or not at all.

Importing it adds `sink_madconnect` to Polars' LazyFrame and DataFrame. Its modules load when one of their names
is first used, so that the import costs little more than importing Polars.

Type checkers can't see a registered namespace: `lf.pipe(sink_madconnect, target, ...)` is the typed form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._lazy import OfInstances, attributes, load_part, without_frame
from mc_sink._runtime import fork_guard, state_dir  # noqa: F401  they record every fork, and the folder of the start
from mc_sink.secret import seals_options

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink import platforms
    from mc_sink.encrypted import ClearBytes, Encryption
    from mc_sink.encryption import Age, Pgp
    from mc_sink.exceptions import (
        AlreadyDelivered,
        AlreadyExistsError,
        CommitError,
        CommitUnknown,
        ConfigurationError,
        LimitError,
        PermissionDenied,
        QueryError,
        SinkError,
        TargetError,
        UploadError,
        ValidationError,
    )
    from mc_sink.formats import Csv, Parquet
    from mc_sink.object_options import ObjectOptions
    from mc_sink.platforms import CheckReport, CheckRow, Platform, configure, lifecycle, policy
    from mc_sink.presets import PRESETS, Limit, Preset
    from mc_sink.publishing import Journal, discard, list_journals, publish, recover, verify
    from mc_sink.receipt import Changes, CountedWarning, Receipt, Rejects, Verification, WrittenFile
    from mc_sink.secret import Secret
    from mc_sink.sink import (
        Delivery,
        Options,
        Preview,
        Share,
        handover,
        open_delivery,
        preview,
        sink_madconnect,
        stage,
    )
    from mc_sink.staged import Staged, StagedFile
    from mc_sink.sweep import Sweep
    from mc_sink.validation import list_schemas, load_schema

__version__ = "0.2.0.dev0"

__all__ = [
    "PRESETS",
    "Age",
    "AlreadyDelivered",
    "AlreadyExistsError",
    "Changes",
    "CheckReport",
    "CheckRow",
    "ClearBytes",
    "CommitError",
    "CommitUnknown",
    "ConfigurationError",
    "CountedWarning",
    "Csv",
    "Delivery",
    "Encryption",
    "Journal",
    "Limit",
    "LimitError",
    "ObjectOptions",
    "Parquet",
    "PermissionDenied",
    "Pgp",
    "Platform",
    "Preset",
    "Preview",
    "QueryError",
    "Receipt",
    "Rejects",
    "Secret",
    "Share",
    "SinkError",
    "SinkMadConnect",
    "Staged",
    "StagedFile",
    "Sweep",
    "TargetError",
    "UploadError",
    "ValidationError",
    "Verification",
    "WrittenFile",
    "configure",
    "discard",
    "handover",
    "lifecycle",
    "list_journals",
    "list_schemas",
    "load_schema",
    "open_delivery",
    "platforms",
    "policy",
    "preview",
    "publish",
    "recover",
    "sink_madconnect",
    "stage",
    "verify",
]


@pl.api.register_dataframe_namespace("sink_madconnect")
@pl.api.register_lazyframe_namespace("sink_madconnect")
class SinkMadConnect:
    """Deliver this frame. Takes the arguments of `mc_sink.sink_madconnect` that follow the frame."""

    # What completion and `?` show of `frame.sink_madconnect`: the options by name, and the text about each.
    __signature__ = OfInstances(lambda: without_frame(load_part("sink").sink_madconnect))
    __doc__ = OfInstances(lambda: load_part("sink").sink_madconnect.__doc__, of_class=__doc__)

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


def __dir__() -> list[str]:
    return [*__all__]


if not TYPE_CHECKING:  # or a type checker would accept every name
    __getattr__ = attributes(
        {
            "connector": "",
            "encrypted": "ClearBytes Encryption",
            "encryption": "Age Pgp",
            "exceptions": "AlreadyDelivered AlreadyExistsError CommitError CommitUnknown ConfigurationError LimitError "
            "PermissionDenied QueryError SinkError TargetError UploadError ValidationError",
            "formats": "Csv Parquet",
            "identity": "",
            "object_options": "ObjectOptions",
            "platforms": "CheckReport CheckRow Platform configure lifecycle policy",
            "presets": "Limit PRESETS Preset",
            "publishing": "Journal discard list_journals publish recover verify",
            "receipt": "Changes CountedWarning Receipt Rejects Verification WrittenFile",
            "secret": "Secret",
            "sink": "Delivery Preview Share handover open_delivery preview sink_madconnect stage",
            "staged": "Staged StagedFile",
            "sweep": "Sweep",
            "testing": "",
            "validation": "list_schemas load_schema",
        },
    )
