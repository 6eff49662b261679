"""The printed policies grant what a delivery needs and nothing beside it, proven by servers that take them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

import mc_sink
from mc_sink import ConfigurationError, PermissionDenied, TargetError
from mc_sink.platforms import Platform, bucket_policy, check, lifecycle, new_external_id, policy, trust
from mc_sink.sandbox.admin import Writer, unique_name, write_only_policy
from mc_sink.sandbox.moto_server import MotoServer
from mc_sink.storage import Probes
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from mc_sink.sandbox.admin import Admin

KEY = "arn:aws:kms:eu-west-1:123456789012:key/12ab34cd-12ab-34cd-56ef-1234567890ab"


def someone_with(server: Admin, bucket: str, document: dict[str, Any]) -> Writer:
    """Make a user with a printed policy."""
    return Writer(server.url, bucket, server.create_user(unique_name("user"), document))


def test_the_prefix_policy_is_enough_for_a_delivery_and_for_no_other_prefix(seaweed: Admin) -> None:
    """Objects under the prefix, in parts and with an ACL; not beside it, and nothing is read."""
    bucket = seaweed.create_bucket(unique_name("bucket"))
    writer = someone_with(seaweed, bucket, policy(f"s3://{bucket}/out/"))
    options = writer.storage_options | SMALL_PARTS
    acl = mc_sink.ObjectOptions(acl="bucket-owner-full-control")
    receipt = mc_sink.sink_madconnect(
        numbers(300_000), writer.target("out/"), storage_options=options, object_options=acl
    )
    assert receipt.verify().ok
    with pytest.raises(PermissionDenied):
        mc_sink.sink_madconnect(numbers(3), writer.target("output/"), storage_options=options)
    key = receipt.files[0].path.removeprefix(writer.target())
    with (
        seaweed.client(credentials=writer.credentials) as s3,
        pytest.raises(ClientError, match="AccessDenied"),
    ):
        s3.get_object(Bucket=bucket, Key=key)
    assert list(seaweed.listing(bucket)) == [key]


def test_the_prefix_policy_makes_a_platform_configured(seaweed: Admin) -> None:
    """What the check asks for is what the policy grants."""
    bucket = seaweed.create_bucket(unique_name("bucket"))
    writer = someone_with(seaweed, bucket, policy(f"s3://{bucket}/out/", also=["s3:AbortMultipartUpload"]))
    who = writer.credentials
    platform = Platform(name="acme", access_key_id=who.key, secret_access_key=who.secret, endpoint=writer.url)
    assert check(platform, writer.target("out/"), leaving="an object").status == "Configured"
    beside = check(platform, writer.target("other/"))
    assert beside.missing == ("s3:ListBucket", "s3:PutObject")
    assert beside["s3:PutObjectAcl"].verdict == "unknown"  # who can't list may be refused what isn't there anyway


def test_moto_takes_and_enforces_it_too() -> None:
    """A second implementation reads the same documents: user, bucket, role and lifecycle."""
    with MotoServer() as server:
        bucket = server.create_bucket(unique_name("bucket"))
        writer = someone_with(server, bucket, policy(f"s3://{bucket}/out/", kms_key=KEY, also=["s3:PutObjectTagging"]))
        tagged = mc_sink.ObjectOptions(acl="bucket-owner-full-control", tags={"a": "b"})
        mc_sink.sink_madconnect(
            numbers(3), writer.target("out/x.csv"), storage_options=writer.storage_options, object_options=tagged
        )
        probes = Probes(writer.storage_options)
        assert probes.ask("put_object", Bucket=bucket, Key="other/x.csv", Body=b"x").code == "AccessDenied"
        rules = lifecycle(f"s3://{bucket}/out/", expire_days=400, archive_days=90, archive_class="GLACIER_IR")
        with server.client() as s3:
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(bucket_policy(f"s3://{bucket}/out/", "123456789012")))
            s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
            (kept,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert kept["Transitions"] == [{"Days": 90, "StorageClass": "GLACIER_IR"}]
        assert (kept["Expiration"]["Days"], kept["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) == (400, 7)
        with server.client("iam") as iam:
            document = json.dumps(trust("123456789012", external_id=new_external_id()))
            made = iam.create_role(RoleName="deliver", AssumeRolePolicyDocument=document)["Role"]
        assert made["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"


def test_the_bucket_policy_lets_somebody_else_deliver(seaweed: Admin) -> None:
    """A user who may do nothing of their own gets exactly the prefix."""
    bucket = seaweed.create_bucket(unique_name("bucket"))
    elsewhere = {"Version": "2012-10-17", "Statement": policy("s3://elsewhere/x/")["Statement"][:1]}
    name = unique_name("user")
    who = seaweed.create_user(name, elsewhere)
    writer = Writer(seaweed.url, bucket, who)
    probes = Probes(writer.storage_options)
    assert probes.ask("put_object", Bucket=bucket, Key="out/x", Body=b"x").code == "AccessDenied"
    with seaweed.client("iam") as iam:
        arn = iam.get_user(UserName=name)["User"].get("Arn") or f"arn:aws:iam::000000000000:user/{name}"
    seaweed.put_bucket_policy(bucket, bucket_policy(f"s3://{bucket}/out/", arn))
    mc_sink.sink_madconnect(numbers(3), writer.target("out/x.csv"), storage_options=writer.storage_options)
    assert probes.ask("put_object", Bucket=bucket, Key="other/x", Body=b"x").code == "AccessDenied"


def test_the_documented_policy_is_the_documented_one() -> None:
    """Three permissions on the bucket and all in it, letter for letter."""
    assert policy("s3://bucket/out/", scope="bucket") == write_only_policy("bucket")


def test_a_prefix_policy_names_the_prefix_everywhere() -> None:
    """Keys, listings and the use of the KMS key, which works through S3 alone."""
    deliver, listing, kms = policy("s3://bucket/out/", kms_key=KEY)["Statement"]
    assert deliver["Resource"] == ["arn:aws:s3:::bucket/out/*"]
    assert deliver["Action"] == ["s3:PutObject", "s3:PutObjectAcl"]
    assert listing["Resource"] == ["arn:aws:s3:::bucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["out/*"]}}
    assert kms["Resource"] == [KEY]
    assert kms["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}


def test_engines_may_find_the_uploads_of_lost_workers() -> None:
    """S3 grants that for a whole bucket only, and aborting for the prefix."""
    deliver, _, find = policy("s3://bucket/out/", engines=True)["Statement"]
    assert deliver["Action"] == ["s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload"]
    assert find == {
        "Sid": "FindLostUploads",
        "Effect": "Allow",
        "Action": ["s3:ListBucketMultipartUploads"],
        "Resource": ["arn:aws:s3:::bucket"],
    }


def test_other_shapes_of_targets() -> None:
    """The root has no condition, a file is one key, a dollar isn't a variable, and China has ARNs of its own."""
    root = policy("s3://bucket/./")["Statement"]
    assert (root[0]["Resource"], "Condition" in root[1]) == (["arn:aws:s3:::bucket/*"], False)
    assert policy("s3://bucket/out/x.csv")["Statement"][0]["Resource"] == ["arn:aws:s3:::bucket/out/x.csv"]
    escaped = policy("s3://bucket/a$b/")["Statement"]
    assert escaped[0]["Resource"] == ["arn:aws:s3:::bucket/a${$}b/*"]
    assert policy("s3://bucket/out/", region="cn-north-1")["Statement"][0]["Resource"] == [
        "arn:aws-cn:s3:::bucket/out/*"
    ]
    assert trust("123456789012", external_id="x", region="us-gov-west-1")["Statement"][0]["Principal"] == {
        "AWS": "arn:aws-us-gov:iam::123456789012:root"
    }


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("my-bucket/exports/", "s3://my-bucket/exports/"),
        ("arn:aws:s3:::my-bucket/exports/", "s3://my-bucket/exports/"),
        ("https://my-bucket.s3.amazonaws.com/exports/", "s3://my-bucket/exports/"),
        ("s3://bucket/exports", "s3://bucket/exports/"),
        ("s3://bucket/x.csv.gzip", "s3://bucket/"),
        ("s3://bucket/*", "pattern"),
        ("s3://bucket/a*b/", "pattern"),
        ("s3://bucket/a[b]/", "advises against"),
        ("s3://bucket/a?/", "query"),
        ("s3://bu*/p/", "can't be a bucket's name"),
        ("s3://*/", "can't be a bucket's name"),
    ],
)
@pytest.mark.parametrize(
    "make", [policy, lambda target: bucket_policy(target, "123456789012")], ids=["policy", "bucket"]
)
def test_a_policy_is_for_what_a_delivery_would_write(target: str, meant: str, make: Any) -> None:
    """A target that means something else is refused as a delivery refuses it, with the likely meaning."""
    with pytest.raises((TargetError, ConfigurationError), match=re.escape(meant)):
        make(target)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: policy("out/"), "not in S3"),
        (lambda: policy("s3://bucket/out/", kms_key="alias/mine"), "not an ARN"),
        (lambda: policy("s3://bucket/out/", also=["s3:GetObject"]), "not a permission of a delivery"),
        (lambda: bucket_policy("s3://bucket/out/", "*"), "neither an account's number nor an ARN"),
        (lambda: trust("*", external_id="x"), "neither an account's number nor an ARN"),
        (lambda: lifecycle("s3://bucket/out/x.csv"), "not a prefix"),
        (lambda: lifecycle("s3://bucket/out/", expire_days=0), "at least 1 day"),
        (lambda: lifecycle("s3://bucket/out/", archive_days=7, archive_class="STANDARD_IA"), "the minimum is 30"),
        (lambda: lifecycle("s3://bucket/out/", archive_days=9, expire_days=9), "nothing is archived"),
    ],
)
def test_what_would_grant_too_much_or_be_refused_is_refused(make: Any, why: str) -> None:
    """Everybody as a principal, a permission that no delivery uses, days that contradict each other."""
    with pytest.raises(ConfigurationError, match=why):
        make()
