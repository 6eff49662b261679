"""Requests before they are sent: which options reach s3fs, and which failures may be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import ConfigurationError, ObjectOptions
from mc_sink.storage import open_store
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.client_options import NO_RETRIES, filesystem_arguments
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.retry_rules import OPERATIONS
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "wJalrXUtnFEMI"
TARGET = parse_target("s3://bucket/p/x.csv")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"secrte": SECRET}, "'secrte', which s3fs doesn't know. Did you mean 'secret'"),
        ({"qwxyz": SECRET}, "It knows .*endpoint_url"),
        ({"ServerSideEncryption": SECRET}, "doesn't know"),
        ({"s3_additional_kwargs": {"ACL": SECRET}}, "Use object_options"),
        ({"default_block_size": 1}, "default_block_size=1"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_that_would_vanish_is_refused(options: dict[str, Any], expected: str) -> None:
    """Names that s3fs ignores, and sizes that S3 refuses, end the run before a request; values aren't repeated."""
    with pytest.raises(ConfigurationError, match=expected) as raised:
        open_store(TARGET, options)
    assert SECRET not in str(raised.value)


def test_options_of_s3fs_reach_it_and_ours_stay_here() -> None:
    """Its own names are handed on as they are; those that cut parts are for this library."""
    given = {
        "key": "k",
        "secret": SECRET,
        "endpoint_url": "https://x",
        "max_concurrency": 2,
        "default_block_size": 2**23,
    }
    arguments = filesystem_arguments(given)
    assert {name: arguments[name] for name in ("key", "secret", "endpoint_url")} == {
        "key": "k",
        "secret": SECRET,
        "endpoint_url": "https://x",
    }
    assert not {"max_concurrency", "default_block_size"} & set(arguments)


def test_one_layer_tries_again() -> None:
    """botocore sends once, under every configuration of its caller; the rest of that is kept."""  # noqa: D403  its name
    asked = {"config_kwargs": {"read_timeout": 7, "retries": {"max_attempts": 9}}}
    config = filesystem_arguments(asked)["config_kwargs"]
    assert config["retries"] == NO_RETRIES
    assert config["read_timeout"] == 7
    assert config["connect_timeout"] > 0
    assert asked == {"config_kwargs": {"read_timeout": 7, "retries": {"max_attempts": 9}}}


def test_secrets_are_not_shown() -> None:
    """Neither a store, nor what sends its requests, has the secret in its repr."""
    options = {"key": "AKIAEXAMPLE", "secret": SECRET, "token": SECRET, "endpoint_url": "http://127.0.0.1:1"}
    for thing in (Requests(options), open_store(TARGET, options, ObjectOptions())):
        assert SECRET not in repr(thing) + str(thing)


@pytest.mark.parametrize(
    ("asked", "sums"), [(None, True), ("when_required", False), ("When_Required", False), ("when_supported", True)]
)
@pytest.mark.parametrize("where", ["config_kwargs", "environment", "profile", "default profile"])
def test_parts_are_summed_unless_switched_off(
    where: str, asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sums: bool
) -> None:
    """botocore's own setting decides, for stores that know no checksums, wherever botocore looks for it."""  # noqa: D403  its name
    options: dict[str, Any] = {"key": "k", "secret": SECRET}
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION", raising=False)
    if asked and where == "config_kwargs":
        options["config_kwargs"] = {"request_checksum_calculation": asked}
    elif asked and where == "environment":
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", asked)
    elif asked:
        name = "default" if where == "default profile" else "profile foreign"
        (tmp_path / "config").write_text(f"[{name}]\nrequest_checksum_calculation = {asked}\n", encoding="utf-8")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        options |= {"profile": "foreign"} if where == "profile" else {}
    assert Requests(options).sums_parts == sums


def test_what_is_asked_for_here_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with botocore, options are nearer than variables."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    asked = {"config_kwargs": {"request_checksum_calculation": "when_supported"}}
    assert Requests({"key": "k", "secret": SECRET} | asked).sums_parts


def test_a_setting_of_checksums_that_is_misspelt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a ValueError of botocore's at the first request."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_requird")
    with pytest.raises(ConfigurationError, match="Use when_supported or when_required"):
        Requests({"key": "k", "secret": SECRET})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]
)
def test_credentials_of_the_environment_with_a_line_end_are_refused(
    name: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, as those in storage_options are, and without a word of what they are; where they aren't used, not."""
    for other in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(other, SECRET)
    monkeypatch.setenv(name, SECRET + end)
    with pytest.raises(
        ConfigurationError, match=f"{name} in the environment contains a line break.*Remove it"
    ) as expected:
        open_store(TARGET, {"endpoint_url": "https://x"}, ObjectOptions())
    assert SECRET not in str(expected.value)
    assert Requests({"key": "k", "secret": SECRET, "endpoint_url": "https://x"}).sums_parts


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (None, "EndpointConnectionError", True),
        (500, "InternalError", True),
        (503, "SlowDown", True),
        (429, "", True),
        (408, "RequestTimeout", True),
        (400, "RequestTimeout", True),
        (403, "AccessDenied", False),
        (404, "NoSuchBucket", False),
        (412, "PreconditionFailed", False),
        (400, "InvalidRequest", False),
        (501, "NotImplemented", False),
    ],
)
def test_only_what_may_pass_is_tried_again(operation: str, status: int | None, code: str, *, again: bool) -> None:
    """A refusal stays a refusal, at every request."""
    assert RequestFailed(operation, status, code, "no", uncertain=False).transient == again
