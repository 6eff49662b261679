"""A process that is killed at any request of a delivery: what it leaves, and how it ends in one copy of every row."""

from __future__ import annotations

import copy
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest

import mc_sink
from mc_sink.publishing import journal
from tests.servers.fault import FaultServer
from tests.servers.faults import Kill, When
from tests.support import killed_deliveries
from tests.support.frames import FORMATS
from tests.support.killed_deliveries import Child, Children
from tests.support.small_deliveries import MANIFEST, RUN, TINY, assert_delivered_once, options, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: killed_deliveries.EXIT_CODE}


pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Yield processes that are ready to deliver."""
    with Children() as made:
        yield made


def num_requests(format: str) -> int:
    """Count the requests of a delivery without faults."""
    with FaultServer(TINY) as server:
        killed_deliveries.deliver(server.url, format=format, run_id=RUN)
        assert len(server.log.of("Create")) == 3
        assert len(server.log.of("Part")) >= 6
        return len(server.log)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to be killed: which delivery, by what, and whether the request that brings it has its effect."""

    format: str
    sent: signal.Signals
    when: When

    def __str__(self) -> str:
        return f"{self.format}, {self.sent.name} {self.when}"


ALL = [Way(format, sent, when) for format in FORMATS for sent in EXIT_CODES for when in get_args(When)]
USUAL = [Way("csv", signal.SIGKILL, "before"), Way("parquet", signal.SIGKILL, "after")]


@pytest.mark.parametrize(
    "way", [way if way in USUAL else pytest.param(way, marks=pytest.mark.long) for way in ALL], ids=str
)
def test_a_process_killed_at_any_request_leaves_nothing_half(
    children: Children, state: Path, tmp_path: Path, way: Way
) -> None:
    """Each request in turn meets the signal: only whole files are visible, and either ending makes one copy."""
    for n in range(1, num_requests(way.format) + 1):
        with FaultServer(TINY) as server:
            try:
                kill_at(server, n, children.take(), way, state)
                assert set(seen(server)) == took_effect(server, n, way.when)
                end_both_ways(server, state, tmp_path, way.format)
            except BaseException as error:
                error.add_note(f"{way}: request {n}, {list(server.log)[n - 1].op}")
                raise


def kill_at(server: FaultServer, n: int, child: Child, way: Way, state: Path) -> None:
    """Start a delivery in a child, and kill it when its n-th request arrives, or has been done."""
    server.fault("*", Kill(child.pid, way.sent), n=n, when=way.when)
    child.start(state, url=server.url, format=way.format, run_id=RUN)
    code, errors = child.end()
    assert "Fatal Python error" not in errors
    assert code == EXIT_CODES[way.sent], errors
    assert server.wait_until_idle()
    server.heal()


def took_effect(server: FaultServer, struck: int, when: When) -> set[str]:
    """Return the keys that some request has made visible."""
    publishing = server.log.of("Complete", "Put")
    return {one.key for one in publishing if one.status == 200 or (one.n == struck and when == "after")}


def end_both_ways(server: FaultServer, state: Path, folder: Path, format: str) -> None:
    """End it by a rerun, and then the same state once more by recovery, where a journal waits."""
    store = server.store
    waiting, pending = mc_sink.list_journals(), server.pending_uploads(server.bucket)
    sent = {upload_id for one in waiting for upload_id in journal.sent(one.run_id, one.target)}
    may_take_effect = [upload for upload in pending if upload.upload_id in sent]
    left = copy.deepcopy((store.buckets, store.uploads, store.completed))
    kept = shutil.copytree(state, folder / "state", dirs_exist_ok=True)
    killed_deliveries.deliver(server.url, format=format, run_id=RUN)
    assert_ended(server, folder, format, may_take_effect if waiting else pending)
    if waiting:
        store.buckets, store.uploads, store.completed = left
        shutil.rmtree(state)
        shutil.copytree(kept, state)
        mc_sink.recover(RUN, storage_options=options(server, killed_deliveries.PART_SIZE))
        assert_ended(server, folder, format, may_take_effect)
    shutil.rmtree(kept)


def assert_ended(server: FaultServer, folder: Path, format: str, known: list[Any]) -> None:
    """Fail unless all is delivered once, and no upload is pending but those that were when the process died.

    One without a journal is unknown, and one that was about to be completed may take effect after the rerun.
    """
    assert [upload for upload in server.pending_uploads(server.bucket) if upload not in known] == []
    for upload in known:
        if upload in server.pending_uploads(server.bucket):
            server.store.abort(server.bucket, upload.key, upload.upload_id)
    assert len(seen(server)) == 4
    assert MANIFEST in seen(server)
    assert_delivered_once(server, killed_deliveries.frame(), format, folder)
