"""Deliveries of a few rows that several test files make, and what must be true of a bucket when one has ended.

Parts are a few bytes long, so that some rows fill many of them: the server here takes them, and `tiny_parts` makes the
sender cut them.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

import mc_sink
from mc_sink.storage.s3 import bucket
from mc_sink.storage.s3.part_plan import PartPlan
from tests.servers.rules import Rules
from tests.support.frames import as_text, numbers, read_back

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.servers.fault import FaultServer
    from tests.servers.s3_admin import Writer
    from tests.servers.store import StoredObject

TINY = Rules(min_part_size=1)
RUN = "r-1"
FRAME = numbers(60)
WRITES = ("Create", "Part", "Complete", "Put")
MANIFEST = f"p/_manifests/{RUN}.json"


def tiny_parts(patch: pytest.MonkeyPatch) -> None:
    """Make parts smaller than S3 accepts them."""
    patch.setattr(bucket, "PartPlan", partial(PartPlan, min_size=1))


def options(to: FaultServer | Writer, part_size: int = 400, read_timeout: float = 5) -> dict[str, Any]:
    """Return the server's address and key, tiny parts, and by default a timeout that a busy machine doesn't reach."""
    return to.storage_options | {"default_block_size": part_size, "config_kwargs": {"read_timeout": read_timeout}}


def deliver(
    server: FaultServer,
    frame: Any = FRAME,
    *,
    to: str = "p/",
    part_size: int = 400,
    read_timeout: float = 5,
    **how: Any,
) -> Any:
    """Deliver to the server, in files of 20 rows and under one run id unless other things are asked for."""
    how = {"run_id": RUN, "max_rows_per_file": 20 if to.endswith("/") else None} | how
    given = options(server, part_size, read_timeout)
    return mc_sink.sink_madconnect(frame, server.writer.target(to), storage_options=given, progress=False, **how)


def seen(server: FaultServer, prefix: str = "p/") -> dict[str, StoredObject]:
    """Return every visible object under a prefix, with its bytes, its version and the time when it was made."""
    return {key: one for key, one in sorted(server.store.bucket(server.bucket).items()) if key.startswith(prefix)}


def data_files(server: FaultServer, prefix: str = "p/") -> list[str]:
    """Return the keys that a reader of `prefix` would read, in order."""
    return [key for key in seen(server, prefix) if "/_manifests/" not in key]


def rows(server: FaultServer, format: str, folder: Path, prefix: str = "p/") -> pl.DataFrame:
    """Read all files under a prefix, one after the other, with a library that had no part in writing them."""
    return pl.concat(read_back(server.read(server.bucket, key), format, folder) for key in data_files(server, prefix))


def manifest_of(server: FaultServer, key: str = MANIFEST) -> Any:
    """Read a manifest."""
    return json.loads(server.read(server.bucket, key))


def assert_delivered_once(
    server: FaultServer, frame: pl.DataFrame, format: str, folder: Path, *, in_doubt: bool = False
) -> None:
    """Fail unless every row is there once and in order, the manifest lists the files, and nothing waits anywhere.

    An upload whose Complete was sent stays: the store isn't known to keep the condition, so it may take effect later.
    Uploads that were refused because of an equal object may be that object, `in_doubt`: they stay too.
    """
    assert rows(server, format, folder).equals(as_text(frame, format))
    listed = {server.writer.target(key): one for key, one in seen(server).items() if key != MANIFEST}
    facts = manifest_of(server)
    assert {file["path"]: (file["num_bytes"], file["etag"]) for file in facts["files"]} == {
        path: (one.size, one.etag) for path, one in listed.items()
    }
    assert facts["num_rows"] == frame.height
    assert mc_sink.list_journals() == []
    sent = {record.upload_id for record in server.log.of("Complete")}
    assert in_doubt or {one.upload_id for one in server.pending_uploads(server.bucket)} <= sent
    assert server.destroyed(server.bucket) == []
