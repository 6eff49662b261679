"""Record that an attempt of a run has begun to publish, and which files it makes, where a listing would have no end.

    s3://bucket/prefix/_begun/RUN_ID/DIGEST      an empty object, before the first file becomes visible

Where the partitions are folders before the run id, the files of one run can only be found by listing the whole prefix,
with all its history. This record is found by name. A writer may not read objects, so the name itself holds the digest
of the names of all files. Attempts with the same digest make the same files, and leave none beside each other's.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mc_sink.exceptions import AlreadyExistsError
from mc_sink.publishing.manifest import publish_empty
from mc_sink.staged import Present
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.staged import Claim, Staged
    from mc_sink.storage import Stores


def check_others(stores: Stores, staged: Sequence[Staged], claim: Claim) -> None:
    """Raise `AlreadyExistsError` if another attempt of the run has begun to publish other files than this one."""
    folder = parse_target(str(claim.begun))
    if others := stores.of(folder).listing(folder, exact=False) - {_record(staged, claim)}:
        raise AlreadyExistsError(
            f"Cannot continue run {staged[0].run_id}: an earlier attempt began to publish other files than this one "
            f"makes, by its record at {min(others)}. The data or the options changed. Use a new run_id.",
            visible="unknown",
        )


def record(stores: Stores, staged: Sequence[Staged]) -> None:
    """Record that this attempt begins to publish, unless the run needs no record, or the attempt shows no file."""
    claim = next((part.claim for part in staged if part.claim and part.claim.begun), None)
    if claim and not all(isinstance(file.upload, Present) for part in staged for file in part.files):
        publish_empty(stores, staged[0], _record(staged, claim))


def _record(staged: Sequence[Staged], claim: Claim) -> str:
    """Return the URL of the record of an attempt that makes these files."""
    paths = sorted(file.path for part in staged for file in part.files)
    return f"{claim.begun}{hashlib.sha256(chr(10).join(paths).encode()).hexdigest()[:32]}"
