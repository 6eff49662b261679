"""The command on a platform from end to end: a dry run, a run that is cut short, recovery, and verifying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import CommitError, platforms
from mc_sink.connector.cli.exit import Code
from mc_sink.platforms import Platform
from tests.servers.faults import FOREVER, Reset
from tests.servers.rules import WRITER
from tests.support.command_line import Machine
from tests.support.connection_files import environment, write_connection
from tests.support.frames import numbers
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

QUICK = "[storage_options.config_kwargs]\nread_timeout = 5\n"
SPLIT = f'platform = "acme"\nmax_rows_per_file = 20\n{QUICK}'


@pytest.fixture
def machine(fault_s3: FaultServer, state: Path, tmp_path: Path) -> Iterator[Machine]:
    """Save a platform that may be used under one prefix, on a machine whose environment has no key."""
    with installed():
        key: Any = {"access_key_id": WRITER.key, "secret_access_key": WRITER.secret}
        platforms.save(Platform(name="acme", endpoint=fault_s3.url, buckets=("s3://bucket/out/",), **key))
        yield Machine(tmp_path, state)


def test_what_was_cut_short_is_recovered_and_verified_on_its_platform(machine: Machine, fault_s3: FaultServer) -> None:
    """By the run's own platform, without a word about it; and not by the environment, which has no key."""
    file = write_connection(machine.folder, "s3://bucket/out/", SPLIT)
    fault_s3.fault("Complete", Reset("head"), n=2, times=FOREVER)
    machine.here("run", file, "--run-id", "r-1", code=Code.PARTLY)
    fault_s3.heal()
    asked = len(fault_s3.log)
    assert machine.here("recover", "r-1", "--no-platform", "--endpoint-url", fault_s3.url, code=Code.DENIED).err
    assert all(one.headers.get("authorization") is None for one in [*fault_s3.log][asked:])
    assert "delivered  60 rows" in machine.here("recover", "r-1").out
    assert machine.here("show", "r-1", "--json").json()["status"] == "delivered"
    assert "4 of 4 files are there" in machine.here("verify", "r-1").out


def test_credentials_may_be_the_environments_instead(machine: Machine, fault_s3: FaultServer) -> None:
    """Where the platform was removed, or another one is meant; the two don't go together."""
    machine.here("run", write_connection(machine.folder, "s3://bucket/out/", 'platform = "acme"'), "--run-id", "r-1")
    platforms.save(Platform(name="other", endpoint=fault_s3.url, access_key_id="no", secret_access_key="no"))
    machine.here("verify", "r-1", "--platform", "other", code=Code.DENIED)
    platforms.remove("acme")
    assert "The platform acme is not saved" in machine.here("verify", "r-1", code=Code.CONFIGURATION).err
    known = Machine(machine.folder, machine.state, environment(fault_s3.writer))
    assert "1 of 1 file is there" in known.here("verify", "r-1", "--no-platform").out
    both = machine.here("verify", "r-1", "--platform", "other", "--no-platform", code=Code.CONFIGURATION)
    assert "Leave one of them out" in both.err


def test_a_delivery_from_python_is_recovered_on_a_platform(machine: Machine, fault_s3: FaultServer) -> None:
    """It has no record, and so the platform is named."""
    fault_s3.fault("Complete", Reset("head"), n=2, times=FOREVER)
    quick = {"config_kwargs": {"read_timeout": 5}}
    with pytest.raises(CommitError):
        mc_sink.sink_madconnect(
            *(numbers(9), "s3://bucket/out/"), platform="acme", run_id="r-1", max_rows_per_file=3, storage_options=quick
        )
    fault_s3.heal()
    assert "delivered  9 rows" in machine.here("recover", "r-1", "--platform", "acme").out


@pytest.mark.parametrize("words", [("preview",), ("run", "--dry-run"), ("run",), ("connections", "check")])
def test_what_a_platform_may_not_is_refused_by_every_command(
    machine: Machine, fault_s3: FaultServer, words: tuple[str, ...]
) -> None:
    """A target out of its bounds, and a platform that isn't there; nothing is sent."""
    file = write_connection(machine.folder, "s3://bucket/in/", 'platform = "acme"')
    assert "outside the buckets that the platform acme" in machine.here(*words, file, code=Code.CONFIGURATION).err
    file = write_connection(machine.folder, "s3://bucket/out/", 'platform = "missing"')
    assert "platform missing is not saved" in machine.here(*words, file, code=Code.CONFIGURATION).err
    assert len(fault_s3.log) == 0


def test_a_dry_run_on_a_platform_says_what_the_run_will_need(machine: Machine, fault_s3: FaultServer) -> None:
    """The permission for the platform's ACL too, and it sends nothing."""
    key: Any = {"access_key_id": WRITER.key, "secret_access_key": WRITER.secret}
    platforms.save(
        Platform(name="acme", endpoint=fault_s3.url, acl="bucket-owner-full-control", **key), if_exists="overwrite"
    )
    file = write_connection(machine.folder, "s3://bucket/out/", 'platform = "acme"')
    for words in (("preview", file), ("run", file, "--dry-run")):
        assert "s3:PutObjectAcl" in machine.here(*words, "--json").json()["permissions"]
    assert len(fault_s3.log) == 0
