"""The driver of a delivery in shares is killed at any request: what it leaves, and how it ends in one copy."""

from __future__ import annotations

import copy
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

import mc_sink
from tests.servers.fault import FaultServer
from tests.servers.faults import Kill, When
from tests.servers.rules import GRANTED
from tests.support import killed_deliveries
from tests.support.killed_deliveries import Children
from tests.support.small_deliveries import MANIFEST, RUN, TINY, options, rows, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.killed_deliveries import Child

GRANTING = replace(TINY, granted=GRANTED | {"ListUploads"})
MARKER, FORMAT = "p/_SUCCESS", "parquet"

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Yield processes that are ready to deliver."""
    with Children() as made:
        yield made


def requests_of() -> list[str]:
    """Return the requests of a delivery without faults."""
    with FaultServer(GRANTING) as server:
        killed_deliveries.deliver_in_shares(server.url, FORMAT)
        assert server.log.ops().count("Complete") == 3
        return server.log.ops()


def kill_at(server: FaultServer, n: int, child: Child, when: When, state: Path) -> None:
    """Kill a driver when its n-th request arrives, or has been done."""
    server.fault("*", Kill(child.pid, signal.SIGKILL), n=n, when=when)
    child.start(state, url=server.url, format=FORMAT, in_shares=True)
    assert child.end()[0] == -signal.SIGKILL
    assert server.wait_until_idle()
    server.heal()


def end_both_ways(server: FaultServer, state: Path, folder: Path) -> None:
    """End it by a rerun, and then the same state once more by recovery, where a journal waits."""
    store, waiting = server.store, mc_sink.list_journals()
    left = copy.deepcopy((store.buckets, store.uploads, store.completed))
    kept = shutil.copytree(state, folder / "state", dirs_exist_ok=True)
    killed_deliveries.deliver_in_shares(server.url, FORMAT)
    assert_ended(server, folder)
    if waiting:
        store.buckets, store.uploads, store.completed = left
        shutil.rmtree(state)
        shutil.copytree(kept, state)
        mc_sink.recover(RUN, storage_options=options(server, killed_deliveries.PART_SIZE))
        assert_ended(server, folder)
    shutil.rmtree(kept)


def assert_ended(server: FaultServer, folder: Path) -> None:
    """Fail unless every row is there once, the manifest and the marker too, and nothing waits anywhere."""
    found = seen(server)
    assert len(found) == 5
    assert {MANIFEST, MARKER} < set(found)
    server.store.bucket(server.bucket).pop(MARKER)
    assert rows(server, FORMAT, folder).equals(killed_deliveries.frame())
    assert (mc_sink.list_journals(), server.pending_uploads(server.bucket)) == ([], [])
    assert server.destroyed(server.bucket) == []


def run_all(children: Children, state: Path, folder: Path, when: When, *, usual: bool) -> None:
    """Kill a new driver at each request; usually only at the second Complete, and at the manifest's Put."""
    operations = requests_of()
    chosen = [operations.index("Complete") + 2, operations.index("Put") + 1]
    for n in chosen if usual else range(1, len(operations) + 1):
        with FaultServer(GRANTING) as server:
            try:
                kill_at(server, n, children.take(), when, state)
                if n <= operations.index("Complete"):
                    assert seen(server) == {}
                assert (MANIFEST in seen(server)) <= (len(seen(server)) >= 4)
                end_both_ways(server, state, folder)
            except BaseException as error:
                error.add_note(f"{when} request {n}, {operations[n - 1]}")
                raise


def test_a_driver_killed_while_it_publishes_is_ended_by_a_rerun_or_recover(
    children: Children, state: Path, tmp_path: Path
) -> None:
    """Between two files, and before the manifest: whole files only, and either ending makes one copy."""
    run_all(children, state, tmp_path, "before", usual=True)


@pytest.mark.long
@pytest.mark.parametrize("when", get_args(When))
def test_a_driver_killed_at_any_request_leaves_nothing_half(
    children: Children, state: Path, tmp_path: Path, when: When
) -> None:
    """Before and after each request; uploads that no share named are swept."""
    run_all(children, state, tmp_path, when, usual=False)
