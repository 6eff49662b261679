"""What a store refuses of a request is left out of it, remembered, and never asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import mc_sink
from mc_sink import ConfigurationError
from mc_sink.storage import _endpoint
from mc_sink.storage._parts import PartPlan
from mc_sink.storage._requests import Requests
from tests.delivered import RUN, deliver, seen
from tests.servers.fault import FaultServer
from tests.servers.profiles import PROFILES
from tests.servers.rules import GRANTED

if TYPE_CHECKING:
    from tests.servers.operations import Record

pytestmark = pytest.mark.usefixtures("tiny")
BY_NAME = {profile.name: profile for profile in PROFILES}
PART_SIZES = {"Put": 2**20, "Complete": 400}


def refused(server: FaultServer) -> list[Record]:
    """Return the requests that the store refused."""
    return [record for record in server.log if record.status in {400, 501}]


@pytest.mark.parametrize(
    ("name", "op", "number"),
    [
        ("minio", "Complete", 0),
        ("minio-composite", "Complete", 0),
        ("r2", "Complete", 1),
        ("r2-400", "Complete", 1),
        ("ovh", "Complete", 2),
        ("ovh", "Put", 1),
        ("gcs-400", "Complete", 1),
        ("storagegrid-12.0", "Put", 1),
        # A 501 that names no header is answered without the checksum first, and then without the condition.
        ("b2", "Put", 2),
        ("storagegrid-12.1", "Put", 2),
    ],
)
def test_a_store_is_asked_once(name: str, op: str, number: int) -> None:
    """Two files, one after the other, and a manifest: what the first has shown, the others go by."""
    with FaultServer(BY_NAME[name].tiny()) as server:
        where = server.writer.target("p/")
        requests = Requests(server.storage_options)
        for key in ("1", "2"):
            put = {"Bucket": server.bucket, "Key": f"p/{key}", "IfNoneMatch": "*"}
            if op == "Put":
                requests.call("put_object", **put, Body=b"abc", ChecksumCRC32="NSRBwg==")
            else:
                upload(requests, put)
        assert len(refused(server)) == number, where
        assert len(seen(server)) == 2


def upload(requests: Requests, where: dict[str, str]) -> None:
    """Deliver one small object by an upload, as a delivery does."""
    from mc_sink.object_options import ObjectOptions
    from mc_sink.staged import Multipart, StagedFile
    from mc_sink.storage._parts import S3Parts
    from mc_sink.storage._s3 import S3Store

    parts = S3Parts(requests, where["Bucket"], where["Key"], {}, PartPlan(min_size=1, first_size=2), keeps_whole=False)
    parts.write(b"abc")
    staged = parts.finish()
    assert isinstance(staged, Multipart)
    store = S3Store(None, ObjectOptions())
    store._requests = requests  # noqa: SLF001  two uploads through the same requests
    url = f"s3://{where['Bucket']}/{where['Key']}"
    store.publish(StagedFile(url, 1, 3, "crc32:352441c2", staged), "fail", repeatable=False)


@pytest.mark.parametrize("op", PART_SIZES)
def test_nothing_is_sent_unprotected(op: str) -> None:
    """The store refuses the condition, and the writer may not list: then nothing keeps a file from being replaced."""
    rules = replace(BY_NAME["b2"].tiny(), granted=GRANTED - {"List"})
    with FaultServer(rules) as server:
        with pytest.raises(ConfigurationError, match=r"If-None-Match.*if_exists='overwrite'"):
            deliver(server, part_size=PART_SIZES[op])
        assert seen(server) == {}
        receipt = deliver(server, part_size=PART_SIZES[op], if_exists="overwrite", stale="keep")
        assert {file.create_only for file in receipt.files} == {None}


def test_r2_is_known_by_its_host() -> None:
    """All parts are of one size there, also in its jurisdictions; elsewhere they grow."""
    keys = {"key": "x", "secret": "y"}
    for host, equal in (
        ("account.r2.cloudflarestorage.com", True),
        ("account.eu.r2.cloudflarestorage.com", True),
        ("r2.cloudflarestorage.com.example.org", None),
        ("s3.eu-central-1.amazonaws.com", False),
    ):
        assert Requests(keys | {"endpoint_url": f"https://{host}"}).ways.equal_parts is equal
    plan = PartPlan(equal=True)
    assert plan.size(1) == plan.size(10_000) == 16 * 2**20


def test_a_store_that_wants_equal_parts_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After all bytes, where its host isn't known: the error names the option, and with it the delivery is whole."""
    from functools import partial

    from mc_sink.storage import _s3

    monkeypatch.setattr(_s3, "PartPlan", partial(PartPlan, min_size=1, doubles_every=1))
    assert _endpoint.EQUAL_PARTS not in "127.0.0.1"
    with FaultServer(BY_NAME["r2"].tiny()) as server:
        with pytest.raises(ConfigurationError, match=r"parts of one size.*default_block_size"):
            deliver(server)
        assert seen(server) == {}
        assert deliver(server, part_size=4_000).verify().ok


def test_a_receipt_says_how_it_was_proven_and_kept() -> None:
    """Without a checksum by the signature, and without a condition by a listing."""
    with FaultServer(BY_NAME["ovh"].tiny()) as server:
        assert {file.integrity for file in deliver(server, run_id=RUN).files} == {"sha256"}
    with FaultServer(BY_NAME["b2"].tiny()) as server:
        receipt = deliver(server, run_id=RUN)
        assert {(file.integrity, file.create_only) for file in receipt.files} == {("crc32", "listing")}
        assert mc_sink.list_journals() == []
