"""URL → exact keys: where a delivery goes, checked as text before anything is opened.

    "s3://bucket/prefix/"            a prefix: every run makes a new object, named by its run id
    "s3://bucket/prefix/name.csv"    a file: that key and no other

Characters that S3 advises against in keys are refused, never rewritten
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mc_sink.exceptions import ConfigurationError, TargetError

MAX_KEY_BYTES = 1024
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_BUCKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$")
_ADVISED_AGAINST = re.compile(r"[\\{}^%`\[\]\"<>~#|\x00-\x1f\x7f-\x9f]")
_RUN_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_S3 = {"s3", "s3a"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes; `path` is a key for S3 and a path elsewhere, and ends in "/" where it is a prefix."""

    protocol: str
    bucket: str
    path: str

    @property
    def is_prefix(self) -> bool:
        """Whether each run makes a new object here, rather than this very one."""
        return not self.path or self.path.endswith("/")

    @property
    def name(self) -> str:
        """The last part of a file's path; empty for a prefix."""
        return "" if self.is_prefix else self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """The target as one would write it."""
        if self.protocol == "file":
            return self.path
        return f"{self.protocol}://{self.bucket}/{self.path}" if self.bucket else f"{self.protocol}://{self.path}"

    def file(self, name: str) -> Target:
        """Give the file of this target: itself, or, for a prefix, the file `name` under it."""
        found = Target(self.protocol, self.bucket, self.path + name) if self.is_prefix else self
        _check_length(found.path, found.url)
        return found


def parse_target(target: str | os.PathLike[str]) -> Target:
    """Read a target, or raise `TargetError` that says what is wrong with it; opens nothing."""
    text = os.fspath(target)
    if not text.strip() or text != text.strip():
        raise TargetError(f"The target {text!r} is empty or has spaces around it. Write s3://bucket/prefix/ or a path.")
    if not _URL.match(text):
        return _local(text)
    _refuse_credentials(text)
    scheme, rest = text.split("://", 1)
    if scheme.lower() == "file":
        return _file_url(text)
    if scheme.lower() in _S3:
        return _s3(text, rest)
    if not rest or ".." in rest.split("/"):
        raise TargetError(f"{text!r} names no path, or climbs with '..'. Write the whole path.")
    return Target(scheme.lower(), "", rest)


def new_run_id() -> str:
    """Make a run id from the UTC time, to the second, and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def check_run_id(run_id: str) -> str:
    """Return a caller's own run id as it is, or refuse one that can't stand in a key."""
    if not _RUN_ID.match(run_id) or run_id in {".", ".."}:
        raise ConfigurationError(f"The run id {run_id!r} won't do: use 1 to 64 of A-Z a-z 0-9 . _ -")
    return run_id


def _file_url(text: str) -> Target:
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment or not parts.path:
        raise TargetError(f"{text!r} is not a local file's URL. Write file:///path/ or the path itself.")
    return _local(unquote(parts.path))


def _local(text: str) -> Target:
    """Make a local path absolute, keeping the trailing slash that makes it a prefix."""
    if ".." in Path(text).parts:
        raise TargetError(f"The path {text!r} climbs with '..'. Write where it really goes.")
    if "\x00" in text:
        raise TargetError("The path has a NUL character in it.")
    path = str(Path(text).expanduser().absolute())
    return Target("file", "", path.rstrip("/") + "/" if text.endswith(("/", os.sep)) else path)


def _s3(text: str, rest: str) -> Target:
    bucket, slash, key = rest.partition("/")
    if not bucket:
        raise TargetError(f"{text!r} names no bucket. Write s3://bucket/prefix/")
    if not _BUCKET.match(bucket):
        raise TargetError(f"{bucket!r} can't be a bucket's name, in {text!r}.")
    if key == "./":
        return Target("s3", bucket, "")
    if not slash or not key:
        raise TargetError(
            f"{text!r} is the root of the bucket. Use a prefix of its own, s3://{bucket}/exports/, "
            f"or ask for the root with s3://{bucket}/./"
        )
    _check_key(key, text)
    return Target("s3", bucket, key)


def _check_key(key: str, text: str) -> None:
    if "?" in key:
        raise TargetError(
            f"{text!r} carries a query, such as ?versionId=. A delivery makes a new object: leave it out."
        )
    if found := _ADVISED_AGAINST.search(key):
        raise TargetError(f"{text!r} has {found.group()!r} in its key, which S3 advises against. Choose another name.")
    parts = key.removesuffix("/").split("/")
    if "" in parts:
        raise TargetError(f"{text!r} has an empty part ('//' or a leading '/') in its key. Write single slashes.")
    if {".", ".."} & set(parts):
        raise TargetError(f"{text!r} has '.' or '..' in its key. Write the key as it is to be.")
    _check_length(key, text)


def _check_length(key: str, text: str) -> None:
    if (size := len(key.encode())) > MAX_KEY_BYTES:
        raise TargetError(f"The key of {text[:60]!r}… has {size:,} bytes; S3 takes at most {MAX_KEY_BYTES:,}.")


def _refuse_credentials(text: str) -> None:
    """Refuse `scheme://user:secret@host`, and say so without repeating it."""
    authority = text.split("://", 1)[1].split("/", 1)[0]
    if "@" in authority:
        raise TargetError(
            f"The target has credentials in its URL ({text.split('://', 1)[0]}://…@…). URLs end up in logs: "
            "pass them in storage_options, or let the environment provide them."
        )
