"""The test server's rules: what it grants, checks and keeps, and that its sums are S3's."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest
from botocore.exceptions import ClientError

from mc_sink.sandbox.admin import Admin
from tests.servers import checksums
from tests.servers.assertions import assert_nothing_visible
from tests.servers.fault import FaultServer
from tests.servers.intake import AwsChunked
from tests.servers.rules import GRANTED, Rules

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator

MIB = 1 << 20


def client(server: FaultServer) -> contextlib.AbstractContextManager[Any]:
    """Return a client with the writer's key, which sends once."""
    return Admin(server.url, server.writer.credentials, "").client()


def test_permissions_can_be_taken_away() -> None:
    """An operation that isn't granted is refused, and an ACL or tags need more than a plain Put."""
    with FaultServer(Rules(granted=GRANTED - {"Abort", "PutAcl"})) as server, client(server) as s3:
        where = {"Bucket": server.bucket, "Key": "a"}
        s3.put_object(**where)
        for options in ({"ACL": "bucket-owner-full-control"}, {"Tagging": "a=b"}):
            with pytest.raises(ClientError, match="AccessDenied"):
                s3.put_object(**where, **options)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.abort_multipart_upload(**where, UploadId="u")


def test_a_listing_comes_in_pages() -> None:
    """Every key is listed once, however small the pages, and prefixes are rolled up."""
    keys = [f"p/{n:02}/é+ &.csv" for n in range(7)]
    with FaultServer(Rules(list_page=3)) as server:
        for key in keys:
            server.put_foreign(server.bucket, key, b"x")
        owner = Admin(server.url, server.writer.credentials, "")
        assert list(owner.listing(server.bucket, "p/")) == keys
        assert server.log.ops() == ["List"] * 3
        with owner.client() as s3:
            found = s3.list_objects_v2(Bucket=server.bucket, Prefix="p/0", Delimiter="/", MaxKeys=2)
    assert [one["Prefix"] for one in found["CommonPrefixes"]] == ["p/00/", "p/01/"]


def test_bodies_may_be_counted_only() -> None:
    """Without its bodies the server still knows sizes, sums that were sent, and the size that was announced."""
    whole = bytes(5 * MIB) + b"tail"
    with FaultServer(Rules(bodies="count")) as server, client(server) as s3:
        where = {"Bucket": server.bucket, "Key": "a"}
        made = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
        where["UploadId"] = made["UploadId"]
        bodies = enumerate((whole[: 5 * MIB], whole[5 * MIB :]), 1)
        etags = [s3.upload_part(**where, PartNumber=n, Body=body)["ETag"] for n, body in bodies]
        parts = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]}
        with pytest.raises(ClientError, match="InvalidRequest"):
            s3.complete_multipart_upload(**where, MultipartUpload=parts, MpuObjectSize=1)
        reply = s3.complete_multipart_upload(**where, MultipartUpload=parts, MpuObjectSize=len(whole))
        assert server.read(server.bucket, "a") == b""
        assert server.listing(server.bucket)["a"].size == len(whole)
    one = checksums.summing("crc32")
    one.update(memoryview(whole))
    assert reply["ChecksumCRC32"] == checksums.encode(one.digest())


def test_latency_and_bandwidth_are_kept() -> None:
    """A request takes at least the latency and the time its bytes need."""
    with FaultServer(Rules(latency=0.1, bandwidth=5 * MIB)) as server, client(server) as s3:
        began = time.monotonic()
        s3.put_object(Bucket=server.bucket, Key="a", Body=bytes(MIB))
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("algorithm", "known"), [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_checksums_are_the_published_ones(algorithm: str, known: str) -> None:
    """The catalogue's check value comes out, and parts' sums make up the sum of the whole."""

    def total(data: bytes) -> str:
        one = checksums.summing(algorithm)
        one.update(memoryview(data))
        return checksums.encode(one.digest())

    parts = [b"1234", b"", b"56789"]
    one = checksums.summing(algorithm)
    one.update(memoryview(b"123456789"))
    assert one.digest().hex() == known
    assert checksums.full_object(algorithm, [(total(part), len(part)) for part in parts]) == total(b"123456789")


@pytest.mark.parametrize("step", [1, 2, 7, 100])
def test_signed_framing_is_taken_off(step: int) -> None:
    """A body in S3's own chunks comes out whole however it was cut on the way, and its trailers are kept."""
    sent = b"5;chunk-signature=00\r\nhello\r\n3\r\n, w\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"

    def pieces() -> Iterator[memoryview]:
        yield from (memoryview(sent[at : at + step]) for at in range(0, len(sent), step))

    framed = AwsChunked(pieces())
    assert b"".join(bytes(piece) for piece in framed) == b"hello, w"
    assert framed.trailers == {"x-amz-checksum-crc32": "AAAAAA=="}


def test_an_unsigned_request_is_refused(fault_s3: FaultServer) -> None:
    """An unsigned request is denied, and a body in HTTP's own chunks is read to its end."""
    with socket.create_connection(("127.0.0.1", int(fault_s3.url.rpartition(":")[2]))) as sock:
        sock.sendall(
            b"PUT /bucket/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" * 2
        )
        got = b""
        while got.count(b"</Error>") < 2 and (more := sock.recv(65536)):
            got += more
    assert got.count(b"HTTP/1.1 403") == 2
    assert_nothing_visible(fault_s3, fault_s3.bucket)


def test_a_key_that_was_deleted_meanwhile_is_a_conflict(fault_s3: FaultServer) -> None:
    """A conditional Complete gets 409 when its key was deleted during the upload, and 404 when it was aborted."""
    fault_s3.put_foreign(fault_s3.bucket, "a", b"foreign")
    with client(fault_s3) as s3:
        where = {"Bucket": fault_s3.bucket, "Key": "a"}
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]}]}
        fault_s3.store.delete(fault_s3.bucket, "a")
        with pytest.raises(ClientError, match="ConditionalRequestConflict"):
            s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")
        fault_s3.store.abort(fault_s3.bucket, "a", where["UploadId"])
        with pytest.raises(ClientError, match="NoSuchUpload"):
            s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")


def test_composite_sums_need_every_parts_sum(fault_s3: FaultServer) -> None:
    """An upload that was opened with a checksum wants it listed for each part, as S3 does, and reports the whole's."""
    with client(fault_s3) as s3:
        where = {"Bucket": fault_s3.bucket, "Key": "a"}
        where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
        part = s3.upload_part(**where, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA256")
        listed = {"PartNumber": 1, "ETag": part["ETag"]}
        with pytest.raises(ClientError, match="must include the checksum for each part"):
            s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [listed]})
        listed["ChecksumSHA256"] = part["ChecksumSHA256"]
        reply = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [listed]})
    assert reply["ChecksumSHA256"] == checksums.composite("sha256", [part["ChecksumSHA256"]])


@pytest.mark.parametrize("answer", ["NoSuchUpload", "OK"])
def test_a_repeated_complete_and_versions(answer: Literal["NoSuchUpload", "OK"]) -> None:
    """A Complete that was done before is unknown or gets the same answer; versions are reported where they are kept."""
    with FaultServer(Rules(versions="on", repeated_complete=answer)) as server, client(server) as s3:
        where = {"Bucket": server.bucket, "Key": "a"}
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]}]}
        first = s3.complete_multipart_upload(**where, MultipartUpload=parts)
        assert first["VersionId"] == server.stored(server.bucket, "a").version_id
        try:
            again = s3.complete_multipart_upload(**where, MultipartUpload=parts)["VersionId"]
        except ClientError as error:
            again = error.response["Error"]["Code"]
    assert again == (first["VersionId"] if answer == "OK" else "NoSuchUpload")
