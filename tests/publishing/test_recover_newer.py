"""A recovery looks before it publishes: what was delivered meanwhile by others, or again, is not replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown, PermissionDenied
from mc_sink.storage.local import LocalStore
from tests.servers.fault import FaultServer
from tests.servers.faults import Status
from tests.servers.rules import Rules
from tests.support.frames import FORMATS
from tests.support.small_deliveries import FRAME, RUN, assert_delivered_once, deliver, options, seen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny")

DENIED = Status(403, "AccessDenied")
OLDER = FRAME.with_columns(day=pl.lit(7, pl.Int8))
REPLACING: dict[str, Any] = {"name": "{part:05d}{ext}", "if_exists": "overwrite"}


def cut_short(server: FaultServer, **how: Any) -> None:
    """Deliver, and be refused at the second of the files."""
    server.fault("Complete", DENIED, n=2)
    with pytest.raises(CommitError):
        deliver(server, **how)
    server.heal()


def recover(server: FaultServer, **how: Any) -> Any:
    """Recover the run."""
    return mc_sink.recover(RUN, storage_options=options(server), **how)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("newer", range(3))
@pytest.mark.parametrize("replacing", [True, False])
def test_newer_data_are_not_replaced(server: FaultServer, format: str, newer: int, *, replacing: bool) -> None:
    """At whichever key they are: nothing more is published, the error names it, and giving up leaves them there."""
    if replacing:
        deliver(server, OLDER, **REPLACING, format=format, run_id="older")
    cut_short(server, **(REPLACING if replacing else {"name": "{part:05d}={run_id}{ext}"}), format=format)
    taken = f"p/0000{newer}{'' if replacing else f'={RUN}'}.{format}"
    server.put_foreign(server.bucket, taken, b"newer")
    before = seen(server)
    with pytest.raises(
        mc_sink.SinkError, match=rf"object at .*{taken} is neither of run .* journal, and stays as it was"
    ) as raised:
        recover(server)
    assert isinstance(raised.value, CommitError if newer else AlreadyExistsError)
    assert seen(server) == before
    assert len(mc_sink.list_journals()) == 1
    recover(server, action="discard")
    assert server.read(server.bucket, taken) == b"newer"
    assert server.pending_uploads(server.bucket) == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("num_files", [3, 12])
def test_what_a_run_was_to_replace_is_replaced(
    server: FaultServer, tmp_path: Path, format: str, num_files: int
) -> None:
    """What stood there when it was noted is known, also of many files, and recovery goes on over it."""
    how: dict[str, Any] = REPLACING | {"format": format, "max_rows_per_file": 60 // num_files, "part_size": 200}
    deliver(server, OLDER, **how, run_id="older", manifest=False)
    cut_short(server, **how)
    assert recover(server).num_rows == 60
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, *, newer: bool
) -> None:
    """On the disk: a file that was replaced meanwhile stays, and one that was to be replaced is."""
    how: dict[str, Any] = REPLACING | {"format": format, "run_id": RUN, "max_rows_per_file": 20}
    mc_sink.sink_madconnect(OLDER, f"{tmp_path}/", **how)
    publish, done = LocalStore.publish, []

    def interrupted(store: LocalStore, file: Any, *args: Any, **more: Any) -> Any:
        done.append(file)
        if len(done) == 2:
            raise KeyboardInterrupt
        return publish(store, file, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **how)
    last = tmp_path / f"00002.{format}"
    if newer:
        last.write_bytes(b"newer")
        with pytest.raises(CommitError, match=rf"object at {last} is neither of run .* nor recorded in its journal"):
            mc_sink.recover(RUN)
        assert last.read_bytes() == b"newer"
    else:
        receipt = mc_sink.recover(RUN)
        assert receipt.verify().ok
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
            f"0000{part}.{format}" for part in range(3)
        ]


@pytest.mark.parametrize("etags", ["opaque", "whole"])
def test_where_an_etag_shows_nothing_nothing_is_replaced(etags: Any) -> None:
    """An object of the same size may be this run's own or newer: refused, and not replaced."""
    with FaultServer(Rules(min_part_size=1, etags=etags)) as server:
        deliver(server, OLDER, **REPLACING, run_id="older", manifest=False)
        cut_short(server, **REPLACING)
        before = seen(server)
        with pytest.raises(CommitUnknown, match="ETag, which KMS may have made, shows nothing"):
            recover(server)
        assert seen(server) == before


def test_a_run_that_replaces_is_not_recovered_blindly(server: FaultServer) -> None:
    """Without the right to list, newer data could not be seen."""
    cut_short(server, **REPLACING)
    before = seen(server)
    server.fault("List", DENIED, times=9)
    with pytest.raises(PermissionDenied, match=r"can't be seen.*s3:ListBucket"):
        recover(server)
    assert seen(server) == before
