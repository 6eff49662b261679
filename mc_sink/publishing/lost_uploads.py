"""Find and abort the uploads of a run whose ids the driver doesn't know: those that a lost worker had begun."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink.exceptions import SinkError
from mc_sink.staged import Multipart
from mc_sink.sweep import Sweep
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mc_sink.staged import Claim, StagedFile
    from mc_sink.storage import Stores

_log = logger(__name__)
# From the weakest.
_OUTCOMES = ("failed", "denied", "done", "none")


def abort_lost(
    stores: Stores,
    claim: Claim,
    known: Collection[str],
    settled: Collection[str] = (),
    reported: Iterable[tuple[str, str]] | None = None,
) -> Sweep:
    """Abort the uploads at the places of a claim, except those with `known` ids, and those that may be an object.

    An upload may be the object that is visible at its key, unless the URL is in `settled`: there it is known which
    upload the object is of. `reported` are the URLs and ids of uploads that workers have begun, None where they don't
    report them. A failure changes nothing of what was delivered, and so is a part of the result.
    """
    sweep = Sweep("none", reported=reported is not None)
    try:
        lost = [(parse_target(url), upload_id) for url, upload_id in reported or () if upload_id not in known]
        if sentences := [stores.abort_reported(place, upload_id, settled) for place, upload_id in lost]:
            sweep = replace(sweep, num_aborted=sentences.count(None), left=tuple(filter(None, sentences)))
            known = {*known, *(upload_id for _, upload_id in lost)}
        for stem, patterns in claim.spans:
            own = [re.compile(pattern) for pattern in patterns]
            found = stores.sweep(parse_target(stem), own, known, settled)
            weaker = min(sweep.outcome, found.outcome, key=_OUTCOMES.index)
            num_aborted, left = sweep.num_aborted + found.num_aborted, sweep.left + found.left
            sweep = replace(sweep, outcome=weaker, num_aborted=num_aborted, left=left)
    except SinkError as error:
        _log.warning("Uploads of lost workers were not searched for: %s", error.message)
        return replace(sweep, outcome="failed")
    return sweep


def upload_ids(files: Iterable[StagedFile]) -> set[str]:
    """Return the ids of the uploads of these files."""
    return {file.upload.upload_id for file in files if isinstance(file.upload, Multipart)}
