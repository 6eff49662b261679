"""The profiles of the two stores that run here are true: the same requests get the same answers from both."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from botocore.exceptions import ClientError

import mc_sink
from mc_sink.sandbox.admin import Admin
from mc_sink.sandbox.seaweed import SeaweedServer, weed_binary
from tests.servers import checksums, profiles
from tests.servers.fault import FaultServer
from tests.servers.faults import FlipByte
from tests.servers.proxy import Proxy
from tests.servers.rclone import RcloneServer, rclone_binary
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, numbers, read_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mc_sink.sandbox.admin import Writer
    from mc_sink.sink.options import FormatName

pytestmark = pytest.mark.long

BODIES = (bytes(5 << 20), b"the end")
WHOLE = b"".join(BODIES)
ONLY_NEW = {"IfNoneMatch": "*"}
FULL = {"ChecksumType": "FULL_OBJECT"}


@pytest.fixture
def rclone() -> Iterator[RcloneServer]:
    """Run `rclone serve s3`."""
    if rclone_binary() is None:
        pytest.skip("rclone has no wheel for this machine")
    with RcloneServer() as server:
        yield server


def crc(body: bytes) -> dict[str, str]:
    """Return a body's CRC32 as botocore names it."""
    one = checksums.summing("crc32")
    one.update(memoryview(body))
    return {"ChecksumCRC32": checksums.encode(one.digest())}


def answer_to(ask: Callable[[], dict[str, Any]], *fields: str) -> object:
    """Return these fields of a reply, or the status of a refusal."""
    try:
        reply = ask()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return tuple(str(reply.get(field)).strip('"') for field in fields)


def upload(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    """Upload the parts, and return what a Complete is to name."""
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", **FULL)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": s3.upload_part(**where, PartNumber=n, Body=body, **crc(body))["ETag"]} | crc(body)
        for n, body in enumerate(BODIES, 1)
    ]
    return where | {"MultipartUpload": {"Parts": parts}}


def ways_of(server: Admin, writer: Writer) -> dict[str, object]:
    """Ask a store everything that a profile plays, and return its answers."""
    bucket, told = writer.bucket, ["ETag", "ChecksumCRC32", "ChecksumType"]
    found: dict[str, object] = {}
    with server.client(credentials=writer.credentials) as s3:

        def put(key: str, body: bytes, **more: str) -> object:
            return answer_to(lambda: s3.put_object(Bucket=bucket, Key=key, Body=body, **more), *told[:2])

        def complete(listed: dict[str, Any], **more: Any) -> object:
            return answer_to(lambda: s3.complete_multipart_upload(**listed, **more), *told)

        found["a Put"] = put("a", b"one", **crc(b"one"), **ONLY_NEW)
        found["a Put to a key that is taken"] = put("a", b"two", **crc(b"two"), **ONLY_NEW)
        found["a Put with a wrong CRC32"] = put("b", b"two", **crc(b"one"))
        wrong = base64.b64encode(hashlib.md5(b"one", usedforsecurity=False).digest()).decode()
        found["a Put with a wrong MD5"] = put("b", b"two", ContentMD5=wrong, **crc(b"two"))
        created = {"Bucket": bucket, "Key": "c", "ChecksumAlgorithm": "CRC32"} | FULL
        names = ("ChecksumAlgorithm", "ChecksumType")
        found["a Create"] = answer_to(lambda: s3.create_multipart_upload(**created), *names)
        found["a Complete"] = complete(upload(s3, bucket, "d"), MpuObjectSize=len(WHOLE), **crc(WHOLE), **FULL)
        found["a Complete to a key that is taken"] = complete(upload(s3, bucket, "d"), **ONLY_NEW)
        found["a Complete with a wrong size"] = complete(upload(s3, bucket, "e"), MpuObjectSize=3)
        found["a Complete with a wrong CRC32"] = complete(upload(s3, bucket, "f"), **crc(b"one"), **FULL)
        listed = upload(s3, bucket, "g")
        for part in listed["MultipartUpload"]["Parts"]:
            del part["ChecksumCRC32"]
        found["a Complete without the parts' sums"] = complete(listed)
    found["a listing"] = {key: (one.size, one.etag) for key, one in server.listing(bucket).items() if key in "adg"}
    return found


def sees_an_altered_body(url: str, writer: Writer) -> bool:
    """Return True if a store refuses a body whose SHA-256 was signed, and that was altered on its way."""
    with Proxy(url) as proxy, Admin(proxy.url, writer.credentials, "").client() as s3:
        proxy.fault("Put", FlipByte(1))
        try:
            s3.put_object(Bucket=writer.bucket, Key="z", Body=b"body")
        except ClientError:
            return True
    return False


def played(profile: profiles.Profile) -> tuple[dict[str, object], bool]:
    """Return the answers of a profile."""
    with FaultServer(profile.rules) as server:
        ways = ways_of(Admin(server.url, server.writer.credentials, ""), server.writer)
        return ways, sees_an_altered_body(server.url, server.writer)


def test_rclone_is_played_as_it_is(rclone: RcloneServer) -> None:
    """Conditions, checksums, sizes and signed bodies are read over, and a listing has other ETags than a Complete."""
    writer = rclone.new_writer()
    assert (ways_of(rclone, writer), sees_an_altered_body(rclone.url, writer)) == played(profiles.RCLONE)


@pytest.mark.skipif(weed_binary() is None, reason="SeaweedFS has no wheel for this machine")
def test_seaweed_is_played_as_it_is() -> None:
    """All is kept but for the size that a Complete announces."""
    with SeaweedServer() as server:
        writer = server.new_writer()
        assert (ways_of(server, writer), sees_an_altered_body(server.url, writer)) == played(profiles.SEAWEED)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", ["small", "large", "several"])
def test_a_delivery_to_rclone_is_whole(rclone: RcloneServer, tmp_path: Path, format: FormatName, size: str) -> None:
    """One small object, one of several parts, and several: every row is there, and the receipt is true."""
    writer = rclone.new_writer()
    frame = numbers(60) if size == "small" else numbers(300_000, 48)
    path = "p/" if size == "several" else f"p/all.{format}"
    receipt = mc_sink.sink_madconnect(
        frame,
        writer.target(path),
        format=format,
        run_id="r-1",
        max_rows_per_file=100_000 if size == "several" else None,
        storage_options=writer.storage_options | SMALL_PARTS,
        progress=False,
    )
    found = rclone.listing(writer.bucket)
    assert {one.path: (one.num_bytes, one.etag) for one in receipt.files} == {
        writer.target(key): (one.size, one.etag) for key, one in found.items() if "/_manifests/" not in key
    }
    read = [
        read_back(rclone.read(writer.bucket, one.path.removeprefix(writer.target())), format, tmp_path)
        for one in receipt.files
    ]
    assert pl.concat(read).equals(as_text(frame, format))
    assert receipt.verify().ok
