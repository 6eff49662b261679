"""The manifest: which files belong together, written when all of them are visible, so that it is the commit point.

A receiver who waits for it reads nothing half delivered. JSON, `version` 1: facts that only grow.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mc_sink.changed import added_up
from mc_sink.receipt import summed, unproven

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mc_sink.receipt import CountedWarning, WrittenFile
    from mc_sink.staged import Staged

VERSION = 1
CONTENT_TYPE = "application/json"
# Blanks follow the shorter ones: two tries of a run may prove the same file in different ways, and their manifests are
# compared by size. A quotation mark within a text is escaped, so that no text looks like this.
_INTEGRITY = re.compile(r'"integrity": (null|"[a-z0-9]+"),')
_WIDEST = len('"integrity": "unproven",')


def manifest(
    staged: Sequence[Staged], files: Sequence[WrittenFile], ended_at: datetime, stale: Sequence[str] = ()
) -> bytes:
    """Write the manifest of a delivery whose files are all visible; times are UTC, sizes bytes as stored.

    `stale` are files of an earlier run that stay beside it.
    """
    run = staged[0]
    facts = _redshift(files) if run.manifest_form == "redshift" else _facts(staged, files, ended_at)
    if stale and run.manifest_form == "mc_sink":
        facts |= {"stale": list(stale)}
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    return (_INTEGRITY.sub(lambda found: found[0].ljust(_WIDEST), text) + "\n").encode()


def _facts(staged: Sequence[Staged], files: Sequence[WrittenFile], ended_at: datetime) -> dict[str, Any]:
    run, changes = staged[0], added_up(part.changes for part in staged)
    return {
        "version": VERSION,
        "run_id": run.run_id,
        "target": run.target,
        "library": f"mc-sink {version('mc-sink')}",
        "started_at": _time(min(part.started_at for part in staged)),
        "ended_at": _time(ended_at),
        "validated": all(part.validated for part in staged),
        "schema": run.content.schema,
        "format": run.content.format,
        "dialect": dict(run.content.dialect),
        "transfer_mode": "changes" if changes else "full",
        "changes": asdict(changes) if changes else None,
        "columns": dict(run.content.columns),
        "partition_by": list(run.content.partition_by),
        "num_files": len(files),
        "num_rows": sum(file.num_rows for file in files),
        "num_bytes": sum(file.num_bytes for file in files),
        "num_rejected": sum(part.rejects.num_rows for part in staged if part.rejects),
        "warnings": [asdict(warning) for warning in _warnings(staged, files)],
        "files": [_entry(file) for file in files],
    }


def _warnings(staged: Sequence[Staged], files: Sequence[WrittenFile]) -> tuple[CountedWarning, ...]:
    return summed([*(warning for part in staged for warning in part.warnings), *unproven(files)])


def _redshift(files: Sequence[WrittenFile]) -> dict[str, Any]:
    """Write what Redshift's COPY reads; with the sizes, which it needs for Parquet.

    Source: Amazon Redshift Database Developer Guide, "Using a manifest to specify data files".
    """
    return {
        "entries": [{"url": file.path, "mandatory": True, "meta": {"content_length": file.num_bytes}} for file in files]
    }


def _entry(file: WrittenFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "num_rows": file.num_rows,
        "num_bytes": file.num_bytes,
        "etag": file.etag,
        "checksum": file.checksum,
        "integrity": file.integrity,
        "partition": None if file.partition is None else dict(file.partition),
    }


def _time(moment: datetime) -> str:
    """Write a time so that all of them are as long, and sort as text."""
    return moment.isoformat(timespec="microseconds")
