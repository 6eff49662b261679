"""What a store refuses of a request is left out of it, remembered, and never asked again."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

import mc_sink
from mc_sink import ConfigurationError, platforms
from mc_sink.platforms import Platform, check
from mc_sink.platforms.probe_requests import BODY
from mc_sink.platforms.secret_store import platforms_folder
from mc_sink.storage.s3 import bucket
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.part_plan import PartPlan
from tests.servers.fault import FaultServer
from tests.servers.profiles import PROFILES
from tests.servers.rules import GRANTED, NOT_IMPLEMENTED, WRITER, Refusal
from tests.support.keyrings import installed
from tests.support.small_deliveries import FRAME, RUN, deliver, options, seen

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
        # A 501 that names no header is answered with another checksum first, and then without the condition.
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
    from mc_sink.storage.s3.bucket import S3Store
    from mc_sink.storage.s3.multipart import S3Parts

    parts = S3Parts(requests, where["Bucket"], where["Key"], {}, PartPlan(min_size=1, first_size=2), keeps_whole=False)
    parts.write(b"abc")
    staged = parts.finish()
    assert isinstance(staged, Multipart)
    store = S3Store(None, ObjectOptions(), requests)  # two uploads through the same requests
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
        assert Requests(keys | {"endpoint_url": f"https://{host}"}).support.equal_parts is equal
    plan = PartPlan(equal=True)
    assert plan.size(1) == plan.size(10_000) == 16 * 2**20


@pytest.mark.parametrize("header", ["x-amz-mp-object-size", "x-amz-checksum-crc32"])
@pytest.mark.parametrize(
    "answer",
    [NOT_IMPLEMENTED, (400, "InvalidArgument", "Unsupported header '{header}' received for this API call.")],
)
def test_what_a_complete_is_refused_for_is_left_out_once(header: str, answer: tuple[int, str, str]) -> None:
    """The size, or the checksum of the whole: each file is delivered, and after the first one nothing is refused."""
    rules = replace(BY_NAME["aws"].tiny(), refusals=(Refusal(("Complete",), header, answer=answer),))
    with FaultServer(rules) as server:
        receipt = deliver(server)
        assert receipt.verify().ok
        assert {file.integrity for file in receipt.files} == {"crc32"}
        completes = server.log.of("Complete")
        before = [one for one in completes if one.key == completes[0].key]
        assert {one.status for one in completes if one not in before} == {200}
        assert not any(header in one.headers for one in completes if one not in before)
        assert all("if-none-match" in one.headers for one in completes if one.status == 200)


def test_a_checksum_that_is_refused_of_a_part_is_learnt_for_the_next_delivery() -> None:
    """The upload was created with it: this delivery ends, with the option that helps, and the next one is whole."""
    rules = BY_NAME["aws"].tiny()
    refusal = Refusal(("Part",), "x-amz-checksum-crc32", answer=NOT_IMPLEMENTED)
    with installed(), FaultServer(replace(rules, refusals=(refusal,))) as server:
        platforms.save(
            Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url)
        )

        def send() -> mc_sink.Receipt:
            few = {"default_block_size": 100}
            return mc_sink.sink_madconnect(FRAME, "s3://bucket/p/", platform="acme", storage_options=few)

        with pytest.raises(ConfigurationError, match="doesn't support the checksum"):
            send()
        assert (seen(server), server.pending_uploads(server.bucket)) == ({}, [])
        receipt = send()
        assert receipt.verify().ok
        assert {file.integrity for file in receipt.files} == {"sha256"}


def growing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts of a few bytes grow from the second one on."""
    monkeypatch.setattr(bucket, "PartPlan", partial(PartPlan, min_size=1, doubles_every=1))


def test_a_store_that_wants_equal_parts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """After all bytes, where its host isn't known: the error names the options, and with one the delivery is whole."""
    growing(monkeypatch)
    with FaultServer(BY_NAME["r2"].tiny()) as server:
        with pytest.raises(ConfigurationError, match=r"parts of one size.*equal_parts=True.*default_block_size"):
            deliver(server)
        assert seen(server) == {}
        asked = options(server) | {"equal_parts": True}
        receipt = mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), run_id=RUN, storage_options=asked)
        assert receipt.verify().ok


@pytest.mark.parametrize("name", ["r2", "aws"])
@pytest.mark.parametrize("learnt_by", ["check", "delivery"])
def test_whether_parts_may_grow_is_learnt_once(name: str, learnt_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a check, before any delivery, or by the first delivery: it is kept with the platform, and no other fails."""
    growing(monkeypatch)
    wants = name == "r2"
    with installed(), FaultServer(BY_NAME[name].tiny()) as server:
        platforms.save(
            Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url)
        )

        def send() -> mc_sink.Receipt:
            few = {"default_block_size": 100, "max_concurrency": 2}
            return mc_sink.sink_madconnect(
                FRAME, "s3://bucket/p/", platform="acme", storage_options=few, progress=False
            )

        if learnt_by == "check":
            row = check("acme", "s3://bucket/p/", leaving="an object")["part sizes"]
            assert (row.verdict, row.tried) == ("no" if wants else "yes", "an upload with parts of two sizes")
            assert [one.size for one in seen(server).values()] == [len(BODY)]
            assert server.pending_uploads(server.bucket) == []
        elif wants:
            with pytest.raises(ConfigurationError, match="with a saved platform a rerun is enough"):
                send()
        else:
            send()
        (kept,) = json.loads((platforms_folder() / "acme.json").read_text())["ways"]
        assert kept["facts"]["equal_parts"] is wants
        sent = len(server.log.of("Part"))
        check("acme", "s3://bucket/p/", leaving="an object")
        assert send().verify().ok
        sizes = {int(one.headers["content-length"]) for one in server.log.of("Part")[sent:] if "csv" in one.key}
        assert (len(sizes) == 2) == wants  # and a smaller last one


def test_the_limit_of_equal_parts_is_said_beforehand() -> None:
    """By a preview and by a check, and only where it is known that parts don't grow."""
    with installed(), FaultServer(BY_NAME["r2"].rules) as server:
        platforms.save(
            Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url)
        )
        assert "one size" not in str(mc_sink.preview(FRAME, "s3://bucket/p/", platform="acme"))
        report = check("acme", "s3://bucket/p/", leaving="an object")
        assert "156 GiB" in report["part sizes"].found
        shown = mc_sink.preview(FRAME, "s3://bucket/p/", platform="acme")
        assert "a file can have at most 156.2 GiB" in str(shown)
        assert shown.upload
        assert shown.upload.most_bytes == 10_000 * 16 * 2**20
        larger = {"default_block_size": 64 * 2**20}
        assert "625.0 GiB" in str(mc_sink.preview(FRAME, "s3://bucket/p/", platform="acme", storage_options=larger))


@pytest.mark.parametrize("wrong", ["yes", 1, "true"])
def test_equal_parts_is_true_or_false(wrong: object) -> None:
    """A word for it that isn't one is refused, before anything is sent."""
    with FaultServer() as server:
        asked = server.storage_options | {"equal_parts": wrong}
        with pytest.raises(ConfigurationError, match="equal_parts in storage_options must be True or False"):
            mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), storage_options=asked)
        assert list(server.log) == []


def test_a_receipt_says_how_it_was_proven_and_kept() -> None:
    """Without a checksum by the signature, and without a condition by a listing."""
    with FaultServer(BY_NAME["ovh"].tiny()) as server:
        assert {file.integrity for file in deliver(server, run_id=RUN).files} == {"sha256"}
    with FaultServer(BY_NAME["b2"].tiny()) as server:
        receipt = deliver(server, run_id=RUN)
        assert {(file.integrity, file.create_only) for file in receipt.files} == {("crc32", "listing")}
        assert mc_sink.list_journals() == []
