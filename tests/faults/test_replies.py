"""What a store answers to the request that publishes, and what a delivery makes of it: never a guess."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown, PermissionDenied, SinkError, TargetError
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Reset, Status, WhitespaceThenReply
from tests.servers.rules import Rules
from tests.support.frames import FORMATS, numbers

if TYPE_CHECKING:
    from pathlib import Path

ROWS = numbers(1_000)
BRISK: dict[str, Any] = {"config_kwargs": {"read_timeout": 1}}
HTML = b"<html><body>Welcome</body></html>"
CUT = b'<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><ETag>"1'
ANOTHER_KEY = b"<CompleteMultipartUploadResult><Key>q/y</Key><ETag>x</ETag></CompleteMultipartUploadResult>"
WITHOUT_ETAG = b"<CompleteMultipartUploadResult><Key>p/x</Key></CompleteMultipartUploadResult>"
ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def deliver(server: FaultServer, format: Any, **options: Any) -> mc_sink.Receipt:
    """Deliver one file by an upload, under a run id, so that the file is numbered and has a manifest."""
    return mc_sink.sink_madconnect(
        ROWS,
        server.writer.target("p/"),
        format=format,
        run_id="run-1",
        max_rows_per_file=1_000,
        storage_options=server.storage_options | BRISK,
        **options,
    )


def keys(format: str) -> list[str]:
    """Return the keys of a whole delivery."""
    return sorted(["p/_manifests/run-1.json", f"p/run-1-00000.{format}"])


AFTER_THE_LOSS: dict[str, Any] = {
    "200 again": None,
    "NoSuchUpload": Status(404, "NoSuchUpload"),
    "InternalError": Status(500),
    "412": Status(412, "PreconditionFailed"),
}


@pytest.mark.parametrize("then", AFTER_THE_LOSS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_commit_whose_reply_was_lost_is_a_success(format: str, then: str) -> None:
    """A listing proves the object, regardless of the answer to the second attempt, and one copy is visible."""
    with FaultServer(Rules(repeated_complete="OK" if then == "200 again" else "NoSuchUpload")) as server:
        server.fault("Complete", Reset(), when="after")
        if (answer := AFTER_THE_LOSS[then]) is not None:
            server.fault("Complete", answer, n=2, times=FOREVER)
        receipt = deliver(server, format)
        assert receipt.verify().ok
        assert sorted(server.listing(server.bucket)) == keys(format)


@pytest.mark.parametrize("format", FORMATS)
def test_an_upload_that_its_owner_aborted_is_not_a_success(fault_s3: FaultServer, format: str) -> None:
    """The owner threw the upload away and put another object there: an error, and that object stays as it is."""

    def interfere(request: Any) -> None:
        for pending in fault_s3.pending_uploads(fault_s3.bucket):
            fault_s3.store.abort(fault_s3.bucket, pending.key, pending.upload_id)
        fault_s3.put_foreign(request.bucket, request.key, b"foreign")

    fault_s3.fault("Complete", Call(interfere))
    with pytest.raises(SinkError) as raised:
        deliver(fault_s3, format)
    assert not isinstance(raised.value, CommitUnknown)
    assert fault_s3.read(fault_s3.bucket, f"p/run-1-00000.{format}") == b"foreign"
    assert list(fault_s3.listing(fault_s3.bucket)) == [f"p/run-1-00000.{format}"]


ANSWERS: dict[str, Any] = {
    "empty": Body(200, b""),
    "cut": Body(200, CUT),
    "HTML": Body(200, HTML),
    "error": Body(200, ERROR),
    "without ETag": Body(200, WITHOUT_ETAG),
    "another key": Body(200, ANOTHER_KEY),
    "error after blanks": WhitespaceThenReply(0.2),
}


@pytest.mark.parametrize("applied", [False, True], ids=["nothing stored", "stored"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_200_with_another_answer_is_settled_by_a_listing(
    fault_s3: FaultServer, format: str, answer: str, *, applied: bool
) -> None:
    """The bucket decides: the same object is a success, and without an object the end is unknown."""
    fault_s3.fault("Complete", ANSWERS[answer], times=FOREVER, when="after" if applied else "before")
    if applied:
        assert deliver(fault_s3, format).verify().ok
        assert sorted(fault_s3.listing(fault_s3.bucket)) == keys(format)
        return
    with pytest.raises(CommitUnknown, match="may or may not be visible"):
        deliver(fault_s3, format)
    assert fault_s3.listing(fault_s3.bucket) == {}
    fault_s3.heal()
    assert mc_sink.recover("run-1", storage_options=fault_s3.storage_options).verify().ok
    assert sorted(fault_s3.listing(fault_s3.bucket)) == keys(format)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_complete_that_sends_blanks_for_twenty_seconds_is_waited_for(fault_s3: FaultServer) -> None:
    """S3 does so for large objects; with the timeouts that a delivery has by itself, the answer is waited for."""
    fault_s3.fault("Complete", WhitespaceThenReply(20), when="after")
    receipt = mc_sink.sink_madconnect(
        ROWS, fault_s3.writer.target("p/"), max_rows_per_file=1_000, storage_options=fault_s3.storage_options
    )
    assert receipt.verify().ok
    assert len(fault_s3.log.of("Complete")) == 1


REFUSALS: dict[str, tuple[int, type[SinkError], str]] = {
    "InvalidAccessKeyId": (403, PermissionDenied, "key id"),
    "SignatureDoesNotMatch": (403, PermissionDenied, "secret"),
    "RequestTimeTooSkewed": (403, PermissionDenied, "clock"),
    "ExpiredToken": (400, PermissionDenied, "expired"),
    "AccessDenied": (403, PermissionDenied, "s3:PutObject"),
    "NoSuchBucket": (404, TargetError, "bucket"),
    "PermanentRedirect": (301, TargetError, "region"),
    "AuthorizationHeaderMalformed": (400, TargetError, "region"),
}


@pytest.mark.parametrize("op", ["Create", "Part", "Complete"])
@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_has_an_error_of_its_own_and_is_sent_once(fault_s3: FaultServer, code: str, op: str) -> None:
    """A wrong request ends with what to change, once, and nothing is visible."""
    status, kind, word = REFUSALS[code]
    fault_s3.fault(op, Status(status, code), times=FOREVER)
    with pytest.raises(kind, match=f"(?is){word}.*Nothing became visible"):
        deliver(fault_s3, "csv")
    assert len(fault_s3.log.of(op)) == 1
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_the_error_of_the_kth_file_lists_what_is_visible(fault_s3: FaultServer, format: str, k: int) -> None:
    """The error lists exactly the files that are visible, and a rerun delivers the rest, once."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=k, times=FOREVER)
    order: dict[str, Any] = {
        "format": format,
        "run_id": "run-1",
        "max_rows_per_file": 250,
        "storage_options": fault_s3.storage_options,
    }
    with pytest.raises(CommitError if k > 1 else PermissionDenied) as raised:
        mc_sink.sink_madconnect(ROWS, fault_s3.writer.target("p/"), **order)
    visible = [f"s3://{fault_s3.bucket}/{key}" for key in fault_s3.listing(fault_s3.bucket)]
    assert sorted(getattr(raised.value, "committed", ())) == sorted(visible)
    assert len(visible) == k - 1
    fault_s3.heal()
    receipt = mc_sink.sink_madconnect(ROWS, fault_s3.writer.target("p/"), **order)
    assert (receipt.num_rows, receipt.num_found, receipt.verify().ok) == (1_000, k - 1, True)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_an_existing_key_is_refused_by_the_store_too(fault_s3: FaultServer) -> None:
    """What appears between the look and the request is refused with 412, and stays."""
    fault_s3.fault("Complete", Call(lambda request: fault_s3.put_foreign(request.bucket, request.key, b"foreign")))
    with pytest.raises(AlreadyExistsError):
        deliver(fault_s3, "csv")
    assert fault_s3.read(fault_s3.bucket, "p/run-1-00000.csv") == b"foreign"


FULL_DISK = """
import resource, signal, sys
import mc_sink
from tests.support.frames import numbers
mc_sink.stage(numbers(1), sys.argv[2])  # what is loaded late writes to the disk, too
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
try:
    mc_sink.sink_madconnect(
        numbers(1_000), sys.argv[1], max_rows_per_file=500,
        storage_options={"key": sys.argv[3], "secret": sys.argv[4], "endpoint_url": sys.argv[5]},
    )
except mc_sink.UploadError as error:
    sys.exit(0 if "journal" in str(error) and "Nothing became visible" in str(error) else 2)
sys.exit(3)
"""


def test_a_disk_too_full_for_the_journal_ends_the_delivery(fault_s3: FaultServer, tmp_path: Path) -> None:
    """What can't be noted is not published: an error that says so, and nothing is visible or left."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FULL_DISK,
            fault_s3.writer.target("p/"),
            f"{tmp_path}/",
            fault_s3.writer.credentials.key,
            fault_s3.writer.credentials.secret,
            fault_s3.writer.url,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    assert len(fault_s3.log.of("Part")) == 2
