"""What a person reads of a request that failed: which error, what to do next, and nothing that is secret."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING

import pytest

from mc_sink import AlreadyExistsError, ConfigurationError, PermissionDenied, SinkError, TargetError, UploadError
from mc_sink.exceptions import NOTHING_VISIBLE
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.failures import RequestFailed, cleaned
from mc_sink.storage.s3.retry_rules import OPERATIONS, RULES, Operation
from tests.servers.faults import FOREVER, BlackHole, Body, Reset, Status
from tests.support.plain_requests import OPS, WHERE, failure, ready, requests_to

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer
    from tests.servers.faults import Fault

URL = "s3://bucket/p/x.csv, part 3"
KEY, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG", "FwoGZXIvYXdzEXAMPLETOKEN"
ROWS = b"jane@example.com,42"

MEANINGS: list[tuple[int | None, str, type[SinkError], str]] = [
    (400, "ExpiredToken", PermissionDenied, "token has expired.*new temporary credentials"),
    (400, "InvalidToken", PermissionDenied, "token is not valid.*new temporary credentials"),
    (403, "InvalidAccessKeyId", PermissionDenied, "access key id.*Check key"),
    (403, "SignatureDoesNotMatch", PermissionDenied, "signature is wrong.*secret access key"),
    (403, "RequestTimeTooSkewed", PermissionDenied, "clock.*Set the clock"),
    (0, "NoCredentialsError", PermissionDenied, "no credentials.*a profile"),
    (0, "PartialCredentialsError", PermissionDenied, "half.*both key and secret"),
    (0, "ProfileNotFound", PermissionDenied, "profile isn't configured.*~/.aws/config"),
    (0, "CredentialRetrievalError", PermissionDenied, "no credentials"),
    (404, "NoSuchBucket", TargetError, "bucket does not exist.*Check its name"),
    (404, "", TargetError, "does not know this place.*endpoint_url"),
    (301, "PermanentRedirect", TargetError, "another region.*region_name"),
    (301, "", TargetError, "another region.*region_name"),
    (400, "AuthorizationHeaderMalformed", TargetError, "another region.*region_name"),
    (400, "IllegalLocationConstraintException", TargetError, "another region.*region_name"),
    (400, "AccessControlListNotSupported", ConfigurationError, "ACLs disabled.*bucket-owner-full-control"),
    (400, "InvalidStorageClass", ConfigurationError, "storage class.*object_options"),
    (400, "InvalidTag", ConfigurationError, "tags"),
    (400, "KMS.DisabledException", ConfigurationError, "KMS key.*sse_kms_key_id"),
    (501, "NotImplemented", ConfigurationError, "doesn't support.*request_checksum_calculation"),
    (0, "ParamValidationError", ConfigurationError, "form.*object_options"),
    (0, "TypeError", ConfigurationError, "could not be sent.*storage_options"),
    (0, "SSLError", ConfigurationError, "certificate.*verify"),
    (503, "SlowDown", UploadError, "fewer requests.*max_concurrency"),
    (429, "", UploadError, "fewer requests.*max_concurrency"),
    (400, "EntityTooLarge", UploadError, "larger than.*smaller default_block_size"),
    (400, "EntityTooSmall", UploadError, "smaller than.*larger default_block_size"),
    (507, "", UploadError, "store is full.*bucket's owner"),
    (403, "QuotaExceeded", UploadError, "quota.*bucket's owner"),
    (507, "XMinioStorageFull", UploadError, "store is full.*bucket's owner"),
    (400, "BadDigest", UploadError, "not those that were sent.*memory"),
    (400, "RequestTimeout", UploadError, "did not answer in time.*read_timeout"),
    (None, "ReadTimeoutError", UploadError, "did not answer in time.*read_timeout"),
    (None, "TimeoutError", UploadError, "did not answer in time.*read_timeout"),
    (None, "EndpointConnectionError", UploadError, "connection to the store failed.*endpoint_url"),
    (None, "ConnectionResetError", UploadError, "no readable reply.*rerun"),
    (404, "NoSuchUpload", UploadError, "lifecycle rule.*begin again"),
    (400, "InvalidPart", UploadError, "lost a part.*Rerun"),
    (500, "InternalError", UploadError, "store itself failed.*Rerun"),
    (418, "Teapot", UploadError, "refused the request.*Rerun"),
    (200, "", UploadError, "not an answer of S3.*in front of the store"),
    (412, "PreconditionFailed", AlreadyExistsError, "already at.*another key"),
    (409, "ConditionalRequestConflict", AlreadyExistsError, "another writer.*rerun"),
]


@pytest.mark.parametrize(("status", "code", "error", "expected"), MEANINGS, ids=lambda value: str(value)[:30])
def test_each_answer_has_its_error(status: int | None, code: str, error: type[SinkError], expected: str) -> None:
    """It states what failed, where, after how many attempts, why, what to do next, and that nothing is visible."""
    failed = RequestFailed("upload_part", status, code, "The store's own words.", uncertain=False, attempts=2)
    raised = translated(failed, URL)
    assert type(raised) is error
    assert re.search(expected, str(raised)), str(raised)
    assert str(raised).endswith(NOTHING_VISIBLE)
    assert URL in str(raised)
    if error is not AlreadyExistsError or status == 409:
        assert str(raised).startswith(f"s3:PutObject at {URL} failed after 2 attempts: ")
        assert str(failed) in str(raised)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (403, ""), (401, "Unauthorized")])
def test_a_missing_permission_is_named_for_each_operation(operation: Operation, status: int, code: str) -> None:
    """Under every name of the refusal, the error has the action to grant."""
    raised = translated(RequestFailed(operation, status, code, "no", uncertain=False), URL)
    assert isinstance(raised, PermissionDenied)
    assert raised.action == RULES[operation].action
    assert f"Grant {RULES[operation].action} to this user" in str(raised)
    assert str(raised).startswith(f"{RULES[operation].action} at {URL} failed: ")


ECHO = f"""<?xml version="1.0"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>No match for {KEY} with {TOKEN}.
The Canonical String for this request should have been 'PUT x-amz-security-token:{TOKEN}'</Message>
<AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 {KEY}</StringToSign>
<SignatureProvided>0123456789abcdef</SignatureProvided><CanonicalRequest>PUT {TOKEN}</CanonicalRequest>
<Token-0>{TOKEN}</Token-0></Error>""".encode()
FAULTS: dict[str, Fault] = {
    "refused": Body(403, ECHO),
    "refused in a 200": Body(200, ECHO),
    "refused in words of its own": Body(400, ECHO.replace(b"Error>", b"Fault>")),
    "server's error": Status(500),
    "lost": Reset(),
    "silent": BlackHole(),
    "no answer": Body(200, b"<html></html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failure_shows_no_secret_and_no_row(fault_s3: FaultServer, fault: Fault) -> None:
    """Stores repeat keys and what was signed, and libraries' frames are full of them: it has none of either."""
    fault_s3.fault("*", fault, times=FOREVER)
    requests = requests_to(fault_s3, 0.5, key=KEY, secret=SECRET, token=TOKEN)
    with pytest.raises(RequestFailed) as raised:
        requests.call("put_object", **WHERE, Body=ROWS)
    words = repr(raised.value) + str(translated(raised.value, URL))
    for secret in (KEY, SECRET, TOKEN, "AWS4-HMAC", "0123456789abcdef", "Canonical"):
        assert secret not in words
    assert raised.value.__cause__ is raised.value.__context__ is None
    report = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    bound = "".join(repr(frame.locals) for frame in report.stack if frame.filename != __file__)
    assert "RequestFailed" in bound
    assert not [frame.filename for frame in report.stack if "site-packages" in frame.filename]
    for secret in (KEY, SECRET, TOKEN, ROWS.decode()):
        assert secret not in bound


def test_a_librarys_words_are_kept(fault_s3: FaultServer) -> None:
    """The kind of exception and its message say what went wrong, on one line and of a length that can be read."""
    requests = requests_to(fault_s3)
    failed = failure(requests, "put_object", Bucket="bucket", Key="key", ContentLength="many")
    assert (failed.code, failed.status, failed.attempts) == ("ParamValidationError", 0, 1)
    assert "ContentLength" in str(failed)
    assert len(fault_s3.log) == 0
    long = cleaned("a\n  b" + "c" * 1000, str)
    assert long.startswith("a bc")
    assert len(long) <= 501


def test_the_given_credentials_are_cut_out_wherever_they_were_given() -> None:
    """A library's exception that repeats them is reported without them."""
    for options in (
        {"key": KEY, "secret": SECRET},
        {"username": KEY, "password": SECRET},
        {"client_kwargs": {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}},
    ):
        requests = Requests(options | {"endpoint_url": "http://127.0.0.1:1", "config_kwargs": {"read_timeout": 0.1}})
        failed = failure(requests, "put_object", Bucket="bucket", Key="key", ContentLength=f"{KEY} {SECRET}")
        assert "ContentLength" in str(failed)
        assert KEY not in repr(failed)
        assert SECRET not in repr(failed)


def test_found_credentials_are_cut_out_too(monkeypatch: pytest.MonkeyPatch, fault_s3: FaultServer) -> None:
    """Those of the environment are in no option, and the reply of a store that repeats them is shown without them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    fault_s3.fault("List", Body(403, ECHO))
    failed = failure(requests_to(fault_s3, key=None, secret=None), "list_objects_v2", Bucket="bucket")
    assert failed.code == "SignatureDoesNotMatch"
    assert KEY not in repr(failed)
    assert TOKEN not in repr(failed)


def test_each_operation_has_an_action_and_a_name() -> None:
    """A new operation must be given both."""
    assert set(RULES) == set(OPS) == set(OPERATIONS)


def test_credentials_that_are_nowhere_are_said_so(monkeypatch: pytest.MonkeyPatch, fault_s3: FaultServer) -> None:
    """Nothing is sent, nothing is tried twice, and the error says where to put them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    failed = failure(requests_to(fault_s3, key=None, secret=None), "list_objects_v2", Bucket="bucket")
    assert (failed.code, failed.status, failed.uncertain) == ("NoCredentialsError", 0, False)
    assert len(fault_s3.log) == 0
    assert isinstance(translated(failed, URL), PermissionDenied)


def test_ready_parameters_succeed(fault_s3: FaultServer) -> None:
    """What these tests break would work."""
    requests = requests_to(fault_s3)
    for operation in OPERATIONS:
        requests.call(operation, **ready(requests, operation))
