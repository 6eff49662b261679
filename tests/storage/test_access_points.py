"""Access points of S3, by ARN and by alias: what goes over the wire, which policy they need, and what is refused."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

import mc_sink
from mc_sink import ConfigurationError, ObjectOptions, TargetError
from mc_sink.platforms import Platform, bucket_policy, policy
from mc_sink.sandbox.admin import Writer, unique_name
from mc_sink.storage import Probes
from mc_sink.target import Target, parse_target
from tests.servers.fault import FaultServer
from tests.servers.rules import Rules
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.versions import TRUE_IN_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.sandbox.admin import Admin

ACCOUNT = "123456789012"
ARN = f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/partner"
ALIAS = "partner-a1b2c3d4e5f6g7h8-s3alias"
HOST = f"partner-{ACCOUNT}"


class Here(AbstractResolver):
    """Finds every host on this machine, and notes which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the loopback address."""
        self.asked.append(host)
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Have nothing to close."""


@pytest.fixture
def point() -> Iterator[FaultServer]:
    """Give a store that knows the access point by its host."""
    with FaultServer(Rules(buckets=(HOST, ALIAS))) as server:
        yield server


def options(server: FaultServer) -> dict[str, Any]:
    """Give options that reach the server by any name."""
    url = server.url.replace("127.0.0.1", "localhost")
    return server.storage_options | {"endpoint_url": url, "config_kwargs": {"connector_args": {"resolver": Here()}}}


@pytest.mark.parametrize("start", ["s3://", "s3a://", ""])
@pytest.mark.parametrize("rows", [3, 300_000])
def test_a_delivery_goes_through_the_access_point(point: FaultServer, start: str, rows: int) -> None:
    """By its ARN, with "s3://" in front or not; the host names it, the receipt has its ARN, and all is found again."""
    receipt = mc_sink.sink_madconnect(
        numbers(rows), f"{start}{ARN}/feeds/", run_id="r1", storage_options=options(point) | SMALL_PARTS
    )
    assert [file.path for file in receipt.files] == [f"s3://{ARN}/feeds/r1.csv"]
    assert list(point.listing(HOST)) == ["feeds/r1.csv"]
    assert receipt.verify().ok
    again = mc_sink.sink_madconnect(
        numbers(rows), f"{start}{ARN}/feeds/", run_id="r1", storage_options=options(point) | SMALL_PARTS
    )
    assert again.num_found == 1
    assert len(point.log.of("Complete", "Put")) == 1


def test_an_access_point_takes_several_files_and_a_manifest(point: FaultServer) -> None:
    """All of one run are beside each other."""
    receipt = mc_sink.sink_madconnect(
        numbers(100), f"s3://{ARN}/feeds/", max_rows_per_file=60, run_id="r1", storage_options=options(point)
    )
    assert receipt.verify().ok
    assert sorted(point.listing(HOST)) == ["feeds/_manifests/r1.json", "feeds/r1-00000.csv", "feeds/r1-00001.csv"]


def test_an_alias_is_like_a_bucket(point: FaultServer) -> None:
    """S3 takes it wherever a bucket's name stands."""
    receipt = mc_sink.sink_madconnect(numbers(3), f"s3://{ALIAS}/feeds/", storage_options=options(point))
    assert receipt.verify().ok
    assert len(point.listing(ALIAS)) == 1


@pytest.mark.parametrize("region", [None, "us-east-1"])
def test_the_region_is_the_arns(region: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every configured region, requests go to the access point's own host."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    here = Here()
    client = {"client_kwargs": {"region_name": region}} if region else {}
    config = {"connector_args": {"resolver": here}, "connect_timeout": 1, "read_timeout": 1}
    probes = Probes({"key": "k", "secret": "s", "config_kwargs": config, **client})
    assert probes.ask("abort_multipart_upload", Bucket=ARN, Key="k", UploadId="u").status is None
    assert set(here.asked) == {f"{HOST}.s3-accesspoint.eu-west-1.amazonaws.com"}


def test_what_an_access_point_does_not_go_with_is_said(point: FaultServer) -> None:
    """One of another partition than the configured region's, for example."""
    asked = options(point) | {"client_kwargs": {"region_name": "us-east-1"}}
    china = ARN.replace("arn:aws", "arn:aws-cn").replace("eu-west-1", "cn-north-1")
    with pytest.raises(ConfigurationError, match=r"do not fit an access point.*region_name.*in its ARN"):
        mc_sink.sink_madconnect(numbers(3), f"s3://{china}/feeds/", storage_options=asked)
    assert len(point.log) == 0


GOV = ARN.replace("arn:aws", "arn:aws-us-gov")
TARGETS: list[tuple[str, Target]] = [
    (f"s3://{ARN}/a/b.csv", Target("s3", ARN, "a/b.csv")),
    (f"{ARN}/a/", Target("s3", ARN, "a/")),
    (f"s3://{ARN}/./", Target("s3", ARN, "")),
    (f"s3://{ARN}/object/", Target("s3", ARN, "object/")),
    (f"s3://{ARN.replace('/', ':')}/a/", Target("s3", ARN, "a/")),
    (
        f"s3://{ARN.replace('arn:aws', 'arn:aws-us-gov')}/a/",
        Target("s3", ARN.replace("arn:aws", "arn:aws-us-gov"), "a/"),
    ),
    (f"s3://{ARN}/a@b=c:d/e.csv", Target("s3", ARN, "a@b=c:d/e.csv")),
]


@pytest.mark.parametrize(("text", "meant"), TARGETS)
def test_an_arn_is_read_and_written_back(text: str, meant: Target) -> None:
    """The bucket of the target is the ARN, and its URL is read back as the same target."""
    assert parse_target(text) == meant
    assert parse_target(meant.url) == meant


REFUSED = [
    ("s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/p/", "multi-Region.*SigV4A.*one Region"),
    ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/p/", "multi-Region"),
    ("s3://mfzwi23gnjvgw.mrap/p/", "'mfzwi23gnjvgw.mrap', names a multi-Region"),
    ("s3://data--euw1-az1--x-s3/p/", "directory bucket.*not supported.*general purpose"),
    ("s3://partner--euw1-az1--xa-s3/p/", "directory bucket"),
    ("s3://arn:aws:s3express:eu-west-1:123456789012:bucket/data--euw1-az1--x-s3/p/", "directory bucket"),
    ("arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-01/accesspoint/n/p/", "Outposts, which is not supported"),
    ("s3://n-o0123--op-s3/p/", "Outposts"),
    ("arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/n/p/", "Object Lambda.*only reads"),
    ("s3://n-abc--ol-s3/p/", "Object Lambda"),
    ("s3://n--table-s3/p/", "table bucket"),
    (f"{ARN}/object/feeds/", f"ARN of objects.*Did you mean s3://{ARN}/feeds/"),
    (f"s3://{ARN}", f"root of the access point.*s3://{ARN}/exports/"),
    (f"s3://{ARN.replace(ACCOUNT, '1234')}/a/", "is an ARN.*s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix/"),
    (f"s3://{ARN}/a//b/", "empty part"),
    (f"s3://{ARN}/a/?versionId=1", "query"),
]


@pytest.mark.parametrize(("target", "expected"), REFUSED)
def test_what_cannot_be_delivered_to_is_refused_before_anything_is_sent(target: str, expected: str) -> None:
    """With what it is, and what to write instead."""
    with pytest.raises(TargetError, match=expected):
        parse_target(target)


def test_the_policy_is_the_access_points() -> None:
    """Objects have a folder of their own in its ARN, the listing is the access point's, and the key's is as ever."""
    deliver, listing = policy(f"s3://{ARN}/feeds/")["Statement"]
    assert deliver["Resource"] == [f"{ARN}/object/feeds/*"]
    assert listing["Resource"] == [ARN]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["feeds/*"]}}
    assert policy(f"{ARN}/feeds/", scope="bucket")["Statement"][0]["Resource"] == [ARN, f"{ARN}/object/*"]
    theirs = bucket_policy(f"s3://{ARN}/feeds/", ACCOUNT)["Statement"]
    assert [one["Resource"] for one in theirs] == [[f"{ARN}/object/feeds/*"], [ARN]]


def test_a_policy_for_an_alias_asks_for_the_arn() -> None:
    """IAM takes no alias, and the ARN can't be made of one."""
    with pytest.raises(ConfigurationError, match=r"alias.*s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/feeds/"):
        policy(f"s3://{ALIAS}/feeds/")


def test_a_platform_is_bound_to_an_access_point() -> None:
    """Or to a prefix in one; the bucket behind it is another place."""
    for bound in (ARN, f"s3://{ARN}/", f"s3://{ARN}/feeds/", f"s3://{ARN}/feeds"):
        platform = Platform(name="acme", buckets=(bound,))
        assert platform.check_bounds(f"s3://{ARN}/feeds/x.csv").bucket == ARN
        for outside in ("s3://bucket/feeds/", f"s3://{ARN.replace('partner', 'other')}/feeds/"):
            with pytest.raises(ConfigurationError, match="outside"):
                platform.check_bounds(outside)


LOCKED = ObjectOptions(
    sse_kms_encryption_context={"feed": "a"},
    bucket_key_enabled=True,
    object_lock_mode="COMPLIANCE",
    object_lock_retain_until=datetime(2100, 1, 1, tzinfo=UTC),
    object_lock_legal_hold=True,
)
HEADERS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-context": "eyJmZWVkIjogImEifQ==",
    "x-amz-server-side-encryption-bucket-key-enabled": TRUE_IN_HEADERS,
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2100-01-01T00:00:00Z",
    "x-amz-object-lock-legal-hold": "ON",
}


@pytest.mark.parametrize(("rows", "op"), [(3, "Put"), (300_000, "Create")])
def test_object_lock_and_kms_are_sent(fault_s3: FaultServer, rows: int, op: str) -> None:
    """With the request that makes the object, by S3's names; a preview has the permissions that they need."""
    order: dict[str, Any] = {"storage_options": fault_s3.storage_options | SMALL_PARTS, "object_options": LOCKED}
    mc_sink.sink_madconnect(numbers(rows), fault_s3.writer.target("p/"), **order)
    sent = fault_s3.log.of(op)[0].headers
    assert {name: sent.get(name) for name in HEADERS} == HEADERS
    needed = mc_sink.preview(numbers(3), fault_s3.writer.target("p/"), **order).permissions
    assert {"s3:PutObjectRetention", "s3:PutObjectLegalHold", "kms:GenerateDataKey"} <= set(needed)


def test_a_retention_that_has_ended_ends_the_delivery_before_a_byte(fault_s3: FaultServer) -> None:
    """S3 would refuse it, after the first part."""
    ended = ObjectOptions(object_lock_mode="GOVERNANCE", object_lock_retain_until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match="is in the past"):
        mc_sink.sink_madconnect(
            numbers(3),
            fault_s3.writer.target("p/"),
            storage_options=fault_s3.storage_options,
            object_options=ended,
        )
    assert set(fault_s3.log.ops()) <= {"List"}


def test_the_policy_grants_retention_where_it_is_asked_for() -> None:
    """Two more actions on the same objects, and on no others."""
    also = ["s3:PutObjectRetention", "s3:PutObjectLegalHold"]
    deliver = policy("s3://bucket/p/", also=also)["Statement"][0]
    assert deliver["Action"] == ["s3:PutObject", "s3:PutObjectAcl", *also]
    assert deliver["Resource"] == ["arn:aws:s3:::bucket/p/*"]


@pytest.mark.parametrize("rows", [3, 300_000])
def test_a_real_store_keeps_what_object_lock_asks_for(seaweed: Admin, rows: int) -> None:
    """In a bucket with Object Lock: mode, time and hold are the object's, by one Put and by an upload in parts."""
    bucket = unique_name("locked")
    with seaweed.client() as s3:
        s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        lock = replace(LOCKED, sse_kms_encryption_context={}, bucket_key_enabled=None, object_lock_mode="GOVERNANCE")
        options = Writer(seaweed.url, bucket, seaweed.credentials).storage_options | SMALL_PARTS
        mc_sink.sink_madconnect(numbers(rows), f"s3://{bucket}/p/x.csv", storage_options=options, object_options=lock)
        kept = s3.get_object_retention(Bucket=bucket, Key="p/x.csv")["Retention"]
        assert (kept["Mode"], kept["RetainUntilDate"]) == ("GOVERNANCE", LOCKED.object_lock_retain_until)
        assert s3.get_object_legal_hold(Bucket=bucket, Key="p/x.csv")["LegalHold"]["Status"] == "ON"
