"""Parse targets: where a delivery goes, checked as text before anything is opened.

    "s3://bucket/prefix/"            a prefix: every run makes a new object, named by its run id
    "s3://bucket/prefix/name.csv"    a file: exactly that key

An access point of S3 stands in place of the bucket, by its ARN or its alias; see `_s3_names.py`.

Characters that S3 advises against in keys are refused, never rewritten
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mc_sink._s3_names import BUCKET, find_access_point, is_arn, is_aws_host, refuse_reserved, suggest_target
from mc_sink.exceptions import TargetError

MAX_KEY_BYTES = 1024
MAX_SHOWN = 200
# Filesystems of fsspec's that rename; their URLs begin with a host, which may be empty.
RENAMES = ("sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Also over blanks and control characters, which a message shows escaped.
_PASSWORD_INSIDE = re.compile(r"://[^/@]*:[^/@]+@")
# s3:/bucket, which is what pathlib makes of a URL, and simplecache::s3://bucket.
_ALMOST_URL = re.compile(r"(s3a?(?=:)|[A-Za-z][A-Za-z0-9+.-]+(?=:[/:]))", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_ADVISED_AGAINST = re.compile(r"[\\{}^%`\[\]\"<>~#|\x00-\x1f\x7f-\x9f]")
# What Hive writes for a character that can't stand in a key, in a partition's column and its value: c=10%3A15.
_HIVE_ESCAPE = re.compile(r"(?:^|(?<=/))[^/=]+=[^/=]*(?=/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BY_ALIAS = "An access point may be written by its alias too, s3://ALIAS/prefix/."
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# A drive or a server of Windows', which this library doesn't run on.
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_PATTERN = re.compile(r"[*\[]")
_GLOB = re.compile(r"[*?]")
_IN_BRACES = re.compile(r"\{\w+(?::[^{}]*)?\}")
_S3 = {"s3", "s3a"}
# What stores that speak S3's language, and older libraries, call their URLs.
_S3_LIKE = {"s3n", "s3b", "r2", "minio", "ceph", "wasabi", "b2"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes. `path` is a key in S3 and a path elsewhere; a prefix ends in "/"."""

    protocol: str
    bucket: str
    path: str

    @property
    def is_prefix(self) -> bool:
        """Whether each run makes a new object under this target, instead of this one object."""
        return not self.path or self.path.endswith("/")

    @property
    def name(self) -> str:
        """The last part of a file's path; empty for a prefix."""
        return "" if self.is_prefix else self.path.rpartition("/")[2]

    @property
    def folder(self) -> Target:
        """The prefix of a file; a prefix is its own."""
        return Target(self.protocol, self.bucket, self.path.removesuffix(self.name))

    @property
    def url(self) -> str:
        """The target as text; `parse_target` returns an equal target for it."""
        if self.protocol == "file":
            # Plain text with spaces at its ends is refused, because they are invisible.
            return self.path if self.path == self.path.strip() else f"file://{quote(self.path)}"
        if self.bucket:
            return f"{self.protocol}://{self.bucket}/{self.path or './'}"
        return f"{self.protocol}://{self.path}"

    def file(self, name: str) -> Target:
        """Return the file of this target: itself, or, for a prefix, the file `name` under it."""
        found = Target(self.protocol, self.bucket, self.path + name) if self.is_prefix else self
        if self.protocol == "s3" and len(found.path.encode()) > MAX_KEY_BYTES:
            _check_key(found.path, found.url)
        elif self.protocol in RENAMES:
            parse_target(found.url)  # publishing parses it again: host:22/email=a@b.c looks like credentials
        return found


def parse_target(target: str | os.PathLike[str], folder: Path | None = None) -> Target:
    """Parse a target. Raises `TargetError` with the fault and, where possible, the target that was likely meant.

    A relative path begins at `folder`, by default the working directory. As text it needs "./" in front, unless its
    parent folder exists: "my-bucket/exports/" is a bucket more often than a new local folder. A path object is always
    local. Opens nothing. Messages never repeat a part of a URL that may be secret: credentials or a query.
    """
    given: Any = target  # what the types promise is checked here
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TargetError(f"The target is a {type(target).__name__}. Write s3://bucket/prefix/ or a path, as text.")
    if not text.strip() or text != text.strip():
        raise TargetError("The target is empty or has spaces around it. Write s3://bucket/prefix/ or a path.")
    _refuse_surrogates(text)
    if isinstance(given, str) and (found := find_access_point(text)):
        _refuse_query(text)
        return _in_bucket(text, found[0].arn, found[1].partition("/")[1:])
    if not (url := _URL.match(text)):
        return _no_url(text, folder, is_text=isinstance(target, str))
    scheme, rest = url.group(1).lower(), text[url.end() :]
    if is_arn(rest):
        raise _arn(rest)
    if _has_credentials(scheme, rest):
        raise TargetError(
            f"The target seems to have credentials in its URL ({scheme}://…@…), and URLs end up in logs. Pass "
            "credentials, and a port, in storage_options, or let the environment provide them."
        )
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in {"", "localhost"} or not slash or "?" in path or "#" in path:
            raise TargetError(
                f"{_without_query(text)!r} is not a local file's URL. Write file:///path/ or the path itself."
            )
        return _local(unquote(f"/{path}", errors="surrogateescape"))
    if scheme in {"http", "https"} | _S3_LIKE:
        plain = text if scheme in {"http", "https"} else f"s3://{rest}"
        raise TargetError(
            f"{_without_query(text)!r} begins with {scheme}://, which is not how a target in S3 is written."
            f"{suggest_target(plain)} Deliver to s3://, a local path, or one of {', '.join(RENAMES)}."
        )
    _refuse_query(text)
    return _s3(text, rest) if scheme in _S3 else _other(scheme, text, rest)


def _no_url(text: str, folder: Path | None, *, is_text: bool) -> Target:
    if is_arn(text):
        raise _arn(text)
    if _PASSWORD_INSIDE.search(text):
        raise TargetError(
            "The target seems to have credentials in a URL within it, and targets end up in logs. Write the target "
            "alone, and pass credentials in storage_options, or let the environment provide them."
        )
    if almost := _ALMOST_URL.match(text):
        scheme, path = almost.group(1), text[almost.end() :].lstrip(":/\\")
        is_s3, is_file = scheme.lower() in _S3, scheme.lower() == "file"
        likely = (
            suggest_target(text) if is_s3 else f" Did you mean file:///{path}?" if is_file and "?" not in path else ""
        )
        raise TargetError(
            f"The target begins with {scheme}: and is not a URL.{likely} Write s3://bucket/prefix/ as text (a Path "
            f"loses a slash), or ./{scheme}:… for a local name that begins so."
        )
    if is_text:
        _refuse_unlikely(text, folder or Path())
    return _local(text, folder)


def _arn(text: str) -> TargetError:
    """Return the error for an ARN that is not a target: a bucket's, or an incomplete one of an access point."""
    likely = suggest_target(text) or (
        f" An access point is written s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix/. {_BY_ALIAS}"
    )
    return TargetError(f"The target is an ARN, which names resources in policies, and is not a URL.{likely}")


def _refuse_unlikely(text: str, folder: Path) -> None:
    """Raise for a path that likely means something else: a bucket, a Windows path, or standard output."""
    if text == "-":
        raise TargetError(
            "'-' would be a file of that name, because a delivery can't go to standard output. Write ./- for that file."
        )
    if _WINDOWS.match(text):
        raise TargetError(f"{text!r} is a Windows path, and this machine has none. Write the local path, from /.")
    if text.startswith("//") and not text.startswith("///"):
        raise TargetError(f"{text!r} begins with two slashes.{suggest_target(text)} A local path begins with one.")
    if text.startswith(("/", "~", "./")) or text == ".":
        return
    if "\\" in text:
        raise TargetError(
            f"{text!r} has a backslash, which doesn't separate folders here. Write / instead, or ./ in front."
        )
    host, parent = text.partition("/")[0], (folder / text).parent
    with suppress(OSError):  # the working directory is gone
        parent = parent.absolute()
    if is_aws_host(host):
        raise TargetError(
            f"{_without_query(text)!r} begins with a host of S3's, and has no scheme.{suggest_target(text)}"
        )
    with suppress(OSError, ValueError):  # a name that can't be a folder's
        if "://" not in text and parent.is_dir():
            return
    shown, place = "The target", ""
    if "@" not in text:
        shown, place = repr(_without_query(text)), f", {_without_query(str(parent))!r},"
    variable = " Variables are not filled in here." if text.startswith(("$", "%")) else ""
    raise TargetError(
        f"{shown} has no scheme, and as a local path it would be in a folder{place} that does not exist.{variable}"
        f"{suggest_target(text)} For a new local folder, write ./ in front."
    )


def _local(text: str, folder: Path | None = None) -> Target:
    """Make a local path absolute, keeping the trailing slash that makes it a prefix."""
    _refuse_surrogates(text)
    if "\x00" in text:
        raise TargetError("The path has a NUL character in it. Choose another name.")
    if ".." in Path(text).parts:
        raise TargetError(f"The path {text!r} contains '..'. Write the resulting path.")
    try:
        whole = (folder or Path()) / Path(text).expanduser()
        path = str(whole.absolute())
        if pattern := next(
            (one for one in (whole, *whole.parents) if _GLOB.search(one.name) and not one.exists()), None
        ):
            raise TargetError(
                f"The path {text!r} contains the pattern {pattern.name!r}, and no file or folder has that name. "
                "Write a name without * and ?."
            )
        if token := next(
            (one for one in (whole, *whole.parents) if _IN_BRACES.search(one.name) and not one.exists()), None
        ):
            raise TargetError(
                f"The path {text!r} contains {token.name!r}, and no file or folder has that name. Tokens such as "
                "{date} go into name=, and f-strings need an f in front."
            )
    except (RuntimeError, OSError) as error:
        raise TargetError(f"The path {text!r} leads nowhere: {error} Write the whole path, from /.") from error
    return Target("file", "", path.rstrip("/") + "/" if text.endswith(("/", os.sep)) else path)


def _other(scheme: str, text: str, rest: str) -> Target:
    """Parse the URL of an fsspec filesystem, which would drop control characters silently."""
    if not rest or (scheme in RENAMES and "/" not in rest):
        raise TargetError(f"{text!r} names no path. Write {scheme}://host/folder/")
    if ".." in rest.split("/"):
        raise TargetError(f"{text!r} contains '..'. Write the resulting path.")
    if found := _CONTROL.search(rest) or (_PATTERN.search(rest.partition("/")[2]) if scheme in RENAMES else None):
        raise TargetError(f"{text!r} has {found.group()!r} in it. Choose another name.")
    return Target(scheme, "", rest)


def _s3(text: str, rest: str) -> Target:
    bucket, slash, key = rest.partition("/")
    if not bucket:
        raise TargetError(
            f"{text!r} names no bucket.{suggest_target(rest.lstrip('/')) or ' Write s3://bucket/prefix/'}"
        )
    if is_aws_host(bucket):
        raise TargetError(f"{text!r} has a host of S3's in place of a bucket.{suggest_target(rest)}")
    if not BUCKET.fullmatch(bucket):
        likely = suggest_target(text.replace("\\", "/")) if "\\" in bucket else ""
        variable = " Variables are not filled in here." if re.search("[$%{<]", bucket) else ""
        raise TargetError(f"{bucket!r} can't be a bucket's name, in {text!r}.{variable}{likely}")
    refuse_reserved(bucket)
    return _in_bucket(text, bucket, (slash, key))


def _in_bucket(text: str, bucket: str, rest: tuple[str, str]) -> Target:
    """Parse the key, after its slash, in a bucket or an access point."""
    slash, key = rest
    if key == "./":
        return Target("s3", bucket, "")
    if not slash or not key:
        place, more = ("access point", f" {_BY_ALIAS}") if is_arn(bucket) else ("bucket", "")
        raise TargetError(
            f"{text!r} is the root of the {place}. Use a prefix of its own, s3://{bucket}/exports/, "
            f"or ask for the root with s3://{bucket}/./{more}"
        )
    _check_key(key, text)
    return Target("s3", bucket, key)


def key_fault(key: str) -> str | None:  # noqa: PLR0911  a return for each fault
    """Return the reason why a text can't be a key, and the remedy; None if it can be one."""
    if found := _SURROGATE.search(key):
        return f"its character {found.start() + 1} is not valid Unicode. Choose another name."
    plain = _HIVE_ESCAPE.sub(lambda value: re.sub("%[0-9A-F]{2}", "", value.group()), key)
    if "*" in plain:
        return "it has '*' in its key, which readers take as a pattern. Leave it out."
    if found := _ADVISED_AGAINST.search(plain):
        tokens = " Tokens such as {date} go into name=." if found.group() in "{}" else ""
        return f"it has {found.group()!r} in its key, which S3 advises against.{tokens} Choose another name."
    parts = key.removesuffix("/").split("/")
    if "" in parts:
        return "it has an empty part ('//' or a leading '/') in its key. Write single slashes."
    if {".", ".."} & set(parts):
        return "it has '.' or '..' in its key. Write the resulting key."
    if (size := len(key.encode())) > MAX_KEY_BYTES:
        return f"its key has {size:,} bytes, and S3 accepts at most {MAX_KEY_BYTES:,}. Choose a shorter name."
    return None


def _check_key(key: str, text: str) -> None:
    if fault := key_fault(key):
        raise TargetError(
            f"Cannot use the target {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'!r}: {fault}"
        )


def _refuse_surrogates(text: str) -> None:
    if found := _SURROGATE.search(text):
        raise TargetError(
            f"Character {found.start() + 1} of the target is not valid Unicode (U+{ord(found.group()):04X}), and can't "
            "be part of a name. Choose another name."
        )


def _refuse_query(text: str) -> None:
    if "?" in text:
        raise TargetError(
            f"{_without_query(text)!r} has a query, such as ?versionId=. A delivery makes a new object. "
            "Leave the query out."
        )


def _without_query(text: str) -> str:
    """Return the text without its query, which may be a signature."""
    return text.split("?", 1)[0]


def _has_credentials(scheme: str, rest: str) -> bool:
    """Return whether a URL may have a secret, also one with slashes. A user name alone is a fault only for S3."""
    authority, _, path = rest.partition("/")
    if scheme in _S3:
        return "@" in authority or ":" in authority
    user, _, host = authority.rpartition("@")
    if ":" in unquote(user):
        return True
    _, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return False
    # user:12/34@host looks like a port; where an @ follows, the two can't be distinguished.
    return not _PORT.fullmatch(port) or (not user and "@" in path)
