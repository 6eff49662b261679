"""Find and abort the uploads of a run whose ids no driver knows: those that a lost worker had begun."""

from __future__ import annotations

import re
from functools import reduce
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink.exceptions import SinkError
from mc_sink.publishing import journal
from mc_sink.staged import Multipart
from mc_sink.sweep import Sweep
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.staged import Claim, Staged
    from mc_sink.storage import Stores

_log = logger(__name__)


def abort_lost(stores: Stores, claim: Claim | None, run: Staged, known: Sequence[Staged]) -> Sweep:
    """Abort the uploads at the names of this run, except those of `known` parts and of its journal.

    These may be objects by now. `claim` is None where the names may be those of another run. A failure here changes
    nothing of what was delivered, so it is a part of the result.
    """
    if claim is None:
        return Sweep("none")
    try:
        noted = journal.find(run.run_id, run.target)
        files = [file for part in (*known, *(noted.staged if noted else ())) for file in part.all_files]
        files += noted.superseded if noted else ()
        keep = {file.upload.upload_id for file in files if isinstance(file.upload, Multipart)}
        keep |= set(journal.sent(run.run_id, run.target))
        found = [_sweep(stores, stem, patterns, keep) for stem, patterns in claim.spans]
    except SinkError as error:
        _log.warning("Uploads of lost workers of run %s were not searched for: %s", run.run_id, error.message)
        return Sweep("failed")
    return reduce(_added, found)


def _sweep(stores: Stores, stem: str, patterns: Sequence[str], keep: set[str]) -> Sweep:
    own = [re.compile(pattern) for pattern in patterns]
    return stores.sweep(parse_target(stem), lambda url: any(one.fullmatch(url) for one in own), keep)


def _added(one: Sweep, other: Sweep) -> Sweep:
    """Return both as one; the weaker outcome is that of both."""
    order = ("failed", "denied", "done", "none")
    weaker = min(one.outcome, other.outcome, key=order.index)
    return Sweep(weaker, one.num_aborted + other.num_aborted, one.left + other.left)
