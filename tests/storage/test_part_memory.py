"""The memory that parts are cut in is used again, and never while something still refers to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink.storage.s3.multipart import S3Parts
from mc_sink.storage.s3.part_memory import BLOCK_SIZE, PartMemory
from mc_sink.storage.s3.part_plan import MIB, PartPlan
from mc_sink.storage.s3.request import PartBody
from tests.servers.fault import FaultServer
from tests.servers.faults import Status
from tests.servers.rules import Rules
from tests.support.plain_requests import WHERE, requests_to

if TYPE_CHECKING:
    from tests.servers.faults import Fault

SMALL = 16


@given(st.lists(st.lists(st.binary(max_size=50), max_size=6), max_size=6), st.booleans())
def test_bytes_stay_what_they_are(parts: list[list[bytes]], is_reused: bool) -> None:  # noqa: FBT001  drawn
    """However they come, the bytes of a part are those that were added; those before it don't change by that."""
    memory, kept = PartMemory(SMALL), []
    for pieces in parts:
        for piece in pieces:
            memory.add(memoryview(piece))
        body = PartBody(memory.take())
        assert body.read() == b"".join(pieces)
        if is_reused:
            memory.give_back(body.free(), SMALL * 100)
        else:
            kept.append((body, b"".join(pieces)))
    for body, whole in kept:
        body.seek(0)
        assert body.read() == whole


def filled(memory: PartMemory, num_bytes: int) -> PartBody:
    """Return a part of so many bytes."""
    memory.add(memoryview(bytes(num_bytes)))
    return PartBody(memory.take())


def test_blocks_are_used_again() -> None:
    """A hundred parts, one after the other, take the memory of one."""
    memory = PartMemory(10 * BLOCK_SIZE)
    for _ in range(100):
        memory.give_back(filled(memory, 3 * BLOCK_SIZE).free(), 10 * BLOCK_SIZE)
    assert memory.num_blocks == 3


def test_a_block_that_a_connection_still_sends_is_not_used_again() -> None:
    """A store may answer before it has read all of a body: what is sent after that must not be another part's bytes."""
    memory = PartMemory(SMALL)
    memory.add(memoryview(b"first part"))
    body = PartBody(memory.take())
    unsent = body.pieces[0][3:]
    memory.give_back(body.free(), SMALL * 10)
    memory.add(memoryview(b"second"))
    assert bytes(unsent) == b"st part"
    memory.give_back(PartBody(memory.take()).free(), SMALL * 10)
    assert memory.num_blocks == 2


@pytest.mark.parametrize("most", [0, SMALL, 3 * SMALL])
def test_no_more_is_kept_than_may_be_in_flight(most: int) -> None:
    """Once fewer parts may be in flight, the memory of the others is let go."""
    memory = PartMemory(SMALL)
    bodies = [filled(memory, SMALL) for _ in range(5)]
    for body in bodies:
        memory.give_back(body.free(), most)
    for _ in range(5):
        filled(memory, SMALL)
    assert memory.num_blocks == 10 - most // SMALL


@pytest.mark.parametrize("fault", [None, Status(503)], ids=str)
def test_an_upload_takes_the_memory_of_its_parts_in_flight(
    fault: Fault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve parts, two of them in flight, are stored as they were written, in the blocks of at most four parts."""
    made: list[PartMemory] = []

    def noted(part_size: int) -> PartMemory:
        made.append(PartMemory(part_size))
        return made[-1]

    monkeypatch.setattr("mc_sink.storage.s3.multipart.PartMemory", noted)
    with FaultServer(Rules()) as server:
        if fault:
            server.fault("Part", fault, times=3)
        plan = PartPlan(first_size=5 * MIB, in_flight=2)
        parts = S3Parts(requests_to(server), WHERE["Bucket"], WHERE["Key"], {}, plan, keeps_whole=False)
        data = os.urandom(60 * MIB)
        for start in range(0, len(data), 700_001):
            parts.write(data[start : start + 700_001])
        parts.finish()
        (upload,) = server.store.uploads.values()
        assert b"".join(piece for number in sorted(upload.parts) for piece in upload.parts[number].data) == data
    (memory,) = made
    assert 10 <= memory.num_blocks <= 20
