"""What a store refuses, and the advice: the option that was sent, the policy that denies, the region that is named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import CommitUnknown, ConfigurationError, ObjectOptions, PermissionDenied, SinkError, TargetError
from mc_sink.exceptions import NOTHING_VISIBLE
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.failures import RequestFailed
from tests.servers.faults import FOREVER, Body, Fault, Reset, Status
from tests.support.frames import numbers
from tests.support.plain_requests import OPS, WHERE, failure, ready, requests_to

if TYPE_CHECKING:
    from mc_sink.storage.s3.retry_rules import Operation
    from tests.servers.fault import FaultServer

ROWS = numbers(100)
URL = "s3://bucket/p/x.csv"
ACL = ObjectOptions(acl="bucket-owner-full-control")
EVERYTHING = ObjectOptions(
    acl="bucket-owner-full-control",
    sse_kms_key_id="alias/key",
    storage_class="STANDARD_IA",
    tags={"team": "a"},
    object_lock_mode="COMPLIANCE",
    object_lock_retain_until=datetime(2100, 1, 1, tzinfo=UTC),
)
UNSUPPORTED = Status(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")


def deliver(server: FaultServer, *, several: bool, options: ObjectOptions | None = None, **more: Any) -> Any:
    """Deliver by one Put, or by an upload in parts."""
    more = more | ({"max_rows_per_file": 100} if several else {})
    stored = server.storage_options | {"config_kwargs": {"read_timeout": 10}} | more.pop("stored", {})
    return mc_sink.sink_madconnect(
        ROWS, server.writer.target("p/"), storage_options=stored, object_options=options, manifest=False, **more
    )


def document(code: str, message: str = "Refused.", **more: str) -> bytes:
    """Write an error document with elements of its own."""
    elements = "".join(f"<{name}>{text}</{name}>" for name, text in more.items())
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{elements}</Error>".encode()


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("Put", r"If-None-Match.*checksum.*if_exists='overwrite'.*request_checksum_calculation"),
        ("Create", r"the checksum.*request_checksum_calculation"),
        ("Part", r"the checksum.*request_checksum_calculation"),
        ("Complete", r"If-None-Match.*checksum.*if_exists='overwrite'.*request_checksum_calculation"),
    ],
)
@pytest.mark.parametrize(
    "fault", [UNSUPPORTED, Body(501, b"<html>Not Implemented</html>"), Body(200, document("NotImplemented"))]
)
def test_what_a_store_does_not_implement_is_named(fault_s3: FaultServer, op: str, expected: str, fault: Fault) -> None:
    """A 501 is a certain refusal, at every request: nothing is visible.

    It is sent again with each other checksum and with none, without the condition or the size, and without two of
    them, and not once more.
    """
    fault_s3.fault(op, fault, times=FOREVER)
    with pytest.raises(ConfigurationError, match=f"(?s)doesn't support.*{expected}.*{NOTHING_VISIBLE}"):
        deliver(fault_s3, several=op != "Put")
    assert len(fault_s3.log.of(op)) == {"Put": 8, "Create": 5, "Part": 1, "Complete": 7}[op]
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_header_that_is_named_is_blamed_alone(fault_s3: FaultServer) -> None:
    """Where the store names a header, in its message or beside it, no other is blamed."""
    message = "Header 'x-amz-acl' with value 'bucket-owner-full-control' not implemented"
    for body in (document("NotImplemented", message), document("NotImplemented", Header="x-amz-acl")):
        fault_s3.fault("Create", Body(501, body))
        with pytest.raises(ConfigurationError, match="acl out of object_options") as raised:
            deliver(fault_s3, several=True, options=ACL)
        assert "request_checksum_calculation" not in str(raised.value)
    fault_s3.fault("Put", Body(501, document("NotImplemented", Header="If-None-Match")), times=FOREVER)
    with pytest.raises(ConfigurationError, match="if_exists='overwrite'") as raised:
        deliver(fault_s3, several=False, options=ACL)
    assert "acl" not in str(raised.value)


@pytest.mark.parametrize("several", [False, True])
def test_a_501_after_a_lost_reply_is_looked_into(fault_s3: FaultServer, *, several: bool) -> None:
    """A listing settles what the first attempt did: nothing, and so it's the option; or all, and so it's a success."""
    op = "Complete" if several else "Put"
    fault_s3.fault(op, Reset("head"))
    fault_s3.fault(op, UNSUPPORTED, n=2, times=FOREVER)
    with pytest.raises(ConfigurationError, match="if_exists"):
        deliver(fault_s3, several=several)
    fault_s3.heal()
    fault_s3.fault(op, Reset(), when="after")
    fault_s3.fault(op, UNSUPPORTED, n=2, times=FOREVER)
    assert deliver(fault_s3, several=several).verify().ok


def test_a_501_that_nobody_can_look_into_is_unknown_only_after_a_lost_reply(fault_s3: FaultServer) -> None:
    """Without evidence a lost reply stays unknown, at every answer to the second attempt."""
    fault_s3.fault("List", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("Put", Reset("head"))
    fault_s3.fault("Put", UNSUPPORTED, n=2, times=FOREVER)
    with pytest.raises(CommitUnknown):
        deliver(fault_s3, several=False)
    fault_s3.heal()
    fault_s3.fault("List", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("Put", UNSUPPORTED, times=FOREVER)
    with pytest.raises(ConfigurationError, match="if_exists"):
        deliver(fault_s3, several=False)


BLAMED: list[tuple[str, str, str, str]] = [
    ("InvalidRequest", "Unsupported ACL", "", "the ACL.*leave acl out|Leave acl out"),
    ("InvalidArgument", "Invalid argument.", "x-amz-acl", "Leave acl out of object_options"),
    ("InvalidArgument", "The encryption method specified is not supported", "x-amz-server-side-encryption", "sse out"),
    ("InvalidArgument", "Invalid KMS keyId", "x-amz-server-side-encryption-aws-kms-key-id", "sse_kms_key_id"),
    ("InvalidEncryptionAlgorithmError", "The Encryption request you specified is not valid.", "", "sse out of"),
    ("InvalidArgument", "The storage class you specified is not valid", "", "storage_class out of object_options"),
    ("InvalidArgument", "The header 'x-amz-tagging' shall be encoded as UTF-8", "", "tags in object_options"),
    ("InvalidRequest", "Value for x-amz-checksum-crc32 header is invalid.", "", "request_checksum_calculation"),
    ("InvalidRequest", "Bucket is missing ObjectLockConfiguration", "", "Object Lock.*object_lock options out"),
    ("InvalidArgument", "The retain until date must be in the future!", "", "object_lock options out"),
    ("InvalidArgument", "If-None-Match is not supported", "", "if_exists='overwrite'"),
    ("XStoreInvalidHeader", "The tagging header is not supported here", "", "tags in object_options"),
    ("InvalidRequest", "Something is wrong.", "", "the checksum.*the ACL.*the KMS key.*the tags.*Object Lock"),
]


@pytest.mark.parametrize(("code", "message", "argument", "expected"), BLAMED)
def test_a_refusal_of_the_request_blames_the_option_that_was_sent(
    fault_s3: FaultServer, code: str, message: str, argument: str, expected: str
) -> None:
    """By the argument that the store names, else by its words, else all that were sent; "Rerun" isn't advice."""
    refusal = Body(400, document(code, message, **({"ArgumentName": argument} if argument else {})))
    fault_s3.fault("Put", refusal, times=FOREVER)
    with pytest.raises(ConfigurationError, match=expected) as raised:
        deliver(fault_s3, several=False, options=EVERYTHING)
    assert "Rerun" not in str(raised.value)
    assert str(raised.value).endswith(NOTHING_VISIBLE)
    # Two other checksums and none, or no condition.
    others = 3 * ("request_checksum_calculation" in expected) + ("if_exists" in expected)
    assert len(fault_s3.log.of("Put")) == 1 + others


DEMANDED: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "InvalidRequest",
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
        {"config_kwargs": {"request_checksum_calculation": "when_required"}},
        "Object Lock.*demands a checksum.*leave request_checksum_calculation='when_required' out",
    ),
    (
        "InvalidRequest",
        "Content-MD5 HTTP header is required for Put Object requests with Object Lock parameters",
        {},
        "Object Lock.*demands a checksum.*Content-MD5 and CRC32 were sent.*ask the bucket's owner",
    ),
    ("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", {}, "payload_signing_enabled"),
    (
        "MissingUploadObjectWithObjectLockHeaders",
        "Content-MD5 or x-amz-sdk-checksum-algorithm header required to upload an object with Object Lock",
        {},
        "Object Lock.*demands a checksum.*Content-MD5 and CRC32 were sent",
    ),
    ("InvalidRequest", "Please use AWS4-HMAC-SHA256.", {}, "signature_version out"),
    ("MissingSecurityHeader", "x-amz-server-side-encryption is required", {}, "demands encryption.*sse="),
]


@pytest.mark.parametrize(("code", "message", "stored", "expected"), DEMANDED)
def test_what_a_store_demands_is_named(
    fault_s3: FaultServer, code: str, message: str, stored: dict[str, Any], expected: str
) -> None:
    """A header that was not sent is named with the option that sends it."""
    fault_s3.fault("Put", Body(400, document(code, message)))
    with pytest.raises(ConfigurationError, match=expected):
        deliver(fault_s3, several=False, stored=stored)


USER = "User: arn:aws:iam::123456789012:user/x is not authorized to perform: {} on resource: arn:aws:s3:::b/k"
DENIED: list[tuple[str, str, str | None, str]] = [
    (
        "AccessDenied",
        USER.format("s3:PutObject") + " with an explicit deny in a resource-based policy",
        "s3:PutObject",
        "explicit Deny in a resource-based policy.*ask the bucket's owner.*encryption.*an ACL.*payload_signing_enabled",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObjectAcl") + " with an explicit deny in an identity-based policy",
        "s3:PutObjectAcl",
        "in an identity-based policy forbids s3:PutObjectAcl.*ask the administrator of this user",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObject") + " with an explicit deny in a service control policy",
        "s3:PutObject",
        "service control policy.*account's organization",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObject") + " with an explicit deny in a VPC endpoint policy",
        "s3:PutObject",
        "VPC endpoint",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObjectTagging") + " because no identity-based policy allows the s3:PutObjectTagging action",
        "s3:PutObjectTagging",
        "no identity-based policy allows it.*grant s3:PutObjectTagging",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObject") + " because public ACLs are prevented by the BlockPublicAcls setting in S3 Block "
        "Public Access.",
        "s3:PutObject",
        "S3 Block Public Access refuses it.*public acl out",
    ),
    (
        "AccessDenied",
        USER.format("kms:GenerateDataKey") + " because no identity-based policy allows the kms:GenerateDataKey action",
        "kms:GenerateDataKey",
        "KMS key may not be used.*Grant kms:GenerateDataKey and kms:Decrypt",
    ),
    (
        "AccessDenied",
        USER.format("kms:GenerateDataKey") + " with an explicit deny in a resource-based policy",
        "kms:GenerateDataKey",
        "denies the use of the KMS key.*the key's owner",
    ),
    (
        "AccessDenied",
        USER.format("s3:PutObject")
        + "/kms/account-disabled/block-public-access/x.csv with an explicit deny in a session "
        "policy",
        "s3:PutObject",
        "explicit Deny in a session policy forbids s3:PutObject",
    ),
    ("KMS.AccessDeniedException", "Refused.", "kms:GenerateDataKey", "Grant kms:GenerateDataKey and kms:Decrypt"),
    ("AllAccessDisabled", "All access to this object has been disabled", None, "suspended or disabled"),
    ("AccountProblem", "Your account has a problem", None, "suspended or disabled.*account's owner"),
    ("AccessDenied", "Your account has been suspended", None, "suspended or disabled"),
]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("code", "message", "action", "expected"), DENIED)
def test_a_denial_has_advice_of_its_own(  # noqa: PLR0913  a row of the table, and its server
    fault_s3: FaultServer, code: str, message: str, action: str | None, expected: str, *, several: bool
) -> None:
    """By what AWS says of it: "Grant s3:PutObject" helps with none of these."""
    fault_s3.fault("Complete" if several else "Put", Body(403, document(code, message)))
    with pytest.raises(PermissionDenied, match=expected) as raised:
        deliver(fault_s3, several=several)
    assert raised.value.action == action
    assert "Grant s3:PutObject" not in str(raised.value)
    assert str(raised.value).endswith(NOTHING_VISIBLE)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("sse", "names_kms"), [(None, False), ("AES256", False), ("aws:kms", True)])
def test_only_encryption_by_kms_is_said_to_need_permissions_of_kms(
    fault_s3: FaultServer, sse: Any, *, names_kms: bool, several: bool
) -> None:
    """S3's own encryption, AES256, needs no further permission."""
    fault_s3.fault("Create" if several else "Put", Body(403, document("AccessDenied", "Access Denied")))
    with pytest.raises(PermissionDenied, match="Grant s3:PutObject to this user") as raised:
        deliver(fault_s3, several=several, options=ObjectOptions(sse=sse))
    assert ("kms:" in str(raised.value)) is names_kms


def test_a_denial_says_so_however_long_its_names_are(fault_s3: FaultServer) -> None:
    """AWS names the policy at the end of a message that has the whole key in it."""
    message = (
        USER.format("s3:PutObject").replace("b/k", "b/" + "k" * 900) + " with an explicit deny in a session policy"
    )
    fault_s3.fault("Put", Body(403, document("AccessDenied", message)))
    with pytest.raises(PermissionDenied, match="explicit Deny in a session policy forbids s3:PutObject"):
        deliver(fault_s3, several=False)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("KMS.DisabledException", "disabled.*enable it"),
        ("KMS.NotFoundException", "does not find.*bucket's region"),
        ("KMS.KMSInvalidStateException", "pending deletion"),
        ("KMS.Surprise", "can't be used.*sse_kms_key_id"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_by_its_state(fault_s3: FaultServer, code: str, expected: str) -> None:
    """Codes of KMS come through S3 with a prefix."""
    fault_s3.fault("Put", Status(400, code), times=FOREVER)
    with pytest.raises(ConfigurationError, match=expected):
        deliver(fault_s3, several=False, options=ObjectOptions(sse_kms_key_id="alias/key"))
    assert len(fault_s3.log.of("Put")) == 1


def test_kms_that_asks_for_fewer_requests_is_asked_again(fault_s3: FaultServer) -> None:
    """A throttle of KMS passes like one of S3."""
    fault_s3.fault("Put", Status(400, "KMS.ThrottlingException"))
    assert deliver(fault_s3, several=False).verify().ok


HOST = "bucket.s3.eu-central-1.amazonaws.com"
ELSEWHERE: list[tuple[int, bytes, tuple[tuple[str, str], ...], str]] = [
    (301, document("PermanentRedirect", Endpoint=HOST), (), "eu-central-1"),
    (301, document("PermanentRedirect", Endpoint="bucket.s3-eu-west-1.amazonaws.com"), (), "eu-west-1"),
    (301, document("PermanentRedirect"), (("x-amz-bucket-region", "ap-southeast-2"),), "ap-southeast-2"),
    (301, b"", (("x-amz-bucket-region", "us-gov-west-1"),), "us-gov-west-1"),
    (307, document("TemporaryRedirect", Endpoint=HOST), (), "eu-central-1"),
    (400, document("AuthorizationHeaderMalformed", Region="eu-west-3"), (), "eu-west-3"),
    (
        400,
        document("AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-north-1'"),
        (),
        "eu-north-1",
    ),
    (
        400,
        document("IllegalLocationConstraintException", "The me-south-1 location constraint is incompatible for the "
                 "region specific endpoint this request was sent to."),
        (),
        "me-south-1",
    ),
    (301, document("PermanentRedirect", Endpoint="s3.nyc3.example.com"), (), "s3.nyc3.example.com"),
]  # fmt: skip


@pytest.mark.parametrize("op", ["List", "Put"])
@pytest.mark.parametrize(("status", "body", "headers", "expected"), ELSEWHERE)
def test_the_region_that_came_with_a_redirect_is_named(  # noqa: PLR0913  a row of the table, and its server
    fault_s3: FaultServer, *, op: str, status: int, body: bytes, headers: tuple[tuple[str, str], ...], expected: str
) -> None:
    """It stands in a header, an element, a host or the message; the advice is to pass that very region."""
    fault_s3.fault(op, Body(status, body, headers), times=FOREVER)
    with pytest.raises(TargetError, match="in another region") as raised:
        deliver(fault_s3, several=False)
    assert expected in str(raised.value)
    if "." not in expected:
        assert f"client_kwargs={{'region_name': '{expected}'}}" in str(raised.value)
    assert len(fault_s3.log.of(op)) == 1


@pytest.mark.parametrize("region", ["unspecified", "eu-west-1 or\nanother", "<b>", "x" * 60])
def test_a_region_that_is_none_is_not_repeated(fault_s3: FaultServer, region: str) -> None:
    """The store's text is only repeated if it has the form of a region."""
    message = f"The {region} location constraint is incompatible"
    failed = RequestFailed("put_object", 400, "IllegalLocationConstraintException", message, uncertain=False)
    assert "another region (" in str(translated(failed, URL))
    fault_s3.fault("List", Body(301, document("PermanentRedirect"), (("x-amz-bucket-region", "two words"),)))
    with pytest.raises(TargetError, match=r"region_name': …"):
        deliver(fault_s3, several=False)


@pytest.mark.parametrize("operation", list(OPS))
def test_a_failure_knows_what_was_sent(fault_s3: FaultServer, operation: Operation) -> None:
    """Names alone, no values."""
    requests = requests_to(fault_s3)
    parameters = ready(requests, operation)
    fault_s3.fault(OPS[operation], Status(400, "InvalidRequest"))
    failed = failure(requests, operation, **parameters)
    assert failed.sent == set(parameters)
    assert WHERE["Key"] not in repr(failed)
    assert isinstance(translated(failed, URL), SinkError)
