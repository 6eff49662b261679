"""The account that a bucket must belong to: every request names it, wherever it was configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

import mc_sink
from mc_sink import ConfigurationError, PermissionDenied
from mc_sink.connector.cli.platform_commands import platforms as commands
from mc_sink.connector.connections import deliver, load
from mc_sink.platforms import Platform, check
from tests.servers.faults import FOREVER, Status
from tests.servers.rules import WRITER
from tests.support.connection_files import environment, write_connection
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

OWNER, HEADER = "123456789012", "x-amz-expected-bucket-owner"
MANY = numbers(300_000)


def platform_of(server: FaultServer, **more: Any) -> Platform:
    """Make a platform that isn't saved."""
    return Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url, **more)


def named(server: FaultServer, header: str = HEADER) -> dict[str, set[str | None]]:
    """Give what each operation's requests named as the owner, or had in another header."""
    seen: dict[str, set[str | None]] = {}
    for record in server.log:
        seen.setdefault(record.op, set()).add(record.headers.get(header))
    return seen


def test_every_request_names_the_owner(fault_s3: FaultServer) -> None:
    """A Put, an upload in parts, one that fails and is aborted, and all listings."""
    options = fault_s3.storage_options | SMALL_PARTS | {"expected_bucket_owner": OWNER}
    target = fault_s3.writer.target("p/")
    assert mc_sink.sink_madconnect(MANY, target, storage_options=options).verify().ok
    mc_sink.sink_madconnect(numbers(3), target, storage_options=options)
    fault_s3.fault("Part", Status(403, "AccessDenied"), times=FOREVER)
    with pytest.raises(PermissionDenied):
        mc_sink.sink_madconnect(MANY, target, storage_options=options)
    assert named(fault_s3) == {op: {OWNER} for op in ("List", "Create", "Part", "Complete", "Put", "Abort")}


def test_a_requester_who_pays_says_so_in_every_request(fault_s3: FaultServer) -> None:
    """Of one request, and of an upload in parts."""
    options = fault_s3.storage_options | SMALL_PARTS | {"requester_pays": True}
    for frame in (MANY, numbers(3)):
        mc_sink.sink_madconnect(frame, fault_s3.writer.target("p/"), storage_options=options)
    sent = named(fault_s3, "x-amz-request-payer")
    assert sent == {op: {"requester"} for op in ("List", "Create", "Part", "Complete", "Put")}


def test_no_owner_is_named_unasked(fault_s3: FaultServer) -> None:
    """Stores other than AWS may refuse the header."""
    mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/"), storage_options=fault_s3.storage_options)
    assert named(fault_s3) == {"List": {None}, "Put": {None}}


def test_a_platform_names_the_owner_in_deliveries_and_in_checks(fault_s3: FaultServer) -> None:
    """The check asks under the same condition as a delivery."""
    platform = platform_of(fault_s3, expected_bucket_owner=OWNER)
    mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/"), platform=platform)
    check(platform, fault_s3.writer.target("p/"))
    assert set().union(*named(fault_s3).values()) == {OWNER}


def test_a_check_says_that_the_bucket_may_be_anothers(fault_s3: FaultServer) -> None:
    """Where everything is denied; where a part is not, the bucket is the right one."""
    platform = platform_of(fault_s3, expected_bucket_owner=OWNER)
    fault_s3.fault("List", Status(403, "AccessDenied"), times=FOREVER)
    assert check(platform, fault_s3.writer.target("p/"))["bucket"].verdict == "yes"
    fault_s3.fault("*", Status(403, "AccessDenied"), times=FOREVER)
    row = check(platform, fault_s3.writer.target("p/"))["bucket"]
    assert row.verdict == "unknown"
    assert f"does not belong to {OWNER}" in row.found
    assert "expected_bucket_owner" in row.fix


def test_a_connection_file_names_the_owner(
    fault_s3: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the storage options, as text; an account's number isn't secret."""
    for name, value in environment(fault_s3.writer).items():
        monkeypatch.setenv(name, value)
    more = f'[storage_options]\nexpected_bucket_owner = "{OWNER}"\n'
    deliver(load(write_connection(tmp_path, fault_s3.writer.target("p/"), more)))
    assert set().union(*named(fault_s3).values()) == {OWNER}


def test_the_command_line_saves_the_owner(state: Path) -> None:
    """It is shown, is in the export, and is the saved platform's."""
    app = typer.Typer()
    app.add_typer(commands, name="platforms")
    for words in (["add", "acme", "--ambient", "--expected-bucket-owner", OWNER], ["show", "acme"], ["export", "acme"]):
        ran = CliRunner().invoke(app, ["platforms", *words])
        assert ran.exit_code == 0, ran.output
        assert words[0] == "add" or OWNER in ran.output
    assert mc_sink.platforms.load("acme").expected_bucket_owner == OWNER
    assert list(state.rglob("acme.json"))


@pytest.mark.parametrize("wrong", ["12345", "123456789o12", "1234567890123", "arn:aws:iam::123456789012:root", ""])
def test_an_owner_that_is_no_account_is_refused(fault_s3: FaultServer, wrong: str) -> None:
    """Before anything is sent, and without repeating it."""
    options = fault_s3.storage_options | {"expected_bucket_owner": wrong}
    with pytest.raises(ConfigurationError, match=r"expected_bucket_owner.*12 digits") as raised:
        mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/"), storage_options=options)
    assert not wrong or wrong not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"expected_bucket_owner.*12 digits"):
        platform_of(fault_s3, expected_bucket_owner=wrong).checked()
    assert len(fault_s3.log) == 0


def test_an_owner_that_is_a_number_is_refused(fault_s3: FaultServer) -> None:
    """It would lose the zeros that it may begin with."""
    with pytest.raises(ConfigurationError, match="expected_bucket_owner in storage_options must be text"):
        mc_sink.sink_madconnect(
            numbers(3),
            fault_s3.writer.target("p/"),
            storage_options=fault_s3.storage_options | {"expected_bucket_owner": 123456789012},
        )


def test_an_owner_that_is_given_twice_is_refused(fault_s3: FaultServer) -> None:
    """One of the platform and one of the call; one alone may be either's."""
    target = fault_s3.writer.target("p/")
    with pytest.raises(ConfigurationError, match="storage_options has expected_bucket_owner, which the platform acme"):
        platform_of(fault_s3, expected_bucket_owner=OWNER).storage_options_for(target, {"expected_bucket_owner": OWNER})
    options = platform_of(fault_s3).storage_options_for(target, {"expected_bucket_owner": OWNER})
    mc_sink.sink_madconnect(numbers(3), target, storage_options=options)
    assert set().union(*named(fault_s3).values()) == {OWNER}


@pytest.mark.parametrize("op", ["Put", "Create"])
def test_a_refusal_says_that_the_bucket_may_be_anothers(fault_s3: FaultServer, op: str) -> None:
    """S3 answers with a plain AccessDenied; nothing of the rows has left by then, and nothing is visible."""
    fault_s3.fault("List", Status(403, "AccessDenied", "Access Denied"), times=FOREVER)
    fault_s3.fault(op, Status(403, "AccessDenied", "Access Denied"), times=FOREVER)
    options = fault_s3.storage_options | SMALL_PARTS | {"expected_bucket_owner": OWNER}
    rows = numbers(3) if op == "Put" else MANY
    with pytest.raises(PermissionDenied, match=r"does not belong to .* expected_bucket_owner.*Grant s3:") as raised:
        mc_sink.sink_madconnect(rows, fault_s3.writer.target("p/"), storage_options=options)
    assert "Nothing became visible" in str(raised.value)
    assert fault_s3.listing(fault_s3.bucket) == {}
