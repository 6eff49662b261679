"""What is learnt of a store is kept with the platform, so that what it refuses is not sent to it a second time."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import platforms, preview
from mc_sink.platforms import Platform, check
from mc_sink.platforms.secret_store import platforms_folder
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Status
from tests.servers.profiles import PROFILES
from tests.servers.rules import WRITER, Rules
from tests.support.frames import numbers
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_NAME = {profile.name: profile for profile in PROFILES}
# Stores that refuse something of a delivery's requests: a checksum, its type, or the condition.
REFUSING = ("r2", "b2", "storagegrid-12.0", "storagegrid-12.1", "ovh", "gcs-400")
BAD_REQUEST = 400
TARGET = "s3://bucket/p/"


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """Have no keyring at all."""
    with installed():
        yield


def save(server: FaultServer, **more: Any) -> None:
    """Save a platform for a store."""
    platforms.save(
        Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url, **more),
        if_exists="overwrite",
    )


def deliver(run: int = 1) -> mc_sink.Receipt:
    """Deliver one small file, and then two as uploads."""
    mc_sink.sink_madconnect(numbers(4), f"{TARGET}{run}.csv", platform="acme", progress=False)
    return mc_sink.sink_madconnect(numbers(4), TARGET, platform="acme", max_rows_per_file=2, progress=False)


def kept() -> list[dict[str, Any]]:
    """Return what the platform's file has of its stores."""
    found: list[dict[str, Any]] = json.loads((platforms_folder() / "acme.json").read_text())["ways"]
    return found


def refusals(server: FaultServer, after: int = 0) -> list[tuple[str, int]]:
    """Return the writes that a store has refused, after so many requests."""
    writes = server.log.of("Put", "Create", "Part", "Complete")
    return [(one.op, one.status) for one in writes if one.n > after and one.status >= BAD_REQUEST]


@pytest.mark.parametrize("name", REFUSING)
@pytest.mark.parametrize("learnt_by", ["check", "delivery"])
def test_nothing_refused_is_sent_again(name: str, learnt_by: str) -> None:
    """However it was learnt, the next delivery with the platform sends nothing that the store refuses."""
    with FaultServer(BY_NAME[name].rules) as server:
        save(server)
        if learnt_by == "check":
            assert check("acme", TARGET, leaving="an object").status == "Configured"
        else:
            deliver()
        assert refusals(server)
        before = max(one.n for one in server.log)
        assert deliver(2).verify().ok
        assert refusals(server, before) == []


def test_without_a_platform_it_is_learnt_again() -> None:
    """Nothing is kept of a store that was given by options alone, nor with a platform that isn't saved."""
    with FaultServer(BY_NAME["ovh"].rules) as server:
        platform = Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url)
        for run in (1, 2):
            before = len(refusals(server))
            mc_sink.sink_madconnect(numbers(4), f"{TARGET}{run}.csv", platform=platform, progress=False)
            assert len(refusals(server)) > before
        assert not platforms_folder().exists() or not list(platforms_folder().iterdir())


def test_what_is_kept_is_plain(fault_s3: FaultServer) -> None:
    """Facts by name with a version, the time, the endpoint and the bucket; no secret."""
    save(fault_s3)
    check("acme", TARGET, leaving="an object")
    text = (platforms_folder() / "acme.json").read_text()
    assert WRITER.secret not in text
    assert WRITER.key not in text
    (one,) = kept()
    assert (one["version"], one["endpoint"], one["bucket"]) == (1, fault_s3.url, "bucket")
    assert datetime.now(UTC) - datetime.fromisoformat(one["since"]) < timedelta(minutes=5)
    assert (one["facts"]["condition_on_put"], one["facts"]["took_upload"], one["facts"]["sums"]) == (
        "kept",
        True,
        "full",
    )
    assert {type(value) for value in one["facts"].values()} <= {str, bool}


def test_another_endpoint_drops_it() -> None:
    """A platform that is saved with another endpoint knows nothing of its store, and neither does the environment's."""
    with FaultServer(BY_NAME["ovh"].rules) as server, FaultServer() as other:
        save(server)
        deliver()
        edited = json.loads((platforms_folder() / "acme.json").read_text())
        edited["platform"]["endpoint"] = other.url
        (platforms_folder() / "acme.json").write_text(json.dumps(edited))
        deliver()
        assert other.log.of("Put")[0].headers["x-amz-checksum-crc32"]
        assert [one["endpoint"] for one in kept()] == [other.url]
        save(server)
        assert kept() == []


def test_buckets_are_kept_apart() -> None:
    """What one bucket showed, such as ETags that a key made, says nothing of another."""
    with FaultServer(Rules(buckets=("bucket", "other"))) as server:
        save(server)
        deliver()
        mc_sink.sink_madconnect(numbers(4), "s3://other/p/a.csv", platform="acme", progress=False)
    found = {one["bucket"]: one["facts"] for one in kept()}
    assert found["bucket"]["took_upload"] is True
    assert "took_upload" not in found["other"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"since": (datetime.now(UTC) - timedelta(days=31)).isoformat()},
        {"facts": {"condition_on_put": "anything", "checks_sums": "yes", "sums": 3, "unheard_of": True}},
    ],
)
def test_what_is_old_or_not_understood_is_learnt_again(change: dict[str, Any]) -> None:
    """Facts of another version, of a month ago, or with other words hold nothing back."""
    with FaultServer(BY_NAME["ovh"].rules) as server:
        save(server)
        deliver()
        before = len(refusals(server))
        edited = json.loads((platforms_folder() / "acme.json").read_text())
        edited["ways"][0] |= change
        (platforms_folder() / "acme.json").write_text(json.dumps(edited))
        assert deliver(2).verify().ok
        assert len(refusals(server)) > before


def test_a_check_without_a_probe_relies_on_what_is_known(fault_s3: FaultServer) -> None:
    """Deliveries have shown that the store takes them; the rows say since when."""
    save(fault_s3)
    assert check("acme", TARGET).status == "Unverified"
    deliver()
    report = check("acme", TARGET)
    assert (report.status, report.left) == ("Configured", ())
    assert re.search(r"since \d{4}-\d\d-\d\d", report["uploads"].tried)


def test_a_preview_says_what_the_store_does_not_keep() -> None:
    """As far as it is known with the platform; nothing is sent for it."""
    with FaultServer(BY_NAME["gcs"].rules) as server:
        save(server)
        assert preview(numbers(3), TARGET, platform="acme").unkept == ()
        check("acme", TARGET, leaving="an object")
        before = len(server.log)
        seen = preview(numbers(3), TARGET, platform="acme")
        assert len(server.log) == before
        assert any("no existing object is replaced" in one for one in seen.unkept)
        assert "not kept" in str(seen)


def test_a_delivery_that_fails_has_learnt_all_the_same() -> None:
    """What the store refused of a Create is known after a delivery whose Complete failed."""
    with FaultServer(BY_NAME["r2"].rules) as server:
        save(server)
        server.fault("Part", Status(403, "AccessDenied"), times=FOREVER)
        with pytest.raises(mc_sink.SinkError):
            deliver()
        server.heal()
        before = max(one.n for one in server.log)
        assert deliver(2).verify().ok
        assert refusals(server, before) == []
