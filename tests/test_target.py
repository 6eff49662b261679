"""Targets: what they mean, and what is refused as text before anything is opened."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError, TargetError
from mc_sink.keys import check_run_id, new_run_id
from mc_sink.target import MAX_KEY_BYTES, Target, parse_target

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "wJalrXUtnFEMI"
PIECES = st.sampled_from(
    ["", ".", "..", "...", "a", "é", "a b", "name.csv", "?versionId=1", "~", "%2e%2e", "a@b", "🎈"]
)
KEYS = st.lists(PIECES | st.text(max_size=300), min_size=1, max_size=6).map("/".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/prefix/", Target("s3", "bucket", "prefix/")),
        ("s3://bucket/a/b/name.csv", Target("s3", "bucket", "a/b/name.csv")),
        ("S3://bucket/p/", Target("s3", "bucket", "p/")),
        ("s3a://bucket/p/", Target("s3", "bucket", "p/")),
        ("s3://my.bucket-1/p é/", Target("s3", "my.bucket-1", "p é/")),
        ("s3://bucket/a@b...c/", Target("s3", "bucket", "a@b...c/")),
        ("/data/out/", Target("file", "", "/data/out/")),
        ("/data/out/name.parquet", Target("file", "", "/data/out/name.parquet")),
        ("file:///data/out/", Target("file", "", "/data/out/")),
        ("file://localhost/data/a%20b.csv", Target("file", "", "/data/a b.csv")),
        ("ftp://host/folder/name.csv", Target("ftp", "", "host/folder/name.csv")),
    ],
)
def test_good_targets_mean_what_they_say(text: str, expected: Target) -> None:
    """A target is read into a protocol, a bucket if it has one, and a key or path."""
    assert parse_target(text) == expected


def test_a_relative_path_is_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is made absolute at once, so that a later change of folder moves nothing."""
    monkeypatch.chdir(tmp_path)
    assert parse_target("out/") == Target("file", "", f"{tmp_path}/out/")
    assert parse_target("./out/name.csv") == Target("file", "", f"{tmp_path}/out/name.csv")


def test_a_home_path_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde stands for the home folder, as in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_target("~/out/") == Target("file", "", f"{tmp_path}/out/")


def test_a_path_object_is_a_path(tmp_path: Path) -> None:
    """A pathlib path, which has no trailing slash, is a file."""
    assert parse_target(tmp_path / "name.csv") == Target("file", "", f"{tmp_path}/name.csv")


def test_a_trailing_slash_makes_a_prefix() -> None:
    """Only what ends in a slash, and the root that was asked for, gets a new object each run."""
    assert parse_target("s3://bucket/p/").is_prefix
    assert parse_target("s3://bucket/./").is_prefix
    assert not parse_target("s3://bucket/p").is_prefix
    assert parse_target("/data/").is_prefix
    assert not parse_target("/data").is_prefix


def test_a_prefix_takes_the_generated_name_and_a_file_keeps_its_own() -> None:
    """`file` appends to a prefix and leaves a file alone."""
    assert parse_target("s3://bucket/p/").file("run.csv").url == "s3://bucket/p/run.csv"
    assert parse_target("s3://bucket/./").file("run.csv").url == "s3://bucket/run.csv"
    assert parse_target("s3://bucket/p/x.csv").file("run.csv").url == "s3://bucket/p/x.csv"
    assert parse_target("/data/").file("run.csv").url == "/data/run.csv"
    assert parse_target("ftp://host/p/").file("run.csv").url == "ftp://host/p/run.csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (" s3://bucket/p/", "spaces around"),
        ("s3://bucket/p/\n", "spaces around"),
        ("s3://", "no bucket"),
        ("s3:///p/", "no bucket"),
        ("s3://b/p/", "can't be a bucket's name"),
        ("s3://-bucket/p/", "can't be a bucket's name"),
        ("s3://buc ket/p/", "can't be a bucket's name"),
        ("s3://bucket\n/p/", "can't be a bucket's name"),
        ("s3://bücket/p/", "can't be a bucket's name"),
        ("s3://bucket//p/", "empty part"),
        ("s3://bucket/a//b.csv", "empty part"),
        ("s3://bucket/p//", "empty part"),
        ("s3://bucket/../p/", "'..'"),
        ("s3://bucket/p/..", "'..'"),
        ("s3://bucket/p/../x.csv", "'..'"),
        ("s3://bucket/./p/", "'.' or '..'"),
        ("s3://bucket/.", "'.' or '..'"),
        ("s3://bucket/x.csv?versionId=3", "query"),
        ("s3://bucket/a\\b.csv", "advises against"),
        ("s3://bucket/a{b}.csv", "advises against"),
        ("s3://bucket/a#b.csv", "advises against"),
        ("s3://bucket/a%20b.csv", "advises against"),
        ("s3://bucket/a\tb.csv", "advises against"),
        ("file://", "not a local file"),
        ("file://elsewhere/x.csv", "not a local file"),
        ("file:///x.csv?a=b", "not a local file"),
        ("file:///a/%2e%2e/x.csv", "contains '..'"),
        ("file:///a%00b.csv", "NUL"),
        ("/data/../x.csv", "contains '..'"),
        ("../x.csv", "contains '..'"),
        ("/data/\x00.csv", "NUL"),
        ("ftp://", "names no path"),
        ("ftp://host", "names no path"),
        ("ftp://host/../x.csv", "contains '..'"),
        ("~unknown-user-of-this-test/x.csv", "home|~"),
        ("s3:/bucket/p/", "s3://"),
    ],
)
def test_bad_targets_are_refused_with_the_reason(text: str, expected: str) -> None:
    """Each bad target gets a TargetError that says what is wrong with it."""
    with pytest.raises(TargetError, match=expected):
        parse_target(text)


MEANT = [
    ("my-bucket/exports/", "s3://my-bucket/exports/"),
    ("my-bucket/exports", "s3://my-bucket/exports/"),
    ("my-bucket/a/b/x.csv", "s3://my-bucket/a/b/x.csv"),
    ("arn:aws:s3:::b/p/", "s3://b/p/"),
    ("arn:aws-cn:s3:::my-bucket/exports", "s3://my-bucket/exports/"),
    (
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/name",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/exports/",
    ),
    ("arn:aws:s3:eu-west-1:1234:accesspoint/name", "s3://ALIAS/prefix/"),
    ("s3://arn:aws:s3:::my-bucket/p/", "s3://my-bucket/p/"),
    ("s3:/bucket/p/", "s3://bucket/p/"),
    ("s3:bucket/p/", "s3://bucket/p/"),
    ("S3:\\bucket\\p\\", "s3://bucket/p/"),
    ("s3//bucket/p/", "s3://bucket/p/"),
    ("s3:///bucket/p/", "s3://bucket/p/"),
    ("s3n://bucket/p/", "s3://bucket/p/"),
    ("'s3://bucket/p/'", "s3://bucket/p/"),
    ("//bucket/p/", "s3://bucket/p/"),
    ("https://my-bucket.s3.amazonaws.com/exports/", "s3://my-bucket/exports/"),
    ("https://my-bucket.s3.eu-west-1.amazonaws.com/a%20b/x.csv", "s3://my-bucket/a b/x.csv"),
    ("https://my.bucket.s3.dualstack.us-west-2.amazonaws.com/a/b/", "s3://my.bucket/a/b/"),
    ("https://s3.eu-west-1.amazonaws.com/my-bucket/exports/", "s3://my-bucket/exports/"),
    ("https://s3-eu-west-1.amazonaws.com/my-bucket/x.csv", "s3://my-bucket/x.csv"),
    ("https://s3.console.aws.amazon.com/s3/buckets/my-bucket?region=x&prefix=a/b/", "s3://my-bucket/a/b/"),
    ("http://minio.example.com:9000/my-bucket/p/", "'endpoint_url': 'http://minio.example.com:9000'"),
    ("my-bucket.s3.amazonaws.com/exports/", "s3://my-bucket/exports/"),
    ("s3://my-bucket.s3.amazonaws.com/exports/", "s3://my-bucket/exports/"),
    ("s3://s3.amazonaws.com/my-bucket/exports/", "s3://my-bucket/exports/"),
    ("file:/data/x.csv", "file:///data/x.csv"),
    ("C:/data/out/", "Windows"),
    ("C:\\data\\out.csv", "Windows"),
    ("\\\\server\\share\\", "Windows"),
    ("data\\out\\", "backslash"),
    ("$HOME/out/", "Variables are not filled in"),
    ("s3://$BUCKET/p/", "Variables are not filled in"),
    ("s3://bucket/{date}/", "name="),
    ("s3://bucket/*.csv", "pattern"),
    ("s3://bucket/a?.csv", "query"),
    ("s3://bucket/[ab]/", "advises against"),
    ("sftp://host/*/x.csv", "'*'"),
    ("there/*.csv", "pattern"),
    ("-", "./-"),
]


@pytest.mark.parametrize(("text", "meant"), MEANT)
def test_a_target_that_is_written_like_another_gets_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, meant: str
) -> None:
    """Neither a new local folder nor an object gets a name that the caller didn't mean."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(TargetError, match=re.escape(meant)):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        "out/",
        "x.csv",
        "there/new/",
        "there/x.csv",
        "there/./x.csv",
        "./new/deep/",
        "./new/x.csv",
        "./C:/x/",
        "a b/",
        ".",
    ],
)
def test_a_relative_path_in_an_existing_folder_or_with_a_leading_dot_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A target that can only mean a local path is one, without more words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert parse_target(text).protocol == "file"
    assert parse_target(text).path.startswith(str(tmp_path))


def test_a_path_object_and_a_name_with_a_star_that_is_there_are_local(tmp_path: Path, monkeypatch: Any) -> None:
    """A Path loses its "./" and is local by its kind; a folder of such a name isn't a pattern."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a*b").mkdir()
    assert parse_target(PurePosixPath("new/deep/x.csv")).path == f"{tmp_path}/new/deep/x.csv"
    assert parse_target("./a*b/").path == f"{tmp_path}/a*b/"
    (tmp_path / "elsewhere" / "there").mkdir(parents=True)
    assert parse_target("there/x.csv", tmp_path / "elsewhere").path == f"{tmp_path}/elsewhere/there/x.csv"


@pytest.mark.parametrize("target", [None, 5, b"s3://bucket/p/", ["s3://bucket/p/"], object()])
def test_what_is_neither_text_nor_a_path_is_a_bad_target(target: Any) -> None:
    """By its type, and without its value."""
    with pytest.raises(TargetError, match=f"is a {type(target).__name__}"):
        parse_target(target)


@pytest.mark.parametrize(
    "text",
    [
        f"https://bucket.s3.amazonaws.com/p/?X-Amz-Signature={SECRET}",
        f"https://bucket.s3.amazonaws.com/p?X-Amz-Signature={SECRET}",
        f"AKIAEXAMPLE:{SECRET}@bucket/p/",
        f"{SECRET}@bucket/p/",
        f"bucket/p/x.csv?X-Amz-Signature={SECRET}",
    ],
)
def test_a_suggestion_repeats_no_secret(text: str) -> None:
    """Neither a query nor what stands before an @ is in the message."""
    with pytest.raises(TargetError) as raised:
        parse_target(text)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/"])
def test_the_root_of_a_bucket_must_be_asked_for(text: str) -> None:
    """The bare bucket is refused, and the message says how to ask for it."""
    with pytest.raises(TargetError, match=re.escape("s3://bucket/./")):
        parse_target(text)
    assert parse_target("s3://bucket/./") == Target("s3", "bucket", "")


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIAEXAMPLE:{SECRET}@bucket/p/",
        f"s3://{SECRET}@bucket/p/",
        f"s3a://AKIAEXAMPLE:{SECRET}@bucket/p/x.csv",
        f"s3://AKIAEXAMPLE:K7/{SECRET}/bPx@bucket/p/",
        f"s3://bucket/x.csv?X-Amz-Signature={SECRET}",
        f"ftp://user:{SECRET}@host/p/",
        f"sftp://user:pass/{SECRET}@host/p/",
        f"file://user:{SECRET}@localhost/p/",
        f"./s3://\t{{run_id}}user:{SECRET}@",
        f"~s3://\tuser:{SECRET}@",
        f"C:\\s3://a b:{SECRET}@",
        f"\\s3://\nuser:{SECRET} x@",
        f"//s3://\x00user:{SECRET}@",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(text: str) -> None:
    """A secret in the URL, also one with a slash in it, is refused by a message that doesn't hold it."""
    with pytest.raises(TargetError) as raised:
        parse_target(text)
    assert SECRET not in str(raised.value)
    assert SECRET not in repr(raised.value.__context__)


@pytest.mark.parametrize("letter", ["a", "é", "🎈"])
def test_a_key_has_at_most_1024_bytes(letter: str) -> None:
    """The limit counts UTF-8 bytes, takes 1,024 and refuses 1,025."""
    size = len(letter.encode())
    fits = "k" * (MAX_KEY_BYTES % size) + letter * (MAX_KEY_BYTES // size)
    assert parse_target(f"s3://bucket/{fits}").path == fits
    with pytest.raises(TargetError, match="1,025 bytes, and S3 accepts at most 1,024"):
        parse_target(f"s3://bucket/{fits}k")


def test_the_limit_includes_the_generated_name() -> None:
    """A prefix that is too long for the name is refused when the name is given, still before anything is opened."""
    prefix = parse_target(f"s3://bucket/{'k' * 1000}/")
    assert len(prefix.file("n" * 23).path) == 1024
    with pytest.raises(TargetError, match="1,025 bytes"):
        prefix.file("n" * 24)


def test_a_local_path_may_be_longer_than_a_key(tmp_path: Path) -> None:
    """The limit of S3 doesn't hold for the local filesystem."""
    deep = "/".join([str(tmp_path), *["d" * 200] * 6])
    assert parse_target(f"{deep}/").file("run.csv").path == f"{deep}/run.csv"


@given(KEYS)
def test_whatever_parses_is_a_plain_key(key: str) -> None:
    """A key either is refused by a TargetError, or holds no '//', no '.' or '..', no control character, and fits."""
    try:
        target = parse_target(f"s3://bucket/{key}")
    except TargetError:
        return
    assert target.path in {key, ""}
    if not target.path:
        assert key == "./"
        return
    parts = target.path.removesuffix("/").split("/")
    assert not {"", ".", ".."} & set(parts)
    assert len(target.path.encode()) <= 1024
    assert not re.search(r"[\x00-\x1f\x7f\\{}^%`\[\]\"<>~#|?]", target.path)


@given(st.lists(PIECES | st.text(max_size=20), min_size=1, max_size=6).map("/".join))
def test_whatever_parses_locally_is_absolute(path: str) -> None:
    """A path either is refused by a TargetError, or is absolute, without '..', and a prefix where it ended in '/'."""
    try:
        target = parse_target(f"/data/{path}")
    except TargetError:
        return
    assert target.path.startswith("/data")
    assert ".." not in target.path.split("/")
    assert target.is_prefix == path.endswith("/") or not path


@given(st.text() | KEYS)
def test_nothing_but_a_target_error_is_raised(text: str) -> None:
    """Any text at all either parses or is refused by a TargetError."""
    try:
        parse_target(text)
    except TargetError as error:
        assert str(error)  # noqa: PT017  either way out is right


@pytest.mark.parametrize("text", ["s3://bucket/\ud800.csv", "/data/\udcff.csv"])
def test_text_that_is_no_unicode_is_refused(text: str) -> None:
    """A lone surrogate, as in a file name that can't be decoded, ends in a TargetError and no UnicodeError."""
    with pytest.raises(TargetError):
        parse_target(text).file("run.csv")


@given(KEYS)
def test_a_url_reads_back_as_its_target(key: str) -> None:
    """The URL that a staged delivery carries leads to the same target again, in another interpreter too."""
    try:
        target = parse_target(f"s3://bucket/{key}")
    except TargetError:
        return
    assert parse_target(target.url) == target


@pytest.mark.parametrize(
    "text",
    ["s3://bucket/./", "s3://bucket/p/", "/data/", "file:///data/x%20.csv", "file:///data/x%20", "ftp://h/x.csv"],
)
def test_a_url_of_each_kind_reads_back_as_its_target(text: str) -> None:
    """The root that was asked for, and names with spaces at their ends, survive the way through a URL."""
    target = parse_target(text)
    assert parse_target(target.url) == target


def test_a_new_run_id_is_the_utc_time_and_six_hex_digits() -> None:
    """The time in a new run id is now, in UTC, to the second."""
    run_id = new_run_id()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", run_id)
    written = datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert 0 <= (datetime.now(UTC) - written).total_seconds() < 5
    assert check_run_id(run_id) == run_id


def test_new_run_ids_differ() -> None:
    """Runs that start in the same second get different names."""
    assert len({new_run_id() for _ in range(100)}) == 100


@pytest.mark.parametrize("run_id", ["a", "A-Z_0.9", "x" * 64, "...", "2026-11-22"])
def test_a_callers_run_id_is_used_as_it_is(run_id: str) -> None:
    """What can stand in a key is not changed."""
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize("run_id", ["", "x" * 65, "a/b", "a b", "é", "a\n", "\na", ".", "..", "a%", "a\x00"])
def test_a_run_id_that_cannot_stand_in_a_key_is_refused(run_id: str) -> None:
    """Slashes, spaces, line ends, dots alone and too many characters are refused, saying what is allowed."""
    with pytest.raises(ConfigurationError, match="1 to 64 of"):
        check_run_id(run_id)


@given(st.text(max_size=70))
def test_whatever_run_id_passes_is_one_part_of_a_key(run_id: str) -> None:
    """No run id that passes can add a folder, a line or a query to a key."""
    try:
        check_run_id(run_id)
    except ConfigurationError:
        return
    assert parse_target("s3://bucket/p/").file(f"{run_id}.csv").path.count("/") == 1
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", run_id)


def test_no_target_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a target makes no folder and no file."""
    monkeypatch.chdir(tmp_path)
    parse_target("./out/deep/")
    parse_target(f"file://{tmp_path}/x.csv")
    assert os.listdir(tmp_path) == []  # noqa: PTH208  names are all that is asked


def test_a_file_that_could_not_be_published_is_refused_when_it_is_named() -> None:
    """Behind a port, an @ in a partition's value reads like a password: an error before anything is staged."""
    assert parse_target("sftp://host/p/").file("email=a@b.c/x.csv").url == "sftp://host/p/email=a@b.c/x.csv"
    with pytest.raises(TargetError, match="credentials in its URL"):
        parse_target("sftp://host:22/p/").file("email=a@b.c/x.csv")


@pytest.mark.parametrize("start", ["~", "//", "C:\\", "\\", "./", "a/", "s3:"])
def test_a_password_within_a_path_is_not_repeated(start: str) -> None:
    """However the URL was mangled: the message says what it seems to be, and no more."""
    with pytest.raises(TargetError, match="credentials") as raised:
        parse_target(f"{start}s3://user:pass-4711@host/x/")
    assert "4711" not in str(raised.value)
