"""What a stored object is to be: every value is one that S3's own model knows, under S3's name for it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args
from urllib.parse import parse_qsl

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError, ObjectOptions
from mc_sink import object_options as _options

S3 = botocore.session.Session().get_service_model("s3")
OPERATIONS = ("PutObject", "CreateMultipartUpload")
SET: dict[str, tuple[Any, str, Any]] = {
    "acl": ("bucket-owner-full-control", "ACL", "bucket-owner-full-control"),
    "sse": ("aws:kms", "ServerSideEncryption", "aws:kms"),
    "sse_kms_key_id": ("alias/key", "SSEKMSKeyId", "alias/key"),
    "sse_kms_encryption_context": (
        {"feed": "audience"},
        "SSEKMSEncryptionContext",
        b64encode(b'{"feed": "audience"}').decode(),
    ),
    "bucket_key_enabled": (True, "BucketKeyEnabled", True),
    "object_lock_mode": ("COMPLIANCE", "ObjectLockMode", "COMPLIANCE"),
    "object_lock_retain_until": (
        datetime(2100, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        "ObjectLockRetainUntilDate",
        "2100-01-01T00:00:00Z",
    ),
    "object_lock_legal_hold": (True, "ObjectLockLegalHoldStatus", "ON"),
    "storage_class": ("STANDARD_IA", "StorageClass", "STANDARD_IA"),
    "content_type": ("text/plain", "ContentType", "text/plain"),
    "cache_control": ("no-cache", "CacheControl", "no-cache"),
    "content_disposition": ("attachment", "ContentDisposition", "attachment"),
    "metadata": ({"feed": "audience"}, "Metadata", {"feed": "audience"}),
    "tags": ({"team": "a b&c"}, "Tagging", "team=a+b%26c"),
}
# What is only taken together.
TOGETHER = {
    "object_lock_mode": ("object_lock_retain_until",),
    "object_lock_retain_until": ("object_lock_mode",),
}
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_no_option_is_untested() -> None:
    """Every field stands in the table."""
    assert set(SET) == {field.name for field in fields(ObjectOptions)}


@pytest.mark.parametrize("name", SET)
def test_every_option_reaches_the_request_under_the_name_of_s3(name: str) -> None:
    """The value stands in the request's parameters, under a name that both requests take."""
    value, parameter, sent = SET[name]
    beside = {one: SET[one][0] for one in TOGETHER.get(name, ())}
    request = ObjectOptions(**{name: value}, **beside).request("text/csv")
    assert request[parameter] == sent
    others = {SET[one][1] for one in beside}
    assert set(request) - {parameter} <= {"ContentType", "ServerSideEncryption", *others}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_both_requests_take_every_parameter(operation: str) -> None:
    """With all options set, S3's model knows every name, and their shapes are what we send."""
    request = ObjectOptions(**{name: value for name, (value, _, _) in SET.items()}).request("text/csv")
    members = S3.operation_model(operation).input_shape.members
    shapes = {name: members[name].type_name for name in request}
    kinds = {"Metadata": "map", "BucketKeyEnabled": "boolean", "ObjectLockRetainUntilDate": "timestamp"}
    assert shapes == {name: kinds.get(name, "string") for name in request}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("values", "parameter"),
    [
        (_options.CannedAcl, "ACL"),
        (_options.Encryption, "ServerSideEncryption"),
        (_options.StorageClass, "StorageClass"),
        (_options.LockMode, "ObjectLockMode"),
    ],
)
def test_every_value_offered_is_one_that_s3_knows(operation: str, values: Any, parameter: str) -> None:
    """No canned ACL, encryption or storage class is offered that the model doesn't list."""
    assert set(get_args(values)) <= set(S3.operation_model(operation).input_shape.members[parameter].enum)


def test_every_canned_acl_of_s3_is_offered() -> None:
    """None is missing either."""
    assert set(get_args(_options.CannedAcl)) == set(S3.operation_model("PutObject").input_shape.members["ACL"].enum)


def test_no_options_are_only_the_media_type_of_the_format() -> None:
    """By default nothing is asked of the store but the content type."""
    assert ObjectOptions().request("text/csv") == {"ContentType": "text/csv"}


def test_a_key_id_alone_means_kms() -> None:
    """A key without a kind of encryption is a KMS key."""
    assert ObjectOptions(sse_kms_key_id="k").request("text/csv")["ServerSideEncryption"] == "aws:kms"
    assert ObjectOptions(sse="aws:kms:dsse", sse_kms_key_id="k").request("")["ServerSideEncryption"] == "aws:kms:dsse"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"acl": "public"}, "acl='public'.*bucket-owner-full-control"),
        ({"acl": ""}, "acl=''"),
        ({"sse": "aes256"}, "sse='aes256'.*AES256"),
        ({"storage_class": "Standard"}, "storage_class='Standard'.*STANDARD"),
        ({"sse": "AES256", "sse_kms_key_id": "k"}, "sse is 'AES256'"),
        ({"sse": "AES256", "bucket_key_enabled": True}, "bucket_key_enabled.*sse is 'AES256'"),
        ({"sse": "AES256", "sse_kms_encryption_context": {"a": "b"}}, "sse_kms_encryption_context.*sse is 'AES256'"),
        ({"sse": "aws:kms:dsse", "bucket_key_enabled": True}, "sse is 'aws:kms:dsse'"),
        ({"bucket_key_enabled": "yes"}, "bucket_key_enabled.*str.*True or False"),
        ({"sse_kms_encryption_context": {"a": 1}}, "sse_kms_encryption_context.*text"),
        ({"sse_kms_encryption_context": "a=b"}, "sse_kms_encryption_context.*dict"),
        ({"sse_kms_encryption_context": {"a": "b" * 9000}}, "sse_kms_encryption_context.*8,192"),
        ({"object_lock_mode": "compliance", "object_lock_retain_until": LATER}, "object_lock_mode='compliance'"),
        ({"object_lock_mode": "COMPLIANCE"}, "object_lock_retain_until go together"),
        ({"object_lock_retain_until": LATER}, "object_lock_mode and"),
        ({"object_lock_retain_until": LATER.replace(tzinfo=None)}, "object_lock_retain_until.*time zone"),
        ({"object_lock_retain_until": LATER.date()}, "object_lock_retain_until.*time zone"),
        ({"object_lock_retain_until": "2100-01-01"}, "object_lock_retain_until.*time zone"),
        ({"object_lock_legal_hold": "ON"}, "object_lock_legal_hold.*True or False"),
        ({"tags": {str(number): "x" for number in range(11)}}, "11 tags.*at most 10"),
        ({"tags": {"": "x"}}, "has no name"),
        ({"tags": {"k" * 129: "x"}}, "too long"),
        ({"tags": {"k": "x" * 257}}, "too long"),
        ({"metadata": {"": "x"}}, "printable ASCII"),
        ({"metadata": {"k": "é"}}, "printable ASCII"),
        ({"metadata": {"k": "a\r\nx-amz-acl: public-read"}}, "printable ASCII"),
        ({"metadata": {"k": "x" * 2048}}, "2,048 bytes"),
        ({"metadata": {"two words": "x"}}, "metadata"),
        ({"metadata": {"a:b": "x"}}, "metadata"),
        ({"metadata": {"Feed": "x", "feed": "y"}}, "metadata"),
        ({"content_type": "text/csv\r\nx-amz-acl: public-read"}, "content_type"),
        ({"cache_control": "no-cache\n"}, "cache_control"),
        ({"content_disposition": "attachment; filename=é.csv"}, "content_disposition"),
    ],
    ids=str,
)
def test_bad_options_are_refused_when_written_down(options: dict[str, Any], expected: str) -> None:
    """Each gets an error that names the option and says what would do."""
    with pytest.raises(ConfigurationError, match=expected):
        ObjectOptions(**options)


def test_a_retention_that_has_ended_is_refused_before_anything_is_sent() -> None:
    """It can be constructed, because a journal is read back later than it was written; no request is made with it."""
    options = ObjectOptions(object_lock_mode="GOVERNANCE", object_lock_retain_until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match=r"object_lock_retain_until=2020-01-01T00:00:00.* is in the past"):
        options.request("text/csv")


def test_a_retention_is_not_shortened_by_its_fraction_of_a_second() -> None:
    """S3 gets whole seconds, the next ones."""
    until = LATER + timedelta(microseconds=1)
    request = ObjectOptions(object_lock_mode="GOVERNANCE", object_lock_retain_until=until).request("")
    assert request["ObjectLockRetainUntilDate"] == "2100-01-01T00:00:01Z"


@pytest.mark.parametrize("name", ["ACL", "ServerSideEncryption", "metdata", "grant_read"])
def test_a_misspelt_option_is_an_error(name: str) -> None:
    """A name that doesn't exist is refused by Python, and never ignored."""
    with pytest.raises(TypeError, match=name):
        ObjectOptions(**dict[str, Any]({name: "x"}))


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20), max_size=10))
def test_any_tags_survive_their_encoding(tags: dict[str, str]) -> None:
    """Names and values come back from the query that they are sent as."""
    request = ObjectOptions(tags=tags).request("text/csv")
    assert dict(parse_qsl(request.get("Tagging", ""), keep_blank_values=True)) == tags


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3))
def test_metadata_either_is_refused_or_fits_a_header(metadata: dict[str, str]) -> None:
    """No line end, no control character and nothing beyond ASCII gets into a header."""
    try:
        request = ObjectOptions(metadata=metadata).request("text/csv")
    except ConfigurationError:
        return
    for name, value in request.get("Metadata", {}).items():
        assert name
        assert all(" " <= letter <= "~" for letter in name + value)


def test_options_are_a_frozen_value() -> None:
    """Equal by their values, and not to be changed after the check; a mapping changed later changes nothing."""
    metadata = {"feed": "audience"}
    options = ObjectOptions(acl="private", metadata=metadata)
    with pytest.raises(FrozenInstanceError):
        options.acl = "public-read"  # type: ignore[misc]
    assert options == ObjectOptions(acl="private", metadata={"feed": "audience"})
    metadata["feed"] = "é\r\n"
    assert options.request("text/csv")["Metadata"] == {"feed": "audience"}
