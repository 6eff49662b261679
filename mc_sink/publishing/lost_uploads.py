"""Find and abort the uploads of a run whose ids the driver doesn't know: those that a lost worker had begun."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink.exceptions import SinkError
from mc_sink.staged import Multipart
from mc_sink.sweep import Sweep
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mc_sink.staged import Claim, StagedFile
    from mc_sink.storage import Stores

_log = logger(__name__)
# From the weakest.
_OUTCOMES = ("failed", "denied", "done", "none")


def abort_lost(stores: Stores, claim: Claim, known: Collection[str], settled: Collection[str] = ()) -> Sweep:
    """Abort the uploads at the places of a claim, except those with `known` ids, and those that may be an object.

    An upload may be the object that is visible at its key, unless the URL is in `settled`: there it is known which
    upload the object is of. A failure changes nothing of what was delivered, and so is a part of the result.
    """
    sweep = Sweep("none")
    try:
        for stem, patterns in claim.spans:
            is_own = partial(_matches, [re.compile(pattern) for pattern in patterns])
            found = stores.sweep(parse_target(stem), is_own, known, settled)
            weaker = min(sweep.outcome, found.outcome, key=_OUTCOMES.index)
            sweep = Sweep(weaker, sweep.num_aborted + found.num_aborted, sweep.left + found.left)
    except SinkError as error:
        _log.warning("Uploads of lost workers were not searched for: %s", error.message)
        return Sweep("failed", sweep.num_aborted, sweep.left)
    return sweep


def upload_ids(files: Iterable[StagedFile]) -> set[str]:
    """Return the ids of the uploads of these files."""
    return {file.upload.upload_id for file in files if isinstance(file.upload, Multipart)}


def _matches(patterns: Sequence[re.Pattern[str]], url: str) -> bool:
    return any(pattern.fullmatch(url) for pattern in patterns)
