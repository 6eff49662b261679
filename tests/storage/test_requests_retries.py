"""Which failures are sent again and which are not: every row of the table, counted in the server's own log."""

from __future__ import annotations

import logging
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import UploadError
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.request import PartBody
from mc_sink.storage.s3.retry_rules import OPERATIONS, Operation, Pace
from tests.servers.faults import FOREVER, Body, Fault, FlipByte, Reset, Status
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.plain_requests import OPS, WHERE, body_of, failure, ready, requests_to

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

ERROR_IN_200 = Body(200, b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>no</Message></Error>")
CUT_SHORT = Body(200, b"<?xml version='1.0'?>\n<ListBuck")
PASSING: list[Fault] = [
    Reset("head"),
    Reset("end"),
    Status(500),
    Status(502, "BadGateway"),
    Status(503, "SlowDown"),
    Status(503, "ServiceUnavailable"),
    Status(504, "GatewayTimeout"),
    Status(429, "TooManyRequests"),
    Status(408, "RequestTimeout"),
    Status(400, "RequestTimeout"),
    Status(400, "ThrottlingException"),
    Body(503, b"<html>overloaded</html>"),
    ERROR_IN_200,
    CUT_SHORT,
]
STORM: list[Fault] = [
    Status(503, "SlowDown"),
    Status(500),
    Status(502, ""),
    Status(503, "ServiceUnavailable"),
    Status(504, ""),
    Status(429, ""),
    Status(400, "ThrottlingException"),
    ERROR_IN_200,
]
REFUSALS = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "RequestTimeTooSkewed": 403,
    "NoSuchBucket": 404,
    "NoSuchUpload": 404,
    "InvalidToken": 400,
    "InvalidRequest": 400,
    "MalformedXML": 400,
    "EntityTooLarge": 400,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "XMinioStorageFull": 507,
}
# In a storm: the usual ones, and as many as the shortest pauses allow until the deadline.
MOST_ATTEMPTS = 32
EVERYWHERE = pytest.mark.parametrize("operation", OPERATIONS)


@EVERYWHERE
def test_what_passes_is_sent_again(fault_s3: FaultServer, operation: Operation) -> None:
    """A lost reply, a server's error and a call to slow down cost one more request each, and no failure."""
    requests = requests_to(fault_s3)
    for fault in PASSING:
        parameters, before = ready(requests, operation), len(fault_s3.log.of(OPS[operation]))
        fault_s3.fault(OPS[operation], fault)
        requests.call(operation, **parameters)
        assert len(fault_s3.log.of(OPS[operation])) - before == 2, fault


@EVERYWHERE
def test_a_refusal_is_sent_once(fault_s3: FaultServer, operation: Operation) -> None:
    """No second attempt changes a refusal, whether it comes with a status of its own or in the body of a 200."""
    requests = requests_to(fault_s3)
    parameters = ready(requests, operation)
    for code, status in REFUSALS.items():
        in_200 = Body(200, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
        faults: list[Fault] = [Status(status, code)] if status > 500 else [Status(status, code), in_200]
        for fault in faults:
            before = len(fault_s3.log.of(OPS[operation]))
            fault_s3.fault(OPS[operation], fault, times=FOREVER)
            failed = failure(requests, operation, **parameters)
            assert (failed.code, failed.attempts) == (code, 1)
            may_be_done = isinstance(fault, Body) or status > 500
            assert failed.uncertain == (may_be_done and code != "NotImplemented")
            assert len(fault_s3.log.of(OPS[operation])) - before == 1, fault
            fault_s3.heal()


@EVERYWHERE
def test_a_conflict_is_sent_again_for_a_put_alone(fault_s3: FaultServer, operation: Operation) -> None:
    """S3 wants a conditional put tried again, and an upload that can't be completed begun again."""
    requests = requests_to(fault_s3)
    parameters = ready(requests, operation)
    for code in ("ConditionalRequestConflict", "OperationAborted"):
        before = len(fault_s3.log.of(OPS[operation]))
        fault_s3.fault(OPS[operation], Status(409, code))
        if operation == "put_object":
            requests.call(operation, **parameters)
        else:
            assert failure(requests, operation, **parameters).code == code
        tries = [record.status for record in fault_s3.log.of(OPS[operation])][before:]
        assert tries == ([409, 200] if operation == "put_object" else [409])


@EVERYWHERE
@pytest.mark.parametrize(
    "code", ["BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"]
)
def test_a_body_changed_on_its_way_is_sent_again(operation: Operation, code: str) -> None:
    """Only requests with a body are: a part, or a small object; what Complete finds wrong stays wrong."""
    failed = RequestFailed(operation, 400, code, "no", uncertain=False)
    assert failed.transient == (operation in {"upload_part", "put_object"})


def summed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request with the CRC32 of its body."""
    body = parameters["Body"]
    crc = zlib.crc32(b"".join(body.pieces) if isinstance(body, PartBody) else body)
    return parameters | {"ChecksumCRC32": b64encode(crc.to_bytes(4, "big")).decode()}


@pytest.mark.parametrize("operation", ["upload_part", "put_object"])
def test_a_flipped_bit_costs_one_more_request(fault_s3: FaultServer, operation: Operation) -> None:
    """The store notices by the checksum, and the second body is the one that was meant."""
    requests = requests_to(fault_s3)
    parameters = summed(ready(requests, operation))
    fault_s3.fault(OPS[operation], FlipByte())
    requests.call(operation, **parameters)
    assert [record.status for record in fault_s3.log.of(OPS[operation])] == [400, 200]


@pytest.mark.parametrize("operation", ["upload_part", "put_object"])
def test_a_bit_that_flips_every_time_ends_in_an_error(fault_s3: FaultServer, operation: Operation) -> None:
    """After all attempts the failure has the store's answer, and the number of attempts."""
    requests = requests_to(fault_s3, 3)
    parameters = summed(ready(requests, operation))
    fault_s3.fault(OPS[operation], FlipByte(), times=FOREVER)
    failed = failure(requests, operation, **parameters)
    code = "BadDigest" if operation == "upload_part" else "XAmzContentSHA256Mismatch"  # such a Put is signed
    assert (failed.code, failed.attempts, failed.uncertain) == (code, Pace().attempts, False)
    assert len(fault_s3.log.of(OPS[operation])) == Pace().attempts


@pytest.mark.parametrize(
    ("op", "fault"),
    [
        ("List", Status(503, "SlowDown")),
        ("Create", Status(429, "")),
        ("Part", Status(503, "SlowDown")),
    ],
    ids=str,
)
def test_throttling_that_never_ends_is_an_error(fault_s3: FaultServer, op: str, fault: Status) -> None:
    """A delivery to a store that only ever says "slow down" ends at the deadline, and reports that."""
    options = fault_s3.storage_options | SMALL_PARTS | {"config_kwargs": {"read_timeout": 1}, "max_concurrency": 1}
    fault_s3.fault(op, fault, times=FOREVER)
    with pytest.raises(UploadError, match="asks for fewer requests") as raised:
        mc_sink.sink_madconnect(numbers(400_000), fault_s3.writer.target("p/x.csv"), storage_options=options)
    assert Pace().attempts < len(fault_s3.log.of(op)) <= MOST_ATTEMPTS
    assert f"failed after {len(fault_s3.log.of(op))} attempts: " in str(raised.value)
    assert "max_concurrency" in str(raised.value)
    assert fault_s3.listing(fault_s3.bucket) == {}


@EVERYWHERE
def test_a_storm_is_waited_out(fault_s3: FaultServer, caplog: pytest.LogCaptureFixture, operation: Operation) -> None:
    """One that takes more than the usual number of attempts costs pauses and a warning, and no failure."""
    requests = requests_to(fault_s3, 1.5)
    parameters, before = ready(requests, operation), len(fault_s3.log.of(OPS[operation]))
    for number in range(Pace().attempts + 1):
        fault_s3.fault(OPS[operation], STORM[number % len(STORM)], n=number + 1)
    requests.call(operation, **parameters)
    assert len(fault_s3.log.of(OPS[operation])) - before == Pace().attempts + 2
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "is overloaded or fails" in warning.getMessage()
    assert "for up to 3 s" in warning.getMessage()


def test_a_storm_of_a_complete_is_settled_by_evidence(fault_s3: FaultServer) -> None:
    """The first Complete had effect before the storm: the object is found, once, and its upload isn't aborted."""
    options = fault_s3.storage_options | SMALL_PARTS | {"config_kwargs": {"read_timeout": 1.5}}
    fault_s3.fault("Complete", Status(503, "SlowDown"), when="after")
    fault_s3.fault("Complete", Status(503, "SlowDown"), n=2, times=Pace().attempts)
    receipt = mc_sink.sink_madconnect(numbers(400_000), fault_s3.writer.target("p/x.csv"), storage_options=options)
    assert receipt.verify().ok
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]
    assert fault_s3.log.of("Abort") == []


@pytest.mark.parametrize("code", [429, 503])
def test_throttling_of_what_publishes_is_not_believed(fault_s3: FaultServer, code: int) -> None:
    """What says "slow down" may stand before a store that has done it: only the listing says that nothing is there."""
    options = fault_s3.storage_options | {"config_kwargs": {"read_timeout": 1}}
    fault_s3.fault("Put", Status(code, "SlowDown"), times=FOREVER)
    with pytest.raises(mc_sink.CommitUnknown, match="a listing shows no object there"):
        mc_sink.sink_madconnect(numbers(10), fault_s3.writer.target("p/x.csv"), storage_options=options)
    fault_s3.heal()
    fault_s3.fault("Put", Status(code, "SlowDown"), times=FOREVER, when="after")
    receipt = mc_sink.sink_madconnect(numbers(10), fault_s3.writer.target("p/y.csv"), storage_options=options)
    assert receipt.verify().ok


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation != "abort_multipart_upload"])
def test_a_200_that_answers_nothing_is_no_success(fault_s3: FaultServer, operation: Operation) -> None:
    """It would read as an empty listing, or as a part without a name; sent again, it would be the same."""
    requests = requests_to(fault_s3)
    parameters = ready(requests, operation)
    with_a_namespace = b"<Error xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Code>AccessDenied</Code></Error>"
    for reply in (b"", b"<html>Please log in.</html>", with_a_namespace):
        fault_s3.fault(OPS[operation], Body(200, reply))
        failed = failure(requests, operation, **parameters)
        assert (failed.status, failed.uncertain, failed.attempts) == (200, True, 1), reply
        assert "not an answer" in str(failed)


def test_what_an_earlier_try_left_open_is_not_forgotten(fault_s3: FaultServer) -> None:
    """The first put may have taken effect, so the refusal of the second one says that it is uncertain."""
    for kept in (False, True):  # the key is listed before the second one, or the store itself refuses it
        requests = requests_to(fault_s3)
        requests.support.condition_on_put = "kept" if kept else None  # as on AWS, or not
        fault_s3.fault("Put", Reset(), when="after")
        where = WHERE | {"Key": f"x-{kept}"}
        failed = failure(requests, "put_object", **where, Body=b"abc", IfNoneMatch="*")
        assert (failed.code, failed.uncertain, failed.attempts) == ("PreconditionFailed", True, 1 + kept)


def test_waits_are_random_and_bounded() -> None:
    """All times follow from the read timeout, and the first and the longest wait are as documented."""
    usual = Pace()
    assert (usual.attempts, usual.deadline, usual.first_wait, usual.longest_wait) == (8, 120, 0.2, 10)
    assert Pace.of({"read_timeout": 1}).deadline == 2
    assert Pace.of({"read_timeout": None}) == Pace.of({}) == usual
    assert usual.quiet("upload_part") == 120
    assert usual.quiet("complete_multipart_upload") == 300
    assert [usual.pauses(attempt) for attempt in (1, 2, 7)] == [(0, 0.2), (0, 0.4), (0, 10)]
    shortest = min(usual.pauses(attempt)[0] for attempt in range(usual.attempts, 1_000))
    assert usual.attempts + usual.deadline / shortest == MOST_ATTEMPTS


def test_a_part_of_many_pieces_is_the_same_each_time(fault_s3: FaultServer) -> None:
    """A body that broke off half way is sent again from its beginning."""
    requests = requests_to(fault_s3)
    parameters = ready(requests, "upload_part", body_of(3_000_001))
    fault_s3.fault("Part", Reset("body"))
    requests.call("upload_part", **parameters)
    (upload,) = fault_s3.store.uploads.values()
    assert b"".join(upload.parts[1].data) == bytes(3_000_001)
