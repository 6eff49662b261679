"""`mc-sink platforms`, `policy` and `lifecycle` at the prompt: what they ask, print and refuse, and never a secret."""

from __future__ import annotations

import json
import re
import stat
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner, Result

from mc_sink import ConfigurationError, Secret, platforms
from mc_sink.connector.cli.platform_commands import lifecycle, policy
from mc_sink.connector.cli.platform_commands import platforms as commands
from mc_sink.platforms import Platform
from tests.servers.faults import FOREVER
from tests.servers.rules import WRITER
from tests.support.canary import KEY, SECRET, TOKEN, echo, found_in
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

APP = typer.Typer(pretty_exceptions_enable=False)
APP.add_typer(commands, name="platforms")
APP.command("policy")(policy)
APP.command("lifecycle")(lifecycle)
ROLE = "arn:aws:iam::123456789012:role/deliver"
WAYS = {
    "plain lines": f"{KEY}\n{SECRET}\n{TOKEN}\n",
    "the console's file": f"\ufeffAccess key ID,Secret access key\r\n{KEY},{SECRET}\r\n",
    "an older console's file": f"User Name,Access key ID,Secret access key\r\nme,{KEY},{SECRET}\r\n",
    "an answer of STS": json.dumps(
        {"Credentials": {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "SessionToken": TOKEN}}
    ),
    "an answer of IAM": json.dumps({"AccessKey": {"AccessKeyId": KEY, "SecretAccessKey": SECRET}}),
    "variables": f"export AWS_ACCESS_KEY_ID={KEY}\nexport AWS_SECRET_ACCESS_KEY='{SECRET}'\n",
    "a profile": f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n",
}


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have no keyring at all, and a wide terminal."""
    monkeypatch.setenv("COLUMNS", "300")
    with installed():
        yield


@pytest.fixture
def run(state: Path) -> Iterator[Callable[..., Result]]:
    """Give a function that runs a command; in the end, nothing that was printed or written has a secret."""
    ended_text: list[str] = []

    def run(*arguments: str, typed: str | None = None, code: int | None = 0, **more: str) -> Result:
        result = CliRunner(env=more).invoke(APP, arguments, input=typed)
        ended_text.append(result.output + repr(result.exception))
        assert code is None or result.exit_code == code, result.output + repr(result.exception)
        return result

    yield run
    assert not found_in("\n".join(ended_text).encode())
    for path in state.rglob("*"):
        if path.is_file() and found_in(path.read_bytes()):
            assert path.suffix == ".secrets"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_asked_for_and_not_shown(run: Callable[..., Result]) -> None:
    """Three hidden questions, the last of which may stay empty."""
    run("platforms", "add", "acme", "--region", "eu-west-1", typed=f"{KEY}\n{SECRET}\n\n")
    expected = Platform(name="acme", access_key_id=KEY, secret_access_key=SECRET, region="eu-west-1")
    assert platforms.load("acme") == expected


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_a_key_is_read_from_what_aws_gives(run: Callable[..., Result], tmp_path: Path, text: str) -> None:
    """From a file, and the same from standard input."""
    (tmp_path / "given").write_text(text, "utf-8")
    run("platforms", "add", "file", "--from", str(tmp_path / "given"))
    run("platforms", "add", "input", "--from", "-", typed=text.removeprefix("\ufeff"))
    for name in ("file", "input"):
        held: Any = platforms.load(name)
        assert (held.access_key_id.reveal(), held.secret_access_key.reveal()) == (KEY, SECRET)
        assert (held.session_token is not None) == (TOKEN in text)


@pytest.mark.parametrize(
    "text", ["", SECRET, f"{{{SECRET}", f"Access key ID,Secret\n{KEY}", f"{KEY}\n{SECRET}\n1\n2\n"]
)
def test_what_holds_no_key_is_refused_without_being_repeated(run: Callable[..., Result], text: str) -> None:
    """It says what it may look like."""
    result = run("platforms", "add", "acme", "--from", "-", typed=text, code=1)
    assert isinstance(result.exception, ConfigurationError)
    assert "The text has no key, or more than one" in str(result.exception)
    assert platforms.list() == []


def test_a_mark_of_windows_is_no_part_of_a_key(run: Callable[..., Result]) -> None:
    """What another program passes on begins with a byte-order mark and has its ends of lines, too."""
    run("platforms", "add", "acme", "--from", "-", typed=f"\ufeff{KEY}\r\n{SECRET}\r\n")
    held = platforms.load("acme")
    assert (held.access_key_id, held.secret_access_key) == (Secret(KEY), Secret(SECRET))


def test_two_keys_in_one_file_are_refused(run: Callable[..., Result]) -> None:
    """A file with two profiles is ambiguous, and the token of one doesn't belong to the other."""
    two = "".join(f"[{name}]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n" for name in "ab")
    assert "no key" in str(run("platforms", "add", "acme", "--from", "-", typed=two, code=1).exception)


def test_a_key_is_taken_from_the_environment_only_when_asked(run: Callable[..., Result]) -> None:
    """From AWS' own variables."""
    held = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    run("platforms", "add", "acme", "--from-env", **held)
    assert platforms.load("acme") == Platform(
        name="acme", access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN
    )
    run("platforms", "add", "other", "--ambient", **held)
    assert platforms.load("other") == Platform(name="other")
    both = run("platforms", "add", "third", "--ambient", "--from-env", code=1, **held)
    assert "more than one source of credentials" in str(both.exception)


def test_no_option_takes_a_secret() -> None:
    """What stands on a command line, everybody on the machine can read."""
    printed = CliRunner().invoke(APP, ["platforms", "add", "--help"]).output
    assert not re.findall(r"--[a-z-]*(?:secret|password|key-id|session-token)[a-z-]*", printed)


def test_a_role_gets_an_external_id_when_asked(run: Callable[..., Result]) -> None:
    """It is printed alone, for the trust policy."""
    made = run(
        "platforms", "add", "acme", "--profile", "work", "--role-arn", ROLE, "--external-id", "new"
    ).stdout.strip()
    assert platforms.load("acme").external_id == made
    printed = json.loads(run("policy", "s3://bucket/out/", "--trust", ROLE, "--external-id", made).stdout)
    assert printed["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": made}}


def test_what_is_saved_is_listed_shown_exported_and_removed(run: Callable[..., Result], state: Path) -> None:
    """As a table and as JSON, with the ends of the key's id."""
    run(
        "platforms",
        "add",
        "acme",
        "--bucket",
        "feeds",
        "--bucket",
        "s3://b-2/x/",
        "--from",
        "-",
        typed=WAYS["plain lines"],
    )
    assert re.search(r"acme .* key AKIA…0001 .* file .* feeds .* Unverified .* never", run("platforms", "list").stdout)
    (listed,) = json.loads(run("platforms", "list", "--json").stdout)
    shown = json.loads(run("platforms", "show", "acme", "--json").stdout)
    assert listed == shown
    assert (shown["status"], shown["credentials"], shown["buckets"]) == (
        "Unverified",
        "key AKIA…0001",
        ["feeds", "s3://b-2/x/"],
    )
    assert "key AKIA…0001" in run("platforms", "show", "acme").stdout
    assert json.loads(run("platforms", "export", "acme").stdout) == {
        "name": "acme",
        "buckets": ["feeds", "s3://b-2/x/"],
    }
    run("platforms", "remove", "acme", typed="n\n", code=1)
    assert platforms.load("acme").session_token is not None
    run("platforms", "remove", "acme", "--yes")
    assert list((state / "platforms").iterdir()) == []


def test_a_platform_is_replaced_only_when_asked(run: Callable[..., Result]) -> None:
    """All other faults are reported before the prompt for a key."""
    run("platforms", "add", "acme", "--ambient")
    assert "already" in str(run("platforms", "add", "acme", "--ambient", code=1).exception)
    run("platforms", "add", "acme", "--ambient", "--replace", "--acl", "private")
    wrong = run("platforms", "add", "acme", "--acl", "all", code=1)
    assert "S3 doesn't know acl=" in str(wrong.exception)
    taken = run("platforms", "add", "acme", code=1)
    nowhere = run("platforms", "add", "acme", "--replace", "--store", "drawer", code=1)
    assert 'neither "keyring" nor "file"' in str(nowhere.exception)
    assert "Access Key ID" not in wrong.output + taken.output + nowhere.output


def test_a_check_prints_its_table_and_ends_as_it_found(run: Callable[..., Result], fault_s3: FaultServer) -> None:
    """Code 0 where it is configured, 1 where it isn't; with the remedy."""
    given = f"{WRITER.key}\n{WRITER.secret}\n"
    target = fault_s3.writer.target("p/")
    run("platforms", "add", "acme", "--endpoint", fault_s3.url, "--prefix", target, "--from", "-", typed=given)
    good = run("platforms", "check", "acme", code=1)
    assert re.search(r"s3:PutObject .* yes .*NoSuchUpload", good.stdout)
    assert "Unverified" in good.stdout
    assert "--write-probe" in good.stdout
    assert fault_s3.listing(fault_s3.bucket) == {}
    probed = json.loads(run("platforms", "check", "acme", target, "--write-probe", "--json").stdout)
    assert (probed["status"], len(probed["left"])) == ("Configured", 1)
    assert {row["question"]: row["verdict"] for row in probed["rows"]}["uploads"] == "yes"
    assert all(row["unkept"] == "" for row in probed["rows"] if row["verdict"] != "no")
    assert "Configured" in run("platforms", "check", "acme").stdout  # what was learnt is known from now on
    assert datetime.fromisoformat(probed["checked_at"]).tzinfo is not None
    run("platforms", "add", "acme", "--endpoint", fault_s3.url, "--replace", "--from", "-", typed="a\nb\n")
    bad = run("platforms", "check", "acme", target, code=1)
    assert "Failing" in bad.stdout
    assert "Save the platform with other credentials" in bad.stdout
    assert json.loads(run("platforms", "list", "--json").stdout)[0]["status"] == "Failing"
    assert WRITER.secret not in good.output + bad.output


def test_a_store_that_repeats_the_key_is_not_quoted(run: Callable[..., Result], fault_s3: FaultServer) -> None:
    """Neither in the table, nor in what is kept of the finding."""
    run("platforms", "add", "acme", "--endpoint", fault_s3.url, "--from", "-", typed=WAYS["plain lines"])
    for code in ("InvalidAccessKeyId", "AccessDenied"):
        fault_s3.fault("*", echo(403, code), times=FOREVER)
        assert code in run("platforms", "check", "acme", fault_s3.writer.target("p/"), code=1).stdout
        assert "Failing" in run("platforms", "show", "acme").stdout
        fault_s3.heal()


def test_policies_are_printed_for_the_aws_cli(run: Callable[..., Result]) -> None:
    """JSON on standard output, and what to do with it beside that."""
    lost = json.loads(run("policy", "s3://bucket/out/", "--engines").stdout)["Statement"][-1]
    assert lost["Action"] == ["s3:ListBucketMultipartUploads"]
    made = run("policy", "s3://bucket/out/", "--abort", "--tags", "--kms", "arn:aws:kms:eu-west-1:123456789012:key/a1")
    deliver, _, kms = json.loads(made.stdout)["Statement"]
    assert deliver["Action"][2:] == ["s3:AbortMultipartUpload", "s3:PutObjectTagging"]
    assert kms["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert "aws iam put-user-policy" in made.stderr
    wide = json.loads(run("policy", "s3://bucket/out/", "--bucket-wide").stdout)
    assert wide == platforms.policy("s3://bucket/out/", scope="bucket")
    cross = json.loads(run("policy", "s3://bucket/out/", "--cross-account", "123456789012").stdout)
    assert cross["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    two = run("policy", "s3://bucket/out/", "--cross-account", "123456789012", "--trust", "123456789012", code=1)
    assert "print two policies. Leave one of them out" in str(two.exception)


def test_a_lifecycle_is_printed_for_the_aws_cli(run: Callable[..., Result]) -> None:
    """With the warning that it replaces the present rules."""
    made = run("lifecycle", "s3://bucket/out/", "--expire-days", "30", "--abort-days", "2")
    (rule,) = json.loads(made.stdout)["Rules"]
    assert (rule["Filter"], rule["Expiration"]) == ({"Prefix": "out/"}, {"Days": 30})
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert "replaces all rules" in made.stderr
