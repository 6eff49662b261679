"""Close a delivery whose files are all visible: with the manifest, which is the commit point, and the success marker.

A receiver that waits for the manifest reads no half delivery. It is JSON, `version` 1: later versions only add fields.
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
from mc_sink.staged import StagedFile
from mc_sink.storage import Stores, Writer
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.staged import Staged
    from mc_sink.storage import Published

EMPTY_TYPE = "application/octet-stream"
VERSION = 1
CONTENT_TYPE = "application/json"
# Shorter values are padded with blanks: two attempts of a run may prove the same file in different ways, and their
# manifests are compared by size. A quotation mark within a text is escaped, so that no text looks like this.
_INTEGRITY = re.compile(r'"integrity": (null|"[a-z0-9]+"),')
_WIDEST = len('"integrity": "unproven",')


def publish_manifest(
    stores: Stores,
    staged: Sequence[Staged],
    files: Sequence[WrittenFile],
    stale: Sequence[str],
    *,
    already_published: bool,
) -> WrittenFile:
    """Publish the manifest of a delivery whose files are all visible, and return it as it was stored.

    An earlier attempt may have published it. The manifests of two attempts differ in their times, which are all as
    long, and a writer may not read them: the size is the evidence that they are the same.
    """
    run, url = staged[0], str(staged[0].manifest)
    text = manifest(staged, files, datetime.now(UTC), stale)
    if not already_published and (written := _publish_once(stores, run, url, text)):
        return written
    hint = " Was it asked for in another form?" if already_published else ""
    return _found(stores, url, len(text), f"not this delivery's manifest is at {url}, and stays.{hint}")


def publish_marker(stores: Stores, run: Staged) -> WrittenFile:
    """Publish the success marker, unless an earlier attempt has; return it as it was stored."""
    url = str(run.success_marker)
    return publish_empty(stores, run, url) or _found(
        stores, url, 0, f"not this delivery's success marker is at {url}, and stays."
    )


def publish_empty(stores: Stores, run: Staged, url: str) -> WrittenFile | None:
    """Publish an empty file; return None if this run, which may be repeated, has one already."""
    return _publish_once(stores, run, url, b"")


def _found(stores: Stores, url: str, num_bytes: int, otherwise: str) -> WrittenFile:
    """Return the facts of a small file that is visible already; raise if it has another size."""
    facts = WrittenFile(url, 0, num_bytes, None, None, "", from_prior_attempt=True)
    if stores.of(parse_target(url)).match(facts) not in {"same", "alike"}:
        raise AlreadyExistsError(f"An object that is {otherwise}", visible="some")
    return facts


def _publish_once(stores: Stores, run: Staged, url: str, text: bytes) -> WrittenFile | None:
    """Publish a small file; return None if this run, which may be repeated, has one already."""
    place = parse_target(url)
    store = stores.of(place)
    writer = Writer(store.open(place, CONTENT_TYPE if text else EMPTY_TYPE, several=False))
    if text:
        writer.write(text)
    file = StagedFile(place.url, 0, len(text), f"crc32:{writer.crc:08x}", writer.finish())
    try:
        return written_file(file, store.publish(file, run.if_exists, repeatable=False))
    except BaseException as error:
        store.discard(file)  # it is in no journal: the next attempt writes it again
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
        from_prior_attempt=done.from_prior_attempt,
        create_only=done.create_only,
        integrity=done.integrity,
        etag_is_computed=done.etag_is_computed,
        clear=file.clear,
    )


def manifest(
    staged: Sequence[Staged], files: Sequence[WrittenFile], ended_at: datetime, stale: Sequence[str] = ()
) -> bytes:
    """Return the text of a manifest; times are UTC, sizes are bytes as stored, `stale` are files of an earlier run.

    Redshift's COPY reads a form of its own, with the sizes, which it needs for Parquet. Source: Amazon Redshift
    Database Developer Guide, "Using a manifest to specify data files".
    """
    if staged[0].manifest_form == "redshift":
        sized = [(file.path, {"content_length": file.num_bytes}) for file in files]
        facts: dict[str, Any] = {"entries": [{"url": url, "mandatory": True, "meta": size} for url, size in sized]}
    else:
        facts = _facts(staged, files, ended_at) | ({"stale": list(stale)} if stale else {})
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
        **({"encryption": asdict(run.content.encryption)} if run.content.encryption else {}),
        "transfer_mode": "changes" if changes else "full",
        "changes": asdict(changes) if changes else None,
        "columns": dict(run.content.columns),
        "partition_by": list(run.content.partition_by),
        "num_files": len(files),
        "num_rows": sum(file.num_rows for file in files),
        "num_bytes": sum(file.num_bytes for file in files),
        "num_rejected": sum(part.rejects.num_rows for part in staged if part.rejects),
        **({"num_shares": len(staged)} if len(staged) > 1 else {}),
        "warnings": [
            asdict(warning)
            for warning in summed([*(warning for part in staged for warning in part.warnings), *unproven(files)])
        ],
        "files": [
            {
                "path": file.path,
                "num_rows": file.num_rows,
                "num_bytes": file.num_bytes,
                "etag": file.etag,
                "checksum": file.checksum,
                "integrity": file.integrity,
                "partition": None if file.partition is None else dict(file.partition),
                **({"clear": asdict(file.clear)} if file.clear else {}),
            }
            for file in files
        ],
    }


def _time(moment: datetime) -> str:
    """Return a time as text; all texts have the same length, and sort by time."""
    return moment.isoformat(timespec="microseconds")
