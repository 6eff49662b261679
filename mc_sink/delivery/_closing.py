"""What closes a delivery when all its files are visible: the manifest, which is the commit point, and a marker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_sink.delivery._run import in_order
from mc_sink.delivery._verify import is_visible
from mc_sink.exceptions import AlreadyExistsError
from mc_sink.manifest import CONTENT_TYPE, manifest
from mc_sink.receipt import WrittenFile
from mc_sink.staged import Present, StagedFile
from mc_sink.storage import Stores, Writer
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mc_sink.staged import Staged
    from mc_sink.storage import Published

EMPTY_TYPE = "application/octet-stream"


def is_closed(stores: Stores, staged: Sequence[Staged]) -> bool:
    """Say whether this run's manifest is visible already; raises where it can't list what this try would publish."""
    run = staged[0]
    if not run.manifest or not run.repeatable or run.if_exists == "overwrite" or not is_visible(stores, run.manifest):
        return False
    missing = [file.path for file in in_order(staged) if not (_is_there(file) or is_visible(stores, file.path))]
    if missing:
        raise AlreadyExistsError(
            f"Run {run.run_id} has been delivered: its manifest is at {run.manifest}, and {len(missing)} object(s) of "
            f"this try aren't there, from {missing[0]} on. Nothing of this try became visible. Use a new run_id."
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
        told = " Was it asked for in another form? Nothing more became visible." * there
        raise AlreadyExistsError(f"1 object that is not this delivery's {what} is at {url}, and stays.{told}")
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
