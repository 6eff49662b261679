"""What a store says of the bytes it holds is compared with what was sent, on stores unlike AWS' too."""

from __future__ import annotations

import hashlib
import pickle
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown, ObjectOptions, UploadError
from mc_sink.receipt import CountedWarning
from mc_sink.storage import StoreSupport
from mc_sink.storage.s3.evidence import SentBody, proof_of
from mc_sink.storage.s3.request import SIGNED, SUMMED, PartBody
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, FlipByte, Reset, Status
from tests.support.frames import FORMATS
from tests.support.small_deliveries import (
    FRAME,
    MANIFEST,
    RUN,
    TINY,
    assert_delivered_once,
    deliver,
    manifest_of,
    options,
    seen,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.receipt import Integrity
    from tests.servers.rules import ETags

pytestmark = pytest.mark.usefixtures("tiny")

# Parts of 400 bytes cut every file into an upload; parts of 1 MiB leave one file without a manifest a single Put.
SHAPES: dict[str, dict[str, Any]] = {
    "uploads": {},
    "Put": {"part_size": 2**20, "max_rows_per_file": None, "manifest": True},
}
ETAGS: tuple[ETags, ...] = ("s3", "whole", "empty", "other")
ANSWER = b"<CompleteMultipartUploadResult><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>"


def is_whole(server: FaultServer, receipt: Any, format: str, folder: Path) -> bool:
    """Whether every byte is there, as the receipt, the manifest and the store say."""
    assert_delivered_once(server, FRAME, format, folder)
    return bool(receipt.verify().ok and mc_sink.verify(receipt, storage_options=options(server)).ok)


def op_of(shape: str) -> str:
    """Return the request that carries the bytes."""
    return "Part" if shape == "uploads" else "Put"


# --- Bodies that are altered on their way


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("signed", "md5"), [("honoured", "ignored"), ("ignored", "honoured"), ("ignored", "ignored")])
def test_a_body_altered_once_is_sent_again_or_is_an_error(
    format: str, shape: str, signed: Any, md5: Any, tmp_path: Path
) -> None:
    """On a store that ignores checksums, a changed bit never ends in a receipt; a Put has its MD5 with it too."""
    with FaultServer(replace(TINY, checksums="ignored", signed_bodies=signed, content_md5=md5)) as server:
        server.fault(op_of(shape), FlipByte(7))
        if shape == "Put" and signed == md5 == "ignored":
            with pytest.raises(CommitError, match="is not what was sent") as raised:
                deliver(server, format=format, **SHAPES[shape])
            assert raised.value.committed == (server.writer.target(f"p/{RUN}.{format}"),)
            assert list(seen(server)) == [f"p/{RUN}.{format}"]
        else:
            assert is_whole(server, deliver(server, format=format, **SHAPES[shape]), format, tmp_path)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("format", FORMATS)
def test_whichever_part_is_altered_is_sent_again(format: str, n: int, tmp_path: Path) -> None:
    """Those that were on their way before the store showed that it checks nothing are compared by their MD5."""
    with FaultServer(replace(TINY, checksums="ignored")) as server:
        server.fault("Part", FlipByte(3), n=n)
        assert is_whole(server, deliver(server, format=format), format, tmp_path)


@pytest.mark.parametrize("signed", ["honoured", "ignored"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_part_that_is_altered_each_time_ends_the_delivery(format: str, signed: Any) -> None:
    """Nothing is visible, no upload stays, and the error says what to look for."""
    with FaultServer(replace(TINY, checksums="ignored", signed_bodies=signed)) as server:
        server.fault("Part", FlipByte(0), times=FOREVER)
        with pytest.raises(UploadError, match=r"proxy that changes bodies.*Nothing became visible"):
            deliver(server, format=format)
        assert seen(server) == {}
        assert server.pending_uploads(server.bucket) == []


@pytest.mark.parametrize("manifest_form", [True, "redshift"])
def test_a_manifest_that_is_altered_is_an_error(manifest_form: Any) -> None:
    """It is compared like any file, and the error lists it with what is visible."""
    with FaultServer(replace(TINY, checksums="ignored", signed_bodies="ignored", content_md5="ignored")) as server:
        server.fault("Put", FlipByte(40))
        with pytest.raises(CommitError, match=r"is not what was sent.* 4 of 4 files are visible\.") as raised:
            deliver(server, part_size=2**20, manifest=manifest_form)
        assert raised.value.committed[-1] == server.writer.target(MANIFEST)


# --- How it was proven


@pytest.mark.parametrize(
    ("rules", "more", "shape", "integrity"),
    [
        ({}, {}, "uploads", "crc32"),
        ({}, {}, "Put", "crc32"),
        ({"checksums": "ignored"}, {}, "Put", "sha256"),
        ({"checksums": "ignored"}, {"payload_signing_enabled": False}, "Put", "etag"),
        ({"checksums": "ignored"}, {"payload_signing_enabled": False}, "uploads", "etag"),
        ({"checksums": "ignored"}, {"payload_signing_enabled": True}, "uploads", "sha256"),
        ({"etags": "opaque"}, {}, "uploads", "crc32"),
        ({"etags": "opaque"}, {}, "Put", "crc32"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_the_receipt_says_how_it_was_proven(
    format: Any, rules: dict[str, Any], more: dict[str, Any], shape: str, integrity: Integrity
) -> None:
    """Each file has the word for it, and so has the manifest, in the form that its schema allows."""
    with FaultServer(replace(TINY, **rules)) as server:
        asked = options(server, SHAPES[shape].get("part_size", 400))
        receipt = mc_sink.sink_madconnect(
            FRAME,
            server.writer.target("p/"),
            format=format,
            run_id=RUN,
            manifest=True,
            max_rows_per_file=20 if shape == "uploads" else None,
            storage_options=asked | {"config_kwargs": {"s3": more}},
        )
        facts = manifest_of(server)
    number = 3 if shape == "uploads" else 1
    assert [file.integrity for file in receipt.files] == [integrity] * number
    assert [file["integrity"] for file in facts["files"]] == [integrity] * number
    assert receipt.warnings == ()


def test_once_a_store_has_shown_that_it_checks_nothing_bodies_are_signed() -> None:
    """What went before it is proven by its ETag; what comes later is signed, and so is every Put."""
    with FaultServer(replace(TINY, checksums="ignored")) as server:
        how: dict[str, Any] = {"storage_options": options(server) | {"max_concurrency": 1}}
        receipt = mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), manifest=True, **how)
        first, *rest = (one.headers["x-amz-content-sha256"] for one in server.log.of("Part", "Put"))
    assert first == "UNSIGNED-PAYLOAD"
    assert len(rest) > 5
    assert "UNSIGNED-PAYLOAD" not in rest
    assert [file.integrity for file in receipt.files] == ["etag"]


@pytest.mark.parametrize("part_size", [400, 2**20], ids=["upload", "Put"])
def test_without_checksums_every_body_is_signed(part_size: int) -> None:
    """Without checksums, bodies are proven by the signature."""
    with FaultServer(TINY) as server:
        asked = options(server, part_size) | {"config_kwargs": {"request_checksum_calculation": "WHEN_REQUIRED"}}
        receipt = mc_sink.sink_madconnect(FRAME, server.writer.target("p/x.csv"), storage_options=asked)
        sent = [one.headers for one in server.log.of("Create", "Part", "Complete", "Put")]
        signed = {one.headers["x-amz-content-sha256"] for one in server.log.of("Part", "Put")}
    assert not any(name.startswith("x-amz-checksum") for headers in sent for name in headers)
    assert "UNSIGNED-PAYLOAD" not in signed
    assert [file.integrity for file in receipt.files] == ["sha256"]


def test_a_store_that_checks_is_not_sent_signed_parts(server: FaultServer) -> None:
    """Signing costs half the speed, and here it would prove nothing more."""
    deliver(server)
    headers = [one.headers["x-amz-content-sha256"] for one in server.log.of("Part")]
    assert set(headers) == {"UNSIGNED-PAYLOAD"}


@pytest.mark.parametrize("format", FORMATS)
def test_what_nothing_proves_is_counted_as_a_warning(format: Any) -> None:
    """No checksum, no signature, and ETags under a key: the receipt and the manifest say unproven."""
    with FaultServer(replace(TINY, checksums="ignored", etags="opaque")) as server:
        receipt = mc_sink.sink_madconnect(
            FRAME,
            server.writer.target("p/"),
            format=format,
            run_id=RUN,
            max_rows_per_file=20,
            object_options=ObjectOptions(sse="aws:kms"),
            storage_options=options(server) | {"config_kwargs": {"s3": {"payload_signing_enabled": False}}},
        )
        facts = manifest_of(server)
        assert {file.integrity for file in receipt.files} == {"unproven"}
        assert receipt.warnings == (CountedWarning("unproven", "", 3),)
        assert "3 files could not be proven" in str(receipt)
        assert facts["warnings"] == [{"kind": "unproven", "column": "", "num_cells": 3}]
        assert "computed from the bytes" in str(receipt.verify())


@pytest.mark.parametrize("shape", SHAPES)
def test_etags_that_mean_nothing_are_an_alarm_where_nothing_else_proves_the_bytes(shape: str) -> None:
    """They look like MD5s of other bytes; the error names the option that says why they are none."""
    with FaultServer(replace(TINY, checksums="ignored", etags="opaque")) as server:
        with pytest.raises((UploadError, CommitError), match=r"MD5|is not what was sent"):
            deliver(server, **SHAPES[shape])
        receipt = deliver(server, run_id="r-2", object_options=ObjectOptions(sse="aws:kms"), **SHAPES[shape])
        assert {file.integrity for file in receipt.files} == {"sha256"}


# --- ETags of other kinds


@pytest.mark.parametrize("checked", ["honoured", "ignored"])
@pytest.mark.parametrize("etags", ETAGS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_kind_of_etag_is_delivered_verified_and_run_again(
    format: str, etags: ETags, checked: Any, tmp_path: Path
) -> None:
    """Whole, verified by both, and a rerun finds it the same: never changed, and never of another form."""
    with FaultServer(replace(TINY, etags=etags, checksums=checked)) as server:
        receipt = deliver(server, format=format)
        assert is_whole(server, receipt, format, tmp_path)
        computed = etags in {"s3", "empty"}
        assert {file.etag_is_computed for file in receipt.files} == {computed}
        assert ("the store itself answered" in str(receipt.verify())) is not computed
        before = seen(server)
        again = deliver(server, format=format)
        assert again.num_found == 3
        assert again.verify().ok
        assert seen(server) == before


@pytest.mark.parametrize("etags", ETAGS)
@pytest.mark.parametrize("format", FORMATS)
def test_an_object_that_was_replaced_is_seen_on_every_store(format: str, etags: ETags) -> None:
    """Of the same size: its ETag is another than the one that was computed, or that the store had answered."""
    with FaultServer(replace(TINY, etags=etags)) as server:
        receipt = deliver(server, format=format)
        key = f"p/{RUN}-00001.{format}"
        server.put_foreign(server.bucket, key, bytes(len(server.read(server.bucket, key))))
        assert receipt.verify().changed == (server.writer.target(key),)


@pytest.mark.parametrize("then", [Status(404, "NoSuchUpload"), Status(500), Status(412, "PreconditionFailed")], ids=str)
@pytest.mark.parametrize("etags", [*ETAGS, "opaque"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_lost_reply_is_settled_or_called_unknown(format: str, etags: Any, then: Any) -> None:
    """By S3's ETags it is settled; by others it is unknown, and a rerun compares the bytes where that can be done."""
    with FaultServer(replace(TINY, etags=etags)) as server:
        server.fault("Complete", Reset(), when="after")
        server.fault("Complete", then, n=2, times=FOREVER)
        with nullcontext() if etags in {"s3", "empty"} else pytest.raises(CommitUnknown):
            deliver(server, format=format, max_rows_per_file=None)
        assert server.destroyed(server.bucket) == []
        server.heal()
        if etags == "opaque":
            with pytest.raises(AlreadyExistsError, match="hides what is in the object"):
                deliver(server, format=format, max_rows_per_file=None)
        else:
            receipt = deliver(server, format=format, max_rows_per_file=None)
            assert receipt.verify().ok
            assert server.destroyed(server.bucket) == []


@pytest.mark.parametrize("format", FORMATS)
def test_an_etag_of_other_bytes_is_no_success(server: FaultServer, format: str) -> None:
    """Complete answers an ETag of S3's form, a listing shows the same, and it is that of something else."""
    key, etag = f"p/{RUN}-00000.{format}", f"{'0' * 32}-4"

    def alter(_: object) -> None:
        if found := server.store.bucket(server.bucket).get(key):
            server.store.bucket(server.bucket)[key] = replace(found, etag=etag)

    server.fault("Complete", Body(200, ANSWER % (key.encode(), etag.encode())), when="after")
    server.fault("List", Call(alter), times=FOREVER)
    with pytest.raises(CommitError, match="is not what was sent") as raised:
        deliver(server, format=format)
    assert raised.value.committed == (server.writer.target(key),)
    assert server.log.of("Abort") == []


@pytest.mark.parametrize(("operation", "part_size"), [("Complete", 400), ("Put", 2**20)])
def test_an_answer_without_an_object_is_no_success(server: FaultServer, operation: Any, part_size: int) -> None:
    """Something in between answers 200 and an ETag, and the store never saw the request: the listing decides."""
    server.fault(operation, Body(200, ANSWER % (b"p/x.csv", b"0"), (("ETag", '"0"'),)))
    with pytest.raises(CommitUnknown, match="a listing does not show the object") as raised:
        deliver(server, to="p/x.csv", part_size=part_size)
    assert raised.value.visible == "unknown"
    assert deliver(server, to="p/x.csv", part_size=part_size).verify().ok
    assert server.destroyed(server.bucket) == []


@pytest.mark.parametrize("etags", ["whole", "other", "opaque"])
def test_an_answer_without_an_object_is_no_success_after_others_were_true(etags: Any) -> None:
    """A store whose ETags can't be computed has answered one Complete, and something in between answers the next."""
    with FaultServer(replace(TINY, etags=etags)) as server:
        server.fault("Complete", Body(200, ANSWER % (f"p/{RUN}-00001.csv".encode(), b"0")), n=2)
        with pytest.raises(CommitUnknown, match="a listing does not show the object"):
            deliver(server)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_manifest_that_was_replaced_is_seen(server: FaultServer, shape: str) -> None:
    """It is compared with what was written, as the files are: also from a receipt that was pickled."""
    receipt = deliver(server, **SHAPES[shape])
    size = len(server.read(server.bucket, MANIFEST))
    server.put_foreign(server.bucket, MANIFEST, bytes(size))
    url = server.writer.target(MANIFEST)
    assert receipt.verify().changed == (url,)
    copied = pickle.loads(pickle.dumps(receipt))  # noqa: S301  our own
    assert mc_sink.verify(copied, storage_options=options(server)).changed == (url,)


# --- What one reply proves

BODY = b"some bytes"
MD5_OF_BODY = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER_MD5 = "0" * 32


@pytest.mark.parametrize(
    ("crc", "encrypted", "reply", "ways", "proof"),
    [
        ("AAAA", False, {"ChecksumCRC32": "AAAA", "ETag": OTHER_MD5}, StoreSupport(), "crc32"),
        ("AAAA", False, {"ChecksumCRC32": "BBBB", "ETag": MD5_OF_BODY}, StoreSupport(), None),
        ("AAAA", False, {"ETag": f'"{MD5_OF_BODY}"'}, StoreSupport(), "etag"),
        ("AAAA", False, {"ETag": MD5_OF_BODY, SIGNED: True}, StoreSupport(), "sha256"),
        ("AAAA", False, {"ETag": OTHER_MD5}, StoreSupport(), None),
        ("AAAA", False, {"ETag": OTHER_MD5, SIGNED: True}, StoreSupport(), None),
        ("AAAA", True, {"ETag": OTHER_MD5, SIGNED: True}, StoreSupport(), "sha256"),
        ("AAAA", True, {"ETag": OTHER_MD5}, StoreSupport(), "unproven"),
        ("AAAA", False, {"ETag": "CJ+vhq7x3dcCEAE="}, StoreSupport(), "unproven"),
        ("AAAA", False, {"ETag": "CJ+vhq7x3dcCEAE=", SIGNED: True}, StoreSupport(), "sha256"),
        (None, False, {"ETag": OTHER_MD5, SIGNED: True}, StoreSupport.of_aws(), "sha256"),
        (None, False, {"ETag": OTHER_MD5}, StoreSupport.of_aws(), None),
        (None, False, {"ETag": OTHER_MD5, SIGNED: True}, StoreSupport(has_md5_etags=True), None),
    ],
)
def test_what_a_reply_proves(
    crc: str | None, reply: dict[str, Any], ways: StoreSupport, proof: Integrity | None, *, encrypted: bool
) -> None:
    """The checksum that was echoed, else the ETag, else the signature; another body's ETag contradicts."""
    body = SentBody(lambda: MD5_OF_BODY, encrypted)
    assert proof_of(body, reply | {SUMMED: {"ChecksumCRC32": crc} if crc else {}}, replace(ways)) == proof


def test_the_md5_of_a_body_is_left_out_where_its_crc32_was_checked() -> None:
    """It costs more than the CRC32 and the sending together."""

    def md5() -> str:
        raise AssertionError("it was computed")

    ways = StoreSupport()
    reply = {SUMMED: {"ChecksumCRC32": "AAAA"}, "ChecksumCRC32": "AAAA", "ETag": "x"}
    assert proof_of(SentBody(md5), reply, ways) == "crc32"
    assert ways.checks_sums


@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 5], [70_000, 1, 70_000]])
@pytest.mark.parametrize("step", [1, 2, 7, 2**20])
def test_a_body_is_read_as_a_file_of_its_pieces(sizes: list[int], step: int) -> None:
    """It can be read from any position to be signed, and isn't joined for that."""
    pieces = [bytes([n % 256]) * size for n, size in enumerate(sizes, 1)]
    whole, body = b"".join(pieces), PartBody([memoryview(piece) for piece in pieces])
    start = len(whole) // 3
    assert body.seek(start) == start
    if step > 2 or len(whole) < 100:
        assert b"".join(iter(lambda: body.read(step), b"")) == whole[start:]
        assert body.tell() == len(whole)
    assert body.seek(0, 2) == len(whole) == len(body)
    assert body.seek(0) == body.tell() == 0
    assert body.read() == whole
    assert body.md5() == hashlib.md5(whole, usedforsecurity=False).hexdigest()
