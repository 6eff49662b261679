"""The servers themselves: what the tests believe of them is true of each."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from mc_sink.sandbox.admin import Admin, Credentials, ListedObject, PendingUpload, Writer
from mc_sink.sandbox.moto_server import MotoServer
from mc_sink.sandbox.seaweed import weed_binary
from tests.servers.assertions import Listing, assert_nothing_visible
from tests.servers.fault_child import fault_child, owner_of

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator

    from tests.servers.fault import FaultServer

STRICT = ["fault", "seaweed"] if weed_binary() else ["fault"]
MIB = 1 << 20
FULL = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket seen by its writer, through `s3`, and by its owner."""

    s3: Any
    bucket: str
    owner: Listing
    pending: Callable[[str], list[PendingUpload]]

    def multipart(self, key: str, bodies: list[bytes], *, create: dict[str, Any] | None = None, **options: Any) -> Any:
        """Upload in parts and complete."""
        where = {"Bucket": self.bucket, "Key": key}
        where["UploadId"] = self.s3.create_multipart_upload(**where, **(create or {}))["UploadId"]
        parts = [
            {"PartNumber": n, "ETag": self.s3.upload_part(**where, PartNumber=n, Body=body)["ETag"]}
            for n, body in enumerate(bodies, 1)
        ]
        return self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **options)


@pytest.fixture(scope="module")
def moto() -> Iterator[Admin]:
    """Yield moto."""
    with MotoServer() as server:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Yield a bucket on the server that the test is about."""
    if request.param == "fault":
        server: FaultServer | Admin = request.getfixturevalue("fault_s3")
        writer = request.getfixturevalue("fault_s3").writer
    else:
        server = request.getfixturevalue(request.param)
        writer = request.getfixturevalue(request.param).new_writer()
    with client(writer) as s3:
        yield Store(s3, writer.bucket, server, server.pending_uploads)


def client(writer: Writer) -> contextlib.AbstractContextManager[Any]:
    """Return a client with the writer's key."""
    return Admin(writer.url, writer.credentials, "").client()


def refused(call: Callable[..., object], **arguments: object) -> int:
    """Return the status that refuses the call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    status: int = caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def crc32(data: bytes) -> str:
    """Return a CRC-32 the way S3 writes it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def is_running(pid: int) -> bool:
    """Return True if the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


every_server = pytest.mark.parametrize("store", ["moto", *STRICT], indirect=True)
strict_server = pytest.mark.parametrize("store", STRICT, indirect=True)


@every_server
def test_a_writer_may_put_upload_in_parts_and_list(store: Store) -> None:
    """The three permissions are enough for a delivery, and its ETags are the ones that S3 documents."""
    bodies = [bytes(5 * MIB), b"tail"]
    store.s3.put_object(Bucket=store.bucket, Key="p/a", Body=b"hello", ACL="bucket-owner-full-control")
    store.multipart("p/b", bodies)

    listing = store.s3.list_objects_v2(Bucket=store.bucket, Prefix="p/")["Contents"]

    md5s = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies)
    etag = f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-2"
    assert {one["Key"]: one["Size"] for one in listing} == {"p/a": 5, "p/b": 5 * MIB + 4}
    assert store.owner.listing(store.bucket, "p/b") == {"p/b": ListedObject(5 * MIB + 4, etag)}
    assert store.owner.listing(store.bucket, "p/a") == {"p/a": ListedObject(5, hashlib.md5(b"hello").hexdigest())}  # noqa: S324


@every_server
@pytest.mark.parametrize("verb", ["get_object", "head_object", "delete_object", "get_object_acl", "get_object_tagging"])
def test_a_writer_may_do_nothing_else_to_an_object(store: Store, verb: str) -> None:
    """Reading, looking and deleting are refused, and the object stays."""
    store.s3.put_object(Bucket=store.bucket, Key="a", Body=b"hello")

    assert refused(getattr(store.s3, verb), Bucket=store.bucket, Key="a") == 403
    assert list(store.owner.listing(store.bucket)) == ["a"]


@every_server
def test_a_writer_may_do_nothing_else_to_a_bucket(store: Store) -> None:
    """Asking for its place and making another one are refused."""
    assert refused(store.s3.get_bucket_location, Bucket=store.bucket) == 403
    assert refused(store.s3.create_bucket, Bucket=f"{store.bucket}-other") == 403


@every_server
def test_conditional_writes_never_replace(store: Store) -> None:
    """`If-None-Match: *` is refused with 412 on Put and Complete, and the refused upload stays open."""
    store.s3.put_object(Bucket=store.bucket, Key="a", Body=b"first")
    before = store.owner.listing(store.bucket)

    assert refused(store.s3.put_object, Bucket=store.bucket, Key="a", Body=b"second", IfNoneMatch="*") == 412
    assert refused(store.multipart, key="a", bodies=[b"third"], IfNoneMatch="*") == 412
    assert store.owner.listing(store.bucket) == before
    assert [upload.key for upload in store.pending(store.bucket)] == ["a"]


@strict_server
def test_a_wrong_checksum_is_refused(store: Store) -> None:
    """A body that isn't what its CRC says gets 400 and is not stored."""
    assert refused(store.s3.put_object, Bucket=store.bucket, Key="a", Body=b"x", ChecksumCRC32=crc32(b"y")) == 400
    assert_nothing_visible(store.owner, store.bucket)


@strict_server
def test_the_checksum_of_the_whole_is_verified_and_reported(store: Store) -> None:
    """A Complete with FULL_OBJECT and CRC32 succeeds with the right sum only."""
    bodies = [bytes(5 * MIB), b"tail"]
    right = {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": crc32(b"".join(bodies))}

    assert (
        refused(store.multipart, key="a", bodies=bodies, create=FULL, **{**right, "ChecksumCRC32": crc32(b"")}) == 400
    )
    assert_nothing_visible(store.owner, store.bucket)
    reply = store.multipart("a", bodies, create=FULL, **right)
    assert {name: reply[name] for name in right} == right


@strict_server
def test_parts_are_in_order_large_enough_and_there(store: Store) -> None:
    """A Complete with a small part, a wrong order or an unknown part is refused with 400."""
    where = {"Bucket": store.bucket, "Key": "a"}
    where["UploadId"] = store.s3.create_multipart_upload(**where)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": store.s3.upload_part(**where, PartNumber=n, Body=b"small")["ETag"]} for n in (1, 2)
    ]
    missing = [parts[0], {**parts[1], "PartNumber": 3}]

    for wrong in (parts, parts[::-1], missing):
        assert refused(store.s3.complete_multipart_upload, **where, MultipartUpload={"Parts": wrong}) == 400
    assert_nothing_visible(store.owner, store.bucket)


@every_server
def test_only_the_right_key_signs(store: Store) -> None:
    """A wrong secret and an unknown key get 403."""
    url, known = store.s3.meta.endpoint_url, store.s3._get_credentials().access_key  # noqa: SLF001  no other way
    for credentials in (Credentials(known, "wrong"), Credentials("UNKNOWNUNKNOWN", "wrong")):
        with Admin(url, credentials, "").client() as s3:
            assert refused(s3.put_object, Bucket=store.bucket, Key="a", Body=b"") == 403
    assert_nothing_visible(store.owner, store.bucket)


@every_server
def test_an_abort_may_be_refused(store: Store) -> None:
    """An upload is gone after an abort that was allowed, and stays after one that was not."""
    where = {"Bucket": store.bucket, "Key": "a"}
    where["UploadId"] = store.s3.create_multipart_upload(**where)["UploadId"]
    try:
        status = store.s3.abort_multipart_upload(**where)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]

    # SeaweedFS counts it to s3:PutObject; moto asks for s3:AbortMultipartUpload, which isn't granted.
    assert status == (403 if isinstance(store.owner, MotoServer) else 204)
    assert len(store.pending(store.bucket)) == (1 if status == 403 else 0)


def test_a_bucket_policy_can_refuse_an_abort(seaweed: Admin, writer: Writer) -> None:
    """The owner's denial holds against the user's grant, and the upload stays open."""
    arn = f"arn:aws:s3:::{writer.bucket}/*"
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:AbortMultipartUpload", "Resource": arn}
    seaweed.put_bucket_policy(writer.bucket, {"Version": "2012-10-17", "Statement": [denial]})
    with client(writer) as s3:
        upload_id = s3.create_multipart_upload(Bucket=writer.bucket, Key="a")["UploadId"]

        assert refused(s3.abort_multipart_upload, Bucket=writer.bucket, Key="a", UploadId=upload_id) == 403
    assert seaweed.pending_uploads(writer.bucket) == [PendingUpload("a", upload_id)]


def test_the_owner_reads_what_the_writer_may_not(seaweed: Admin, writer: Writer) -> None:
    """The bytes can be held against what was sent."""
    with client(writer) as s3:
        s3.put_object(Bucket=writer.bucket, Key="a", Body=b"hello")

    assert seaweed.read(writer.bucket, "a") == b"hello"
    assert writer.storage_options == {
        "key": writer.credentials.key,
        "secret": writer.credentials.secret,
        "endpoint_url": seaweed.url,
    }
    assert writer.credentials.secret not in repr(writer)


def test_a_child_goes_with_a_parent_that_is_killed() -> None:
    """No process and no directory stay behind, however the parent ends."""
    script = (
        "import os, signal\n"
        "from mc_sink.sandbox.lifeline import ServerChild\n"
        "child = ServerChild(lambda _: ['sleep', '600'])\n"
        "print(child.pid, child.directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    pid, directory = ended.stdout.split()

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (is_running(int(pid)) or Path(directory).exists()):
        time.sleep(0.05)
    assert not is_running(int(pid))
    assert not Path(directory).exists()


def test_the_test_server_runs_in_a_process_of_its_own() -> None:
    """It takes a delivery, counts it, and is gone afterwards."""
    with fault_child(latency=0.05) as writer, client(writer) as s3:
        began = time.monotonic()
        s3.put_object(Bucket=writer.bucket, Key="a", Body=bytes(MIB))
        assert time.monotonic() - began >= 0.05
        assert owner_of(writer).listing(writer.bucket)["a"].size == MIB
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(writer.url.rpartition(":")[2]))).close()
