"""Listings end: a store that says that more follows, and not where, or always, is an error and not a long wait."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import mc_sink
from mc_sink import SinkError
from mc_sink.storage.s3 import evidence
from tests.servers.faults import FOREVER, Body
from tests.support.frames import numbers

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

XML = (("Content-Type", "application/xml"),)


def page(*, token: str = "") -> bytes:
    """Return a page of another run's file that says that more follow; with `token`, it names the next page."""
    named = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else "<NextMarker>p/a</NextMarker>"
    entry = "<Key>p/a.csv</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>0</ETag><Size>1</Size>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><Prefix>p/</Prefix><IsTruncated>true</IsTruncated>{named}<Contents>{entry}</Contents></ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(("token", "most_lists"), [("", 1), ("the same", 2)])
def test_a_listing_that_does_not_say_how_it_goes_on_is_an_error(
    fault_s3: FaultServer, token: str, most_lists: int
) -> None:
    """As a store does that knows only the first version of the request, or one that goes round in circles."""
    fault_s3.fault("List", Body(200, page(token=token), XML), times=FOREVER)
    with pytest.raises(SinkError, match="more follow, and doesn't name the next one") as raised:
        mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/"), storage_options=fault_s3.storage_options)
    assert raised.value.visible == "nothing"
    assert len(fault_s3.log.of("List")) == most_lists
    assert fault_s3.log.of("Put", "Create") == []


def test_a_listing_without_end_is_an_error(fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that each name another next one end at a stated number."""
    monkeypatch.setattr(evidence, "_MOST_PAGES", 20)
    for number in range(30):
        fault_s3.fault("List", Body(200, page(token=f"{number}"), XML), n=number + 1)
    with pytest.raises(SinkError, match="more than 20 pages"):
        mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/"), storage_options=fault_s3.storage_options)
    assert len(fault_s3.log.of("List")) == 20


@pytest.mark.parametrize("left_out", ["Key", "Size", "ETag"])
def test_a_listing_whose_entries_lack_something_is_no_answer(fault_s3: FaultServer, left_out: str) -> None:
    """It proves nothing about a key: an error before the first byte, and the next delivery goes through."""
    whole = page().replace(b"<IsTruncated>true", b"<IsTruncated>false")
    cut = re.sub(rf"<{left_out}>.*?</{left_out}>".encode(), b"", whole)
    target = fault_s3.writer.target("p/")
    fault_s3.fault("List", Body(200, cut, XML))
    with pytest.raises(SinkError, match="the reply is not an answer of S3"):
        mc_sink.sink_madconnect(numbers(3), target, storage_options=fault_s3.storage_options)
    assert fault_s3.log.of("Put", "Create") == []
    assert mc_sink.sink_madconnect(numbers(3), target, storage_options=fault_s3.storage_options).num_rows == 3
