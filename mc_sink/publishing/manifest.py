"""Close a delivery whose files are all visible: the manifest, which is the commit point, and the success marker.

A receiver who waits for it reads nothing half delivered. JSON, `version` 1: facts that only grow.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import AlreadyExistsError
from mc_sink.receipt import WrittenFile, added_up, summed, unproven
from mc_sink.staged import Present, StagedFile, in_order
from mc_sink.storage import Stores, Writer, is_visible
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mc_sink.receipt import CountedWarning
    from mc_sink.staged import Staged
    from mc_sink.storage import Published

EMPTY_TYPE = "application/octet-stream"
VERSION = 1
CONTENT_TYPE = "application/json"
# Blanks follow the shorter ones: two tries of a run may prove the same file in different ways, and their manifests are
# compared by size. A quotation mark within a text is escaped, so that no text looks like this.
_INTEGRITY = re.compile(r'"integrity": (null|"[a-z0-9]+"),')
_WIDEST = len('"integrity": "unproven",')


def is_closed(stores: Stores, staged: Sequence[Staged]) -> bool:
    """Say whether this run's manifest is visible already; raises where it can't list what this try would publish."""
    run = staged[0]
    if not run.manifest or not run.repeatable or run.if_exists == "overwrite" or not is_visible(stores, run.manifest):
        return False
    missing = [file.path for file in in_order(staged) if not (_is_there(file) or is_visible(stores, file.path))]
    if missing:
        raise AlreadyExistsError(
            f"Run {run.run_id} has been delivered: its manifest is at {run.manifest}, and {len(missing)} object(s) of "
            f"this try aren't there, from {missing[0]} on. Use a new run_id.",
            visible="some",
        )
    return True


def _is_there(file: StagedFile) -> bool:
    """Whether it was found, and compared, when it was to be staged."""
    return isinstance(file.upload, Present)


def close(
    stores: Stores, staged: Sequence[Staged], written: Sequence[WrittenFile], *, closed: bool, stale: Sequence[str]
) -> Iterator[WrittenFile]:
    """Show the manifest and then the success marker, where there are to be any; yields each as it was stored.

    An earlier try may have shown them: tries differ in their times, which are all as long, and a writer may not read,
    so that the size is the evidence.
    """
    run = staged[0]
    if run.manifest:
        text = manifest(staged, written[: sum(len(part.files) for part in staged)], datetime.now(UTC), stale)
        yield _show(stores, run, run.manifest, text, there=closed)
    if run.success_marker:
        yield _show(stores, run, run.success_marker, b"", there=False)


def _show(stores: Stores, run: Staged, url: str, text: bytes, *, there: bool) -> WrittenFile:
    """Publish a small file, unless this run has one of that size, of which no more is known."""
    if not there and (shown := _published(stores, run, url, text)):
        return shown
    facts = WrittenFile(url, 0, len(text), None, None, "", found=True)
    if stores.of(parse_target(url)).match(facts) not in {"same", "alike"}:
        what = "manifest" if text else "success marker"
        told = " Was it asked for in another form?" * there
        raise AlreadyExistsError(
            f"1 object that is not this delivery's {what} is at {url}, and stays.{told}", visible="some"
        )
    return facts


def _published(stores: Stores, run: Staged, url: str, text: bytes) -> WrittenFile | None:
    """Publish a small file; None where this run has one already."""
    place = parse_target(url)
    store = stores.of(place)
    writer = Writer(store.open(place, CONTENT_TYPE if text else EMPTY_TYPE, several=False))
    if text:
        writer.write(text)
    file = StagedFile(place.url, 0, len(text), f"crc32:{writer.crc:08x}", writer.finish())
    try:
        return written_file(file, store.publish(file, run.if_exists, repeatable=False))
    except BaseException as error:
        store.discard(file)  # no journal knows of it: it is written anew
        if run.repeatable and isinstance(error, AlreadyExistsError):
            return None
        raise


def written_file(file: StagedFile, done: Published) -> WrittenFile:
    """Return the facts of a file that is visible."""
    return WrittenFile(
        file.path,
        file.num_rows,
        file.num_bytes,
        done.etag,
        done.version_id,
        file.checksum,
        partition=file.partition,
        found=done.found,
        create_only=done.create_only,
        integrity=done.integrity,
        etag_is_computed=done.etag_is_computed,
    )


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
