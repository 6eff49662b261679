"""Each profile of the test server takes what its store is documented to take, and refuses or reads over the rest."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from mc_sink.sandbox.admin import Admin
from tests.servers import checksums, profiles
from tests.servers.fault import FaultServer
from tests.servers.profiles import PROFILES, Profile
from tests.servers.rules import GRANTED, SUMS, Refusal, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BODIES = (b"first", b"again", b"end")
WHOLE = b"".join(BODIES)
NAMES = [profile.name for profile in PROFILES]
BY_NAME = {profile.name: profile for profile in PROFILES}
ONLY_NEW = {"IfNoneMatch": "*"}
FULL: dict[str, Any] = {"ChecksumType": "FULL_OBJECT"}
PARTS: dict[str, Any] = {"ChecksumType": "COMPOSITE"}


@dataclass(frozen=True, slots=True)
class Way:
    """How a store wants to be written to: a checksum with its type, and on which operations a condition."""

    algorithm: str = "CRC32"
    kind: str = "FULL_OBJECT"
    conditional: tuple[str, ...] = ("Put", "Complete")


WAYS = {
    "minio-composite": Way(kind="COMPOSITE"),
    "r2": Way(kind="COMPOSITE"),
    "r2-400": Way(kind="COMPOSITE"),
    "b2": Way(conditional=()),
    "gcs-400": Way(conditional=("Put",)),
    "storagegrid-12.0": Way("SHA256", "COMPOSITE"),
    "storagegrid-12.1": Way(conditional=()),
    "ovh": Way("CRC64NVME"),
}


@contextmanager
def server_of(rules: Rules) -> Iterator[tuple[FaultServer, Any]]:
    """Yield a server and a client with the writer's key, which sends once."""
    with FaultServer(rules) as server, Admin(server.url, server.writer.credentials, "").client() as s3:
        yield server, s3


def summed(body: bytes, algorithm: str = "CRC32") -> dict[str, str]:
    """Return a body's checksum, as botocore names it."""
    one = checksums.summing(algorithm.lower())
    one.update(memoryview(body))
    return {f"Checksum{algorithm}": checksums.encode(one.digest())}


def upload(
    s3: Any, server: FaultServer, *, bodies: Sequence[bytes] = BODIES, algorithm: str = "CRC32", **created: Any
) -> dict[str, Any]:
    """Upload the parts with their checksums, and return what names them in a Complete."""
    where = {"Bucket": server.bucket, "Key": "a"}
    where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm, **created)["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        summed_body = summed(body, algorithm)
        etag = s3.upload_part(**where, PartNumber=number, Body=body, **summed_body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag, **summed_body})
    return where | {"MultipartUpload": {"Parts": parts}}


def without_sums(listed: dict[str, Any]) -> dict[str, Any]:
    """Return the same list of parts, without their checksums."""
    bare = [{name: part[name] for name in ("PartNumber", "ETag")} for part in listed["MultipartUpload"]["Parts"]]
    return listed | {"MultipartUpload": {"Parts": bare}}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_store_documents_is_taken(name: str) -> None:
    """A Put and an upload as the store wants them arrive whole, and a checksum comes back unless it is ignored."""
    way, rules = WAYS.get(name, Way()), BY_NAME[name].tiny()
    only_new = {op: ONLY_NEW if op in way.conditional else {} for op in ("Put", "Complete")}
    asked = summed(WHOLE, way.algorithm)
    with server_of(rules) as (server, s3):
        put = s3.put_object(Bucket=server.bucket, Key="b", Body=WHOLE, **only_new["Put"], **asked)
        listed = upload(s3, server, algorithm=way.algorithm, ChecksumType=way.kind)
        made = s3.complete_multipart_upload(**listed, MpuObjectSize=len(WHOLE), **only_new["Complete"])
        assert (server.read(server.bucket, "a"), server.read(server.bucket, "b")) == (WHOLE, WHOLE)
    echoes = rules.checksums == "honoured"
    ((field, value),) = asked.items()
    parts = [next(iter(summed(body, way.algorithm).values())) for body in BODIES]
    whole = value if way.kind == "FULL_OBJECT" else checksums.composite(way.algorithm.lower(), parts)
    assert (put.get(field), made.get(field)) == ((value, whole) if echoes else (None, None))
    assert made.get("ChecksumType") == (way.kind if echoes else None)


REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("r2", "Create", {"ChecksumAlgorithm": "CRC32"} | FULL, 501, "NotImplemented"),
    ("r2", "Create", {"ChecksumAlgorithm": "SHA256"} | FULL, 501, "NotImplemented"),
    ("r2", "Create", {"ChecksumAlgorithm": "CRC64NVME"} | PARTS, 501, "NotImplemented"),
    ("r2-400", "Create", {"ChecksumAlgorithm": "CRC32"} | FULL, 400, "InvalidRequest"),
    ("r2", "Put", {"ACL": "bucket-owner-full-control"}, 501, "NotImplemented"),
    ("r2", "Create", {"Tagging": "a=b"}, 501, "NotImplemented"),
    ("r2", "Put", {"ServerSideEncryption": "AES256"}, 501, "NotImplemented"),
    ("r2", "Create", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}, 501, "NotImplemented"),
    ("b2", "Put", ONLY_NEW, 501, "NotImplemented"),
    ("b2", "Complete", ONLY_NEW, 501, "NotImplemented"),
    ("b2", "Create", {"ACL": "bucket-owner-full-control"}, 400, "InvalidArgument"),
    ("gcs-400", "Complete", ONLY_NEW, 400, "NotImplemented"),
    ("storagegrid-12.0", "Put", summed(WHOLE), 501, "NotImplemented"),
    ("storagegrid-12.0", "Create", {"ChecksumAlgorithm": "CRC32"}, 501, "NotImplemented"),
    ("storagegrid-12.0", "Create", {"ChecksumAlgorithm": "CRC64NVME"}, 501, "NotImplemented"),
    ("storagegrid-12.1", "Put", ONLY_NEW, 501, "NotImplemented"),
    ("storagegrid-12.1", "Complete", ONLY_NEW, 501, "NotImplemented"),
    ("ovh", "Put", summed(WHOLE), 400, "InvalidArgument"),
    ("ovh", "Create", {"ChecksumAlgorithm": "CRC32"}, 400, "InvalidArgument"),
    ("aws", "Create", {"ChecksumAlgorithm": "SHA256"} | FULL, 400, "InvalidRequest"),
    ("aws", "Create", {"ChecksumAlgorithm": "CRC64NVME"} | PARTS, 400, "InvalidRequest"),
    ("aws", "Create", FULL, 400, "InvalidRequest"),
]


@pytest.mark.parametrize(("name", "op", "asked", "status", "code"), REFUSED)
def test_what_a_store_refuses_is_refused(name: str, op: str, asked: dict[str, Any], status: int, code: str) -> None:
    """Each header that the store doesn't take is refused with its status, and nothing of the request is kept."""
    way = WAYS.get(name, Way())
    plain = {} if any(field.startswith("Checksum") for field in asked) else summed(WHOLE, way.algorithm)
    with server_of(replace(BY_NAME[name].tiny(), granted=GRANTED | {"PutTagging"})) as (server, s3):
        where = {"Bucket": server.bucket, "Key": "a"}
        listed = upload(s3, server, algorithm=way.algorithm, ChecksumType=way.kind) if op == "Complete" else {}
        pending = server.pending_uploads(server.bucket)
        ask: dict[str, Callable[[], object]] = {
            "Put": lambda: s3.put_object(**where, Body=WHOLE, **asked, **plain),
            "Create": lambda: s3.create_multipart_upload(**where, **asked),
            "Complete": lambda: s3.complete_multipart_upload(**listed, **asked),
        }
        with pytest.raises(ClientError) as raised:
            ask[op]()
        assert not server.listing(server.bucket)
        assert server.pending_uploads(server.bucket) == pending
    answer = raised.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (status, code)


@pytest.mark.parametrize("name", ["minio", "minio-composite", "aistor"])
def test_a_complete_without_the_parts_sums(name: str) -> None:
    """MinIO refuses a part that is listed without its checksum, as if it weren't there; its successor takes it."""
    with server_of(BY_NAME[name].tiny()) as (server, s3):
        listed = upload(s3, server, **FULL)
        if name == "aistor":
            s3.complete_multipart_upload(**without_sums(listed), **summed(WHOLE), **FULL)
            assert server.read(server.bucket, "a") == WHOLE
            return
        with pytest.raises(ClientError, match="InvalidPart"):
            s3.complete_multipart_upload(**without_sums(listed))
        if name == "minio":
            assert s3.complete_multipart_upload(**listed, **FULL, **summed(WHOLE))["ChecksumType"] == "FULL_OBJECT"


def test_a_type_that_is_not_respected() -> None:
    """Where the type asked for is read over, the object's checksum is the composite one, and the reply says so."""
    with server_of(profiles.MINIO_COMPOSITE.tiny()) as (server, s3):
        made = s3.complete_multipart_upload(**upload(s3, server, **FULL))
        assert (made["ChecksumType"], made["ChecksumCRC32"][-2:]) == ("COMPOSITE", "-3")


@pytest.mark.parametrize(
    ("bodies", "taken"),
    [
        ((b"12345", b"12345", b"1"), True),
        ((b"12345", b"12345", b"12345"), True),
        ((b"1",), True),
        ((b"12345", b"1234", b"1"), False),
        ((b"12345", b"1234567890", b"1"), False),
        ((b"12345", b"12345", b"123456"), False),
    ],
)
def test_parts_of_one_size(bodies: tuple[bytes, ...], *, taken: bool) -> None:
    """R2 takes parts of one size, with a last one that isn't larger, and refuses all others at Complete."""
    with server_of(profiles.R2.tiny()) as (server, s3):
        listed = upload(s3, server, bodies=bodies, **PARTS)
        if taken:
            s3.complete_multipart_upload(**listed)
            assert server.read(server.bucket, "a") == b"".join(bodies)
        else:
            with pytest.raises(ClientError, match="All non-trailing parts must have the same length"):
                s3.complete_multipart_upload(**listed)


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("aws", ()),
        ("gcs", ("Put", "Complete")),
        ("storagegrid-12.1-ignores", ("Put", "Complete")),
        ("ceph-squid", ("Complete",)),
        ("ceph-tentacle", ()),
        ("rclone", ("Put", "Complete")),
        ("seaweed", ()),
    ],
)
def test_a_condition_that_is_read_over(name: str, replaced: tuple[str, ...]) -> None:
    """An object of another writer is replaced by the operations that ignore conditions, and by no other."""
    with server_of(BY_NAME[name].tiny()) as (server, s3):
        listed = upload(s3, server, **FULL)
        for op in ("Put", "Complete"):
            server.put_foreign(server.bucket, "a", b"foreign")
            try:
                if op == "Put":
                    s3.put_object(Bucket=server.bucket, Key="a", Body=WHOLE, **ONLY_NEW)
                else:
                    s3.complete_multipart_upload(**listed, **ONLY_NEW)
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"  # noqa: PT017  which of them refuse
            assert (server.read(server.bucket, "a") == WHOLE) == (op in replaced)


@pytest.mark.parametrize("algorithm", SUMS)
def test_every_checksum_is_compared_with_the_body(algorithm: str) -> None:
    """A wrong one is refused on a Put, a part and a Complete, whichever algorithm it is of."""
    right, wrong = summed(WHOLE, algorithm), summed(b"another", algorithm)
    kind = FULL if "FULL_OBJECT" in SUMS[algorithm] else PARTS
    with server_of(profiles.AWS.tiny()) as (server, s3):
        with pytest.raises(ClientError, match="BadDigest"):
            s3.put_object(Bucket=server.bucket, Key="b", Body=WHOLE, **wrong)
        s3.put_object(Bucket=server.bucket, Key="b", Body=WHOLE, **right)
        listed = upload(s3, server, algorithm=algorithm, **kind)
        where = {name: listed[name] for name in ("Bucket", "Key", "UploadId")}
        with pytest.raises(ClientError, match="BadDigest"):
            s3.upload_part(**where, PartNumber=1, Body=BODIES[0], **wrong)
        with pytest.raises(ClientError, match="BadDigest"):
            s3.complete_multipart_upload(**listed, **wrong, **kind)
        s3.complete_multipart_upload(**listed)
        assert server.read(server.bucket, "a") == WHOLE


def test_a_part_with_another_checksum_than_its_upload() -> None:
    """A part must be summed as its upload was created, or by the store alone."""
    with server_of(profiles.AWS.tiny()) as (server, s3):
        where = {"Bucket": server.bucket, "Key": "a"}
        where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
        with pytest.raises(ClientError, match="Checksum Type mismatch"):
            s3.upload_part(**where, PartNumber=1, Body=WHOLE, **summed(WHOLE))


def test_a_create_echoes_the_checksum_that_it_was_asked_for() -> None:
    """A store that knows checksums says so before the first part; one that ignores them doesn't."""
    for profile, echoed in ((profiles.AWS, ("CRC32", "FULL_OBJECT")), (profiles.CEPH_SQUID, (None, None))):
        with server_of(profile.tiny()) as (server, s3):
            reply = s3.create_multipart_upload(Bucket=server.bucket, Key="a", ChecksumAlgorithm="CRC32", **FULL)
        assert (reply.get("ChecksumAlgorithm"), reply.get("ChecksumType")) == echoed


def test_a_refusal_names_the_header_that_came() -> None:
    """Patterns match whole values in any case, on the named operations alone, and the message repeats what came."""
    refusal = Refusal(("Put",), "x-amz-acl", "public.*", (501, "NotImplemented", "'{header}' with '{value}'"))
    headers = {"x-amz-acl": "Public-Read"}
    assert refusal.meets("Put", headers)
    assert not refusal.meets("Create", headers)
    assert not refusal.meets("Put", {"x-amz-acl": "not-public"})
    assert not refusal.meets("Put", {})
    assert str(refusal.error(headers)) == "'x-amz-acl' with 'Public-Read'"


def test_every_profile_says_how_it_is_known() -> None:
    """Names are unique and fit a test's name, every source is named, and a guess is named wherever all is one."""
    assert len(set(NAMES)) == len(NAMES)
    for profile in PROFILES:
        assert isinstance(profile, Profile)
        assert re.fullmatch(r"[a-z0-9.-]+", profile.name)
        assert profile.source
        assert profile.guessed or profile.known != "not known"
