"""What a bucket's owner does and a writer can't: make buckets and users, look at what is there."""

from __future__ import annotations

import contextlib
import json
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key."""

    key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a listing; `etag` is without its quotes."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class Writer:
    """A bucket, and a user who may write and list there and nothing else.

    `authority` is the file of the authority that vouches for the server, where it speaks https.
    """

    url: str
    bucket: str
    credentials: Credentials
    authority: str | None = None

    @property
    def storage_options(self) -> dict[str, Any]:
        """The writer's key and address by s3fs's names, new each time."""
        options = {"key": self.credentials.key, "secret": self.credentials.secret, "endpoint_url": self.url}
        return options | ({"client_kwargs": {"verify": self.authority}} if self.authority else {})

    def target(self, path: str = "") -> str:
        """Return the `s3://` URL of `path` in the bucket."""
        return f"s3://{self.bucket}/{path}"


@cache
def _session() -> Any:
    """Return the one session for all: it keeps the service descriptions, whose reading is most of a client's cost."""
    from botocore.session import Session  # it takes long to load, and `mc-sink` starts without it

    return Session()


def _config() -> Any:
    """Return the settings of a client that never retries, and goes through no proxy of the machine."""
    from botocore.config import Config

    path_style = {"addressing_style": "path"}
    return Config(retries={"total_max_attempts": 1}, s3=path_style, connect_timeout=5, read_timeout=30, proxies={})


def write_only_policy(bucket: str) -> dict[str, Any]:
    """Return the documented policy of a destination: three permissions, and no more."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            },
        ],
    }


class Admin:
    """The verbs that every server with users offers to the tests, done with an admin's key.

    `url` is the S3 endpoint; `about` says in one line which server it is, and what it can't be relied on for;
    `authority` is the file of the authority that vouches for it, where it speaks https.
    """

    def __init__(self, url: str, credentials: Credentials, about: str, authority: str | None = None) -> None:
        self.url = url
        self.authority = authority
        self.credentials = credentials
        self.about = about

    @contextlib.contextmanager
    def client(self, service: str = "s3", credentials: Credentials | None = None) -> Iterator[Any]:
        """Yield a botocore client, the admin's unless other `credentials` are given; it never retries."""
        who = credentials or self.credentials
        client = _session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=who.key,
            aws_secret_access_key=who.secret,
            config=_config(),
            verify=self.authority,
        )
        try:
            yield client
        finally:
            client.close()

    def create_bucket(self, name: str) -> str:
        """Make the bucket and give its name back."""
        with self.client() as s3:
            s3.create_bucket(Bucket=name)
        return name

    def create_user(self, name: str, policy: Mapping[str, Any]) -> Credentials:
        """Make a user who may do exactly what `policy` says, and give the user's key."""
        with self.client("iam") as iam:
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName=f"{name}-policy", PolicyDocument=json.dumps(policy))
            made = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(made["AccessKeyId"], made["SecretAccessKey"])

    def new_writer(self) -> Writer:
        """Make a bucket and a user with the documented three permissions in it."""
        bucket = self.create_bucket(unique_name("bucket"))
        return Writer(self.url, bucket, self.create_user(unique_name("writer"), write_only_policy(bucket)))

    def put_bucket_policy(self, bucket: str, policy: Mapping[str, Any]) -> None:
        """Set the bucket's own policy, the one that can deny."""
        with self.client() as s3:
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def listing(self, bucket: str, prefix: str = "") -> dict[str, ListedObject]:
        """Return every visible object whose key starts with `prefix`."""
        with self.client() as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return {
                entry["Key"]: ListedObject(entry["Size"], entry["ETag"].strip('"'))
                for page in pages
                for entry in page.get("Contents", [])
            }

    def pending_uploads(self, bucket: str) -> list[PendingUpload]:
        """Return the multipart uploads that are open in the bucket."""
        with self.client() as s3:
            found = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [PendingUpload(upload["Key"], upload["UploadId"]) for upload in found]

    def read(self, bucket: str, key: str) -> bytes:
        """Return the object's bytes, which the writer itself may not read."""
        with self.client() as s3:
            body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def unique_name(stem: str) -> str:
    """Return a bucket or user name that no other test has."""
    return f"{stem}-{secrets.token_hex(4)}"
