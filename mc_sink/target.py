"""URL → exact keys: where a delivery goes, checked as text before anything is opened.

    "s3://bucket/prefix/"            a prefix: every run makes a new object, named by its run id
    "s3://bucket/prefix/name.csv"    a file: that key and no other

An access point of S3 stands in place of the bucket, by its ARN or its alias; see `_arns.py`.

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
from urllib.parse import quote, unquote

from mc_sink._arns import find_access_point, refuse_reserved
from mc_sink.exceptions import ConfigurationError, TargetError

MAX_KEY_BYTES = 1024
# Filesystems of fsspec's that rename; their URLs begin with a host, which may be empty.
RENAMES = ("sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# s3:/bucket, which is what pathlib makes of a URL, and simplecache::s3://bucket.
_ALMOST_URL = re.compile(r"(s3a?(?=:)|[A-Za-z][A-Za-z0-9+.-]+(?=:[/:]))", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_PORT = re.compile(r"[0-9]{1,5}")
_ADVISED_AGAINST = re.compile(r"[\\{}^%`\[\]\"<>~#|\x00-\x1f\x7f-\x9f]")
# What Hive writes for a character that can't stand in a key, in a partition's column and its value: c=10%3A15.
_HIVE_ESCAPE = re.compile(r"(?:^|(?<=/))[^/=]+=[^/=]*(?=/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
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
    def folder(self) -> Target:
        """The prefix that a file stands under; a prefix is its own."""
        return Target(self.protocol, self.bucket, self.path.removesuffix(self.name))

    @property
    def url(self) -> str:
        """The target as one would write it; `parse_target` reads it back as this very target."""
        if self.protocol == "file":
            # Spaces at the ends are refused in plain text, where nobody would see them.
            return self.path if self.path == self.path.strip() else f"file://{quote(self.path)}"
        if self.bucket:
            return f"{self.protocol}://{self.bucket}/{self.path or './'}"
        return f"{self.protocol}://{self.path}"

    def file(self, name: str) -> Target:
        """Give the file of this target: itself, or, for a prefix, the file `name` under it."""
        found = Target(self.protocol, self.bucket, self.path + name) if self.is_prefix else self
        if self.protocol == "s3":
            _check_length(found.path, found.url)
        elif self.protocol in RENAMES:
            parse_target(found.url)  # whoever publishes reads it back: host:22/email=a@b.c looks like credentials
        return found


def parse_target(target: str | os.PathLike[str]) -> Target:
    """Read a target, or raise `TargetError` that says what is wrong with it; opens nothing.

    A message repeats no more of a URL than can't hold a secret: nothing of one with credentials, and no query.
    """
    text = os.fspath(target)
    if not text.strip() or text != text.strip():
        raise TargetError("The target is empty or has spaces around it. Write s3://bucket/prefix/ or a path.")
    _refuse_surrogates(text)
    if found := find_access_point(text):
        _refuse_query(text)
        return _in_bucket(text, found[0].arn, found[1].partition("/")[1:])
    if not (url := _URL.match(text)):
        return _no_url(text)
    scheme, rest = url.group(1).lower(), text[url.end() :]
    _refuse_credentials(scheme, rest)
    if scheme == "file":
        return _file_url(text, rest)
    _refuse_query(text)
    return _s3(text, rest) if scheme in _S3 else _other(scheme, text, rest)


def new_run_id() -> str:
    """Make a run id from the UTC time, to the second, and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def check_run_id(run_id: str) -> str:
    """Return a caller's own run id as it is, or refuse one that can't stand in a key."""
    if not _RUN_ID.fullmatch(run_id) or run_id in {".", ".."}:
        raise ConfigurationError(f"The run id {run_id!r} won't do: use 1 to 64 of A-Z a-z 0-9 . _ -")
    return run_id


def _no_url(text: str) -> Target:
    if almost := _ALMOST_URL.match(text):
        scheme = almost.group(1)
        raise TargetError(
            f"The target begins with {scheme}: and is no URL. Write s3://bucket/prefix/ as text (a Path loses a "
            f"slash), or ./{scheme}:… for a local name that begins so."
        )
    return _local(text)


def _file_url(text: str, rest: str) -> Target:
    host, slash, path = rest.partition("/")
    if host not in {"", "localhost"} or not slash or "?" in path or "#" in path:
        raise TargetError(
            f"{_without_query(text)!r} is not a local file's URL. Write file:///path/ or the path itself."
        )
    return _local(unquote(f"/{path}", errors="surrogateescape"))


def _local(text: str) -> Target:
    """Make a local path absolute, keeping the trailing slash that makes it a prefix."""
    _refuse_surrogates(text)
    if "\x00" in text:
        raise TargetError("The path has a NUL character in it. Choose another name.")
    if ".." in Path(text).parts:
        raise TargetError(f"The path {text!r} climbs with '..'. Write where it really goes.")
    try:
        path = str(Path(text).expanduser().absolute())
    except (RuntimeError, OSError) as error:
        raise TargetError(f"The path {text!r} leads nowhere: {error} Write the whole path, from /.") from error
    return Target("file", "", path.rstrip("/") + "/" if text.endswith(("/", os.sep)) else path)


def _other(scheme: str, text: str, rest: str) -> Target:
    """Read the URL of a filesystem of fsspec's, which drops control characters unsaid."""
    if not rest or (scheme in RENAMES and "/" not in rest):
        raise TargetError(f"{text!r} names no path. Write {scheme}://host/folder/")
    if ".." in rest.split("/"):
        raise TargetError(f"{text!r} climbs with '..'. Write where it really goes.")
    if found := _CONTROL.search(rest):
        raise TargetError(f"{text!r} has {found.group()!r} in it. Choose another name.")
    return Target(scheme, "", rest)


def _s3(text: str, rest: str) -> Target:
    bucket, slash, key = rest.partition("/")
    if not bucket:
        raise TargetError(f"{text!r} names no bucket. Write s3://bucket/prefix/")
    if not _BUCKET.fullmatch(bucket):
        raise TargetError(f"{bucket!r} can't be a bucket's name, in {text!r}.")
    refuse_reserved(bucket)
    return _in_bucket(text, bucket, (slash, key))


def _in_bucket(text: str, bucket: str, rest: tuple[str, str]) -> Target:
    """Read the key, after its slash, that a target has in a bucket or an access point."""
    slash, key = rest
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
    plain = _HIVE_ESCAPE.sub(lambda value: re.sub("%[0-9A-F]{2}", "", value.group()), key)
    if found := _ADVISED_AGAINST.search(plain):
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


def _refuse_surrogates(text: str) -> None:
    if found := _SURROGATE.search(text):
        raise TargetError(
            f"1 character of the target, number {found.start() + 1}, is no Unicode (U+{ord(found.group()):04X}), and "
            "can't stand in a name. Choose another name."
        )


def _refuse_query(text: str) -> None:
    if "?" in text:
        raise TargetError(
            f"{_without_query(text)!r} carries a query, such as ?versionId=. A delivery is new: leave it out."
        )


def _without_query(text: str) -> str:
    """Cut what may be a signature."""
    return text.split("?", 1)[0]


def _refuse_credentials(scheme: str, rest: str) -> None:
    """Refuse `scheme://user:secret@host`, and say so without repeating any of it."""
    if _has_credentials(scheme, rest):
        raise TargetError(
            f"The target has credentials in its URL ({scheme}://…@…), or looks like it. URLs end up in logs: "
            "pass them in storage_options, as a port too, or let the environment provide them."
        )


def _has_credentials(scheme: str, rest: str) -> bool:
    """Whether a secret may be there, one with slashes in it too; a user's name alone is none, but to S3."""
    authority, _, path = rest.partition("/")
    if scheme in _S3:
        return "@" in authority or ":" in authority
    user, _, host = authority.rpartition("@")
    if ":" in unquote(user):
        return True
    _, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return False
    # user:12/34@host reads like a port: where an @ follows, nobody can tell them apart.
    return not _PORT.fullmatch(port) or (not user and "@" in path)
