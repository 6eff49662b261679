"""The test server plays stores unlike AWS': conditions, checksums, ETags, uploads that outlive a Complete."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest
from botocore.exceptions import ClientError

from mc_sink.sandbox.admin import Admin
from tests.servers import checksums
from tests.servers.fault import FaultServer
from tests.servers.faults import FlipByte
from tests.servers.rules import ETags, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODIES = (b"first", b"second")
WHOLE = b"".join(BODIES)
CRC = "AAAAAA=="  # of other bytes


@contextmanager
def client(server: FaultServer) -> Iterator[Any]:
    """Yield a client with the writer's key, which sends once."""
    with Admin(server.url, server.writer.credentials, "").client() as s3:
        yield s3


def upload(s3: Any, server: FaultServer, key: str = "a", **created: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Upload the parts and return where they are, and the list of them for Complete."""
    where = {"Bucket": server.bucket, "Key": key}
    where["UploadId"] = s3.create_multipart_upload(**where, **created)["UploadId"]
    etags = [s3.upload_part(**where, PartNumber=n, Body=body)["ETag"] for n, body in enumerate(BODIES, 1)]
    return where, {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]}


@pytest.mark.parametrize("ignored", ["Put", "Complete"])
def test_a_condition_is_ignored_on_one_of_the_two(ignored: str) -> None:
    """A foreign object is replaced by the request whose condition the store reads over, and by no other."""
    rules = Rules(
        min_part_size=1,
        if_none_match_on_put="ignored" if ignored == "Put" else "honoured",
        if_none_match_on_complete="ignored" if ignored == "Complete" else "honoured",
    )
    with FaultServer(rules) as server, client(server) as s3:
        where, parts = upload(s3, server)
        server.put_foreign(server.bucket, "a", b"foreign")
        server.put_foreign(server.bucket, "b", b"foreign")
        asked: dict[str, Callable[[], object]] = {
            "Complete": lambda: s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*"),
            "Put": lambda: s3.put_object(Bucket=server.bucket, Key="b", Body=b"own", IfNoneMatch="*"),
        }
        for op, ask in asked.items():
            if op == ignored:
                ask()
            else:
                with pytest.raises(ClientError, match="PreconditionFailed"):
                    ask()
        assert server.read(server.bucket, "a") == (WHOLE if ignored == "Complete" else b"foreign")
        assert server.read(server.bucket, "b") == (b"own" if ignored == "Put" else b"foreign")


@pytest.mark.parametrize("checked", ["honoured", "ignored"])
def test_checksums_are_checked_and_echoed_or_neither(checked: Literal["honoured", "ignored"]) -> None:
    """A store that ignores checksums takes wrong ones, on every request, and echoes none."""
    with FaultServer(Rules(min_part_size=1, checksums=checked)) as server, client(server) as s3:
        where = {"Bucket": server.bucket, "Key": "a"}
        reply = s3.put_object(**where, Body=WHOLE, ChecksumAlgorithm="CRC32")
        assert ("ChecksumCRC32" in reply) == (checked == "honoured")
        where, parts = upload(s3, server, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
        part = s3.upload_part(**where, PartNumber=1, Body=BODIES[0], ChecksumAlgorithm="CRC32")
        assert ("ChecksumCRC32" in part) == (checked == "honoured")
        wrong: tuple[Callable[[], object], ...] = (
            lambda: s3.put_object(Bucket=server.bucket, Key="a", Body=WHOLE, ChecksumCRC32=CRC),
            lambda: s3.upload_part(**where, PartNumber=1, Body=BODIES[0], ChecksumCRC32=CRC),
            lambda: s3.complete_multipart_upload(
                **where, MultipartUpload=parts, ChecksumCRC32=CRC, ChecksumType="FULL_OBJECT"
            ),
        )
        for ask in wrong:
            if checked == "honoured":
                with pytest.raises(ClientError, match="BadDigest"):
                    ask()
            else:
                ask()


@pytest.mark.parametrize("signed", ["honoured", "ignored"])
def test_a_body_altered_on_the_way_is_seen_by_its_signature(signed: Literal["honoured", "ignored"]) -> None:
    """Where checksums are ignored, only the signed sum of a body can show that it was altered."""
    with FaultServer(Rules(checksums="ignored", signed_bodies=signed)) as server, client(server) as s3:
        server.fault("Put", FlipByte(2))
        if signed == "honoured":
            with pytest.raises(ClientError, match="XAmzContentSHA256Mismatch"):
                s3.put_object(Bucket=server.bucket, Key="a", Body=WHOLE)
            assert not server.listing(server.bucket)
        else:
            s3.put_object(Bucket=server.bucket, Key="a", Body=WHOLE)
            assert server.read(server.bucket, "a") == b"fisst" + BODIES[1]


@pytest.mark.parametrize(
    ("etags", "answered", "listed"),
    [("s3", "s3", "s3"), ("whole", "whole", "whole"), ("empty", "", "s3"), ("other", "s3", "whole")],
)
def test_etags_of_uploads_are_of_several_kinds(etags: ETags, answered: str, listed: str) -> None:
    """What Complete answers and what a listing shows are as the rule says; a Put's ETag is its MD5."""
    digests = [hashlib.md5(body, usedforsecurity=False).hexdigest() for body in BODIES]
    known = {"s3": checksums.etag_of_parts(digests), "whole": checksums.md5_of(BODIES), "": ""}
    with FaultServer(Rules(min_part_size=1, etags=etags)) as server, client(server) as s3:
        where, parts = upload(s3, server)
        reply = s3.complete_multipart_upload(**where, MultipartUpload=parts)
        assert reply["ETag"].strip('"') == known[answered]
        assert server.listing(server.bucket)["a"].etag == known[listed]
        assert s3.put_object(Bucket=server.bucket, Key="b", Body=WHOLE)["ETag"] == f'"{checksums.md5_of(BODIES)}"'


def test_opaque_etags_mean_nothing_and_stay() -> None:
    """Equal bytes get other ETags each time, the same in a reply and in a listing, and parts are found by their own."""
    with FaultServer(Rules(min_part_size=1, etags="opaque")) as server, client(server) as s3:
        told = [s3.put_object(Bucket=server.bucket, Key=key, Body=WHOLE)["ETag"].strip('"') for key in "bc"]
        for key in "de":
            where, parts = upload(s3, server, key)
            told.append(s3.complete_multipart_upload(**where, MultipartUpload=parts)["ETag"].strip('"'))
        assert [one.etag for one in server.listing(server.bucket).values()] == told
        assert len({*told, checksums.md5_of(BODIES)}) == 5


def test_an_upload_may_have_an_etag_unlike_any_sum() -> None:
    """It is not hex, and the same in a reply and a listing; a Put's and a part's are their MD5s."""
    with FaultServer(Rules(min_part_size=1, etags="unlike")) as server, client(server) as s3:
        where, parts = upload(s3, server)
        assert parts["Parts"][0]["ETag"] == f'"{checksums.md5_of(BODIES[:1])}"'
        told = s3.complete_multipart_upload(**where, MultipartUpload=parts)["ETag"].strip('"')
        assert server.listing(server.bucket)["a"].etag == told
        assert not set(told) <= set("0123456789abcdef-")
        assert s3.put_object(Bucket=server.bucket, Key="b", Body=WHOLE)["ETag"] == f'"{checksums.md5_of(BODIES)}"'


def test_an_abort_of_a_completed_upload_destroys_its_object() -> None:
    """An object may be visible while its upload still exists; then an Abort takes the object's bytes."""
    with FaultServer(Rules(min_part_size=1, completed_uploads="kept")) as server, client(server) as s3:
        where, parts = upload(s3, server)
        s3.complete_multipart_upload(**where, MultipartUpload=parts)
        assert server.read(server.bucket, "a") == WHOLE
        assert [one.upload_id for one in server.pending_uploads(server.bucket)] == [where["UploadId"]]
        s3.abort_multipart_upload(**where)
        assert server.listing(server.bucket)["a"].size == len(WHOLE)
        assert server.destroyed(server.bucket) == ["a"]
        with pytest.raises(LookupError, match="its bytes are gone"):
            server.read(server.bucket, "a")


def test_a_repeated_complete_is_already_in_progress() -> None:
    """Where the store believes a Complete to be under way, another one fails as a server's error, and for good."""
    rules = Rules(min_part_size=1, completed_uploads="kept", repeated_complete="InProgress")
    with FaultServer(rules) as server, client(server) as s3:
        where, parts = upload(s3, server)
        s3.complete_multipart_upload(**where, MultipartUpload=parts)
        for _ in range(2):
            with pytest.raises(ClientError, match="already in progress") as failed:
                s3.complete_multipart_upload(**where, MultipartUpload=parts)
            assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert server.read(server.bucket, "a") == WHOLE
