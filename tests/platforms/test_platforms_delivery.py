"""A delivery on a platform, by its name or as it is: the same in every way in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import ConfigurationError, ObjectOptions, platforms, preview
from mc_sink.platforms import Platform
from tests.servers.rules import WRITER
from tests.support.frames import numbers
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fault import FaultServer


@pytest.fixture(autouse=True)
def saved(fault_s3: FaultServer) -> Iterator[Platform]:
    """Save a platform that may be used under one prefix."""
    with installed():
        yield platforms.save(
            Platform(
                name="acme",
                access_key_id=WRITER.key,
                secret_access_key=WRITER.secret,
                endpoint=fault_s3.url,
                acl="bucket-owner-full-control",
                buckets=("s3://bucket/out/",),
            )
        )


def test_a_platform_delivers_by_its_name_and_as_it_is(fault_s3: FaultServer, saved: Platform) -> None:
    """With its credentials and its ACL, from a frame's own method too."""
    frame: Any = numbers(3)
    mc_sink.sink_madconnect(frame, "s3://bucket/out/a.csv", platform="acme")
    frame.sink_madconnect("s3://bucket/out/b.csv", platform=saved)
    staged = mc_sink.stage(frame, "s3://bucket/out/c.csv", platform="acme")
    mc_sink.publish([staged], storage_options=saved.storage_options_for("s3://bucket/out/"))
    assert list(fault_s3.listing("bucket")) == ["out/a.csv", "out/b.csv", "out/c.csv"]
    assert {one.headers["x-amz-acl"] for one in fault_s3.log.of("Put", "Create")} == {"bucket-owner-full-control"}


def test_what_the_caller_says_of_an_object_wins(fault_s3: FaultServer) -> None:
    """The platform fills what was left open."""
    options = ObjectOptions(acl="private")
    mc_sink.sink_madconnect(numbers(3), "s3://bucket/out/a.csv", platform="acme", object_options=options)
    assert [one.headers["x-amz-acl"] for one in fault_s3.log.of("Put")] == ["private"]
    seen = preview(numbers(3), "s3://bucket/out/a.csv", platform="acme")
    assert "s3:PutObjectAcl" in seen.permissions


@pytest.mark.parametrize(
    ("target", "more", "why"),
    [
        ("s3://bucket/in/", {}, "outside the buckets that the platform acme allows"),
        ("out/", {}, "is not in S3"),
        ("s3://bucket/out/", {"rejects": "s3://other/x/", "on_invalid": "reject"}, "s3://other/x/ is outside"),
        ("s3://bucket/out/", {"storage_options": {"key": "a", "secret": "b"}}, "sets too"),
        ("s3://bucket/out/", {"platform": "missing"}, "platform missing is not saved. Saved platforms: acme"),
    ],
)
def test_what_a_platform_may_not_is_refused_before_anything_is_sent(
    fault_s3: FaultServer, target: str, more: dict[str, Any], why: str
) -> None:
    """In a delivery, in staging and in a preview, in the same words."""
    options = {"platform": "acme"} | more
    for call in (mc_sink.sink_madconnect, mc_sink.stage, preview):
        deliver: Any = call
        with pytest.raises(ConfigurationError, match=why):
            deliver(numbers(3), target, **options)
    assert len(fault_s3.log) == 0


def test_a_preview_refuses_what_the_run_would_refuse_of_a_platform(saved: Platform) -> None:
    """An endpoint that secrets may not be sent to, among others."""
    platform = replace(saved, endpoint="http://192.0.2.1")
    for call in (mc_sink.sink_madconnect, preview):
        deliver: Any = call
        with pytest.raises(ConfigurationError, match="plain http"):
            deliver(numbers(3), "s3://bucket/out/", platform=platform)
