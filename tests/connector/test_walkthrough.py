"""The documented way of an S3 destination, walked in its order and its words, with the real command and a real server.

Each test is a heading or a step of it: Connector Overview, Authentication, Steps to Create IAM Credentials, Configuring
the Connector, Using S3 as a Destination in Connections, Best Practices & Notes.
"""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink.connector.cli.exit import Code
from mc_sink.sandbox.admin import Credentials, Writer, unique_name, write_only_policy
from mc_sink.testing import sample
from tests.servers.proxy import Proxy
from tests.support.command_line import Machine
from tests.support.connection_files import FRAME, wait_until, write_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin

USER, POLICY = "MadConnect-S3-Writer", "MadConnectS3WritePolicy"
PREFIX = "madconnect/outputs/"
STAMPED = re.compile(rf"{PREFIX}(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{6}}\.(csv|csv\.gz|parquet)")
# Put / Upload, and what the three permissions allow besides.
ACTIONS = {"Put", "Create", "Part", "Complete", "Abort", "PutAcl", "List"}


@dataclass(frozen=True, slots=True)
class Walk:
    """A person with a machine, and what the bucket's owner gave them: a user's key as the console's file has it."""

    machine: Machine
    writer: Writer
    owner: Admin
    proxy: Proxy
    key_file: Path

    def target(self, more: str = "") -> str:
        """Give the bucket's URI and prefix."""
        return self.writer.target(PREFIX + more)

    def objects(self, prefix: str = PREFIX) -> set[str]:
        """Give the keys that the S3 console shows."""
        return set(self.owner.listing(self.writer.bucket, prefix))

    def connection(self, target: str, more: str = "", source: str = 'files = "data/*.parquet"') -> Path:
        """Create a connection where Amazon S3 is the destination."""
        folder = self.machine.folder / unique_name("connection")
        return write_connection(folder, target, f'platform = "amazon-s3"\n{more}', source)

    def run(self, file: Path, *words: object) -> dict[str, Any]:
        """Run a transfer by hand, and give its record."""
        record: dict[str, Any] = self.machine.here("run", file, "--json", *words).json()
        return record


def iam_user(owner: Admin, printed: str) -> Credentials:
    """Make the documented user with the printed policy, as the console does: by its name, and attached."""
    user = unique_name(USER)  # the same server may be walked to twice
    with owner.client("iam") as iam:
        iam.create_user(UserName=user)
        arn = iam.create_policy(PolicyName=unique_name(POLICY), PolicyDocument=printed)["Policy"]["Arn"]
        iam.attach_user_policy(UserName=user, PolicyArn=arn)
        made = iam.create_access_key(UserName=user)["AccessKey"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"])


def machine_in(folder: Path) -> Machine:
    """Give a workspace: a folder, with the command's memory in it."""
    folder.mkdir()
    return Machine(folder, folder / "state")


@pytest.fixture(scope="module")
def walk(seaweed: Admin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Create IAM credentials: the user, the policy that `mc-sink policy` prints, and the downloaded file."""
    machine = machine_in(tmp_path_factory.mktemp("walk") / "workspace")
    bucket = seaweed.create_bucket(unique_name("my-bucket"))
    printed = machine.mc_sink("policy", f"s3://{bucket}/{PREFIX}", "--bucket-wide").out
    made = iam_user(seaweed, printed)
    file = machine.folder / f"{USER}_accessKeys.csv"
    file.write_text(f"\ufeffAccess key ID,Secret access key\r\n{made.key},{made.secret}\r\n", "utf-8")
    with Proxy(seaweed.url) as proxy:
        yield Walk(machine, Writer(proxy.url, bucket, made), seaweed, proxy, file)
        assert set(proxy.log.ops()) <= ACTIONS


@pytest.fixture(scope="module")
def configured(walk: Walk) -> tuple[Walk, dict[str, str]]:
    """Configure the connector once, and give what each of its steps showed."""
    machine, shown = walk.machine, {}
    shown["My Platforms"] = machine.here("platforms", "list").out
    words = ["--endpoint", walk.writer.url, "--prefix", walk.target(), "--acl", "bucket-owner-full-control"]
    words += ["--no-check"]
    answers = {"Access Key ID": walk.writer.credentials.key, "Secret Access Key": walk.writer.credentials.secret}
    shown["Configure"] = machine.at_a_terminal(
        "platforms", "add", "amazon-s3", *words, answers=answers | {"Session Token (none)": ""}
    )
    shown["Save Configuration"] = machine.here("platforms", "list").out
    before = walk.owner.listing(walk.writer.bucket), walk.owner.pending_uploads(walk.writer.bucket)
    shown["Verify"] = machine.mc_sink("platforms", "check", "amazon-s3", code=1).out
    assert (walk.owner.listing(walk.writer.bucket), walk.owner.pending_uploads(walk.writer.bucket)) == before
    probe = ["platforms", "check", "amazon-s3", walk.target("probe/"), "--write-probe"]
    shown["Write Probe"] = machine.here(*probe).out
    shown["Configured"] = machine.here("platforms", "list").out
    return walk, shown


def test_create_an_iam_user_and_attach_permissions(walk: Walk) -> None:
    """The printed policy is the documented one, to the letter, and nothing was applied by printing it."""
    printed = walk.machine.here("policy", walk.target(), "--bucket-wide")
    assert printed.json() == write_only_policy(walk.writer.bucket)
    assert "aws iam put-user-policy" in printed.err
    assert printed.out.lstrip().startswith("{")


def test_permissions_may_be_limited_to_the_prefix(walk: Walk) -> None:
    """Limited write access to the specific bucket or prefix: the same three actions, and no others."""
    limited = walk.machine.here("policy", walk.target()).json()
    assert {action for one in limited["Statement"] for action in one["Action"]} == {
        *("s3:PutObject", "s3:PutObjectAcl", "s3:ListBucket")
    }
    assert [one["Resource"] for one in limited["Statement"]] == [
        [f"arn:aws:s3:::{walk.writer.bucket}/{PREFIX}*"],
        [f"arn:aws:s3:::{walk.writer.bucket}"],
    ]


@pytest.mark.parametrize("missing", ["s3:PutObject", "s3:PutObjectAcl", "s3:ListBucket"])
def test_a_permission_that_was_forgotten_is_named(walk: Walk, tmp_path: Path, missing: str) -> None:
    """Of the three, exactly the one that is not there, at the prompt, and the bucket stays as it was."""
    document = write_only_policy(walk.writer.bucket)
    document["Statement"][0]["Action"].remove(missing)
    who = walk.owner.create_user(unique_name("forgotten"), document)
    machine = machine_in(tmp_path / "workspace")
    key = f"{who.key}\n{who.secret}\n"
    (machine.folder / "key").write_text(key, "utf-8")
    machine.here("platforms", "add", "amazon-s3", "--endpoint", walk.writer.url, "--from", machine.folder / "key")
    before = walk.owner.listing(walk.writer.bucket), walk.owner.pending_uploads(walk.writer.bucket)
    report = machine.here("platforms", "check", "amazon-s3", walk.target(), "--json", code=1).json()
    refused = [row for row in report["rows"] if row["required"] and row["verdict"] == "no"]
    assert ([row["question"] for row in refused], report["status"]) == ([missing], "Failing")
    assert missing in json.loads(refused[0]["fix"])["Action"]
    assert (walk.owner.listing(walk.writer.bucket), walk.owner.pending_uploads(walk.writer.bucket)) == before


def test_download_credentials(walk: Walk, tmp_path: Path) -> None:
    """The .csv file with the Access Key ID and the Secret Access Key is all that is needed."""
    machine = machine_in(tmp_path / "workspace")
    saved = machine.here("platforms", "add", "amazon-s3", "--from", walk.key_file, "--endpoint", walk.writer.url)
    assert saved.err.startswith("Saved amazon-s3: key AKIA…")
    assert walk.writer.credentials.secret not in saved.said
    report = machine.here("platforms", "check", "amazon-s3", walk.target(), "--json", code=1).json()
    open_ones = [row["question"] for row in report["rows"] if row["required"] and row["verdict"] != "yes"]
    assert (report["status"], open_ones) == ("Unverified", ["objects", "uploads"])


def test_configuring_the_connector(configured: tuple[Walk, dict[str, str]]) -> None:
    """Each step shows what it should: nothing yet, two questions, Unverified until it is checked, Configured then."""
    walk, shown = configured
    assert "amazon-s3" not in shown["My Platforms"]
    for question in ("Access Key ID:", "Secret Access Key:"):
        assert question in shown["Configure"]
    assert "Saved amazon-s3" in shown["Configure"]
    assert walk.writer.credentials.secret not in shown["Configure"]
    assert walk.writer.credentials.key not in shown["Configure"]
    assert re.search(r"amazon-s3 .* Unverified .* never", shown["Save Configuration"])
    assert "Unverified objects, uploads not known" in shown["Verify"]
    assert "Configured" in shown["Write Probe"]
    assert re.search(r"amazon-s3 .* Configured .* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown["Configured"])


@pytest.mark.parametrize(
    ("feed", "more", "suffix"),
    [("audience", "", "csv"), ("report", 'format = "parquet"', "parquet"), ("payload", 'format = "csv.gz"', "csv.gz")],
)
def test_data_types(configured: tuple[Walk, dict[str, str]], feed: str, more: str, suffix: str) -> None:
    """Audiences, reports and payloads arrive as CSV, which is the default, Parquet, and gzip compressed CSV."""
    walk, _ = configured
    file = walk.connection(walk.target(), f'schema = "{feed}"\n{more}', 'files = "feed.parquet"')
    sample(feed, 500).collect().write_parquet(file.parent / "feed.parquet")
    run = walk.run(file)
    (stored,) = run["files"]
    assert stored["path"].endswith(f"{run['run_id']}.{suffix}")
    body = walk.owner.read(walk.writer.bucket, stored["path"].removeprefix(walk.writer.target()))
    read = pl.read_parquet if suffix == "parquet" else pl.read_csv
    assert (read(body).height, run["num_rows"], run["validated"]) == (500, 500, True)
    assert body[:2] == {"csv": body[:2], "parquet": b"PA", "csv.gz": b"\x1f\x8b"}[suffix]


def test_specify_output_path_as_a_prefix(configured: tuple[Walk, dict[str, str]]) -> None:
    """On manual runs a new object is created in the path, with the prefix and a timestamp, each time."""
    walk, _ = configured
    file = walk.connection(walk.target())
    preview = walk.machine.here("preview", file, "--json", "--run-id", "20261122T101530Z-4f2a9c").json()
    assert preview["files"] == [walk.target("20261122T101530Z-4f2a9c.csv")]
    before, began = walk.objects(), datetime.now(UTC).replace(microsecond=0)
    runs = [walk.machine.mc_sink("run", file, "--json").json(), walk.run(file)]
    made = {walk.writer.target(key) for key in walk.objects() - before}
    assert made == {one["path"] for run in runs for one in run["files"]}
    assert len(made) == 2
    for key in walk.objects() - before:
        stamp = STAMPED.fullmatch(key)
        assert stamp, key
        assert timedelta(0) <= datetime.strptime(stamp[1], "%Y%m%dT%H%M%S%z") - began < timedelta(minutes=2)


def test_specify_output_path_as_a_file(configured: tuple[Walk, dict[str, str]]) -> None:
    """The object has the name that was given, and a second run neither replaces it nor says that it delivered."""
    walk, _ = configured
    file = walk.connection(walk.target("audience_export.csv"))
    assert [one["path"] for one in walk.run(file)["files"]] == [walk.target("audience_export.csv")]
    body = walk.owner.read(walk.writer.bucket, f"{PREFIX}audience_export.csv")
    assert pl.read_csv(body).equals(FRAME)
    second = walk.machine.here("run", file, code=Code.EXISTS)
    assert "AlreadyExistsError" in second.err
    assert walk.owner.read(walk.writer.bucket, f"{PREFIX}audience_export.csv") == body
    again = walk.connection(walk.target("audience_export.csv"), 'if_exists = "overwrite"')
    assert walk.run(again)["num_rows"] == FRAME.height


def test_scheduled_runs(configured: tuple[Walk, dict[str, str]]) -> None:
    """On scheduled runs a new object is created in the path, too, on the same platform."""
    walk, _ = configured
    file = walk.connection(walk.target("scheduled/"), '[schedule]\nevery = "1s"')
    with walk.machine.running("schedule", file, "--json") as scheduler:
        wait_until(lambda: walk.machine.here("history", "--status", "delivered", "--json").out.count('"schedule"') > 1)
        scheduler.send_signal(signal.SIGTERM)
        out, err = scheduler.communicate(timeout=60)
    assert scheduler.returncode == 0, err
    runs = [json.loads(line) for line in out.splitlines()]
    assert {(run["trigger"], run["platform"]) for run in runs} == {("schedule", "amazon-s3")}
    made = {one["path"] for run in runs for one in run["files"] if run["status"] == "delivered"}
    there = {walk.writer.target(key) for key in walk.objects(f"{PREFIX}scheduled/")}
    assert len(made) > 1
    assert made <= there
    assert len(there - made) <= 1  # SIGTERM may have come while the last one was published


def test_verify_delivery(configured: tuple[Walk, dict[str, str]]) -> None:
    """The listing confirms every object, on the run's own platform, and tells when one has gone."""
    walk, _ = configured
    run = walk.run(walk.connection(walk.target("verified/"), "max_rows_per_file = 30"))
    assert "3 of 3 files are there" in walk.machine.mc_sink("verify", run["run_id"]).out
    assert run["run_id"] in walk.machine.here("history").out
    assert walk.target(f"verified/{run['run_id']}") in walk.machine.here("show", run["run_id"]).out
    with walk.owner.client() as s3:
        s3.delete_object(Bucket=walk.writer.bucket, Key=run["files"][0]["path"].removeprefix(walk.writer.target()))
    gone = walk.machine.here("verify", run["run_id"], "--json", code=Code.DIFFERENT).json()
    assert gone["missing"] == [run["files"][0]["path"]]


def test_cross_account_access_needs_put_object_acl(configured: tuple[Walk, dict[str, str]]) -> None:
    """Every object is sent with the ACL by which it is the bucket owner's, and the bucket's own policy is printed."""
    walk, _ = configured
    since = len(walk.proxy.log.of("Put", "Create"))
    file = walk.connection(walk.target())
    assert "s3:PutObjectAcl" in walk.machine.here("preview", file, "--json").json()["permissions"]
    walk.run(file)
    sent = walk.proxy.log.of("Put", "Create")[since:]
    assert {one.headers["x-amz-acl"] for one in sent} == {"bucket-owner-full-control"}
    theirs = walk.machine.here("policy", walk.target(), "--cross-account", "123456789012").json()
    assert "s3:PutObjectAcl" in theirs["Statement"][0]["Action"]


def test_large_datasets_are_streamed(configured: tuple[Walk, dict[str, str]]) -> None:
    """They are uploaded in parts while the source goes on; a run that is terminated then shows nothing, and says so."""
    walk, _ = configured
    file = walk.connection(walk.target("large/"), source='function = "sources_of_tests:endless"')
    since = len(walk.proxy.log.of("Part"))
    with walk.machine.running("run", file) as child:
        wait_until(lambda: len(walk.proxy.log.of("Part")) > since + 1, child)
        assert walk.objects(f"{PREFIX}large/") == set()
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    assert child.returncode == Code.TERMINATED, err
    assert "Terminated by SIGTERM" in err
    assert walk.objects(f"{PREFIX}large/") == set()
    run = walk.machine.here("history", "--limit", 1, "--json").json()
    assert (run["status"], run["files"], run["connection"]) == ("interrupted", [], "nightly")
    assert walk.target("large/") not in walk.machine.here("recover").out


def test_configure_lifecycle_rules(walk: Walk) -> None:
    """The printed configuration expires old objects of the prefix alone, and a real server takes it."""
    printed = walk.machine.here("lifecycle", walk.target(), "--expire-days", 400)
    with walk.owner.client() as s3:
        s3.put_bucket_lifecycle_configuration(Bucket=walk.writer.bucket, LifecycleConfiguration=printed.json())
        (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=walk.writer.bucket)["Rules"]
        s3.delete_bucket_lifecycle(Bucket=walk.writer.bucket)
    assert (rule["Filter"], rule["Expiration"], rule["Status"]) == ({"Prefix": PREFIX}, {"Days": 400}, "Enabled")
    archived = walk.machine.here("lifecycle", walk.target(), "--archive-days", 90).json()
    assert archived["Rules"][0]["Transitions"] == [{"Days": 90, "StorageClass": "GLACIER"}]


def test_the_same_credentials_in_two_workspaces(configured: tuple[Walk, dict[str, str]], tmp_path: Path) -> None:
    """A second workspace knows nothing of the first, and is Configured by the same key; it may be kept to a prefix."""
    walk, _ = configured
    other = replace(walk, machine=machine_in(tmp_path / "other"))
    assert "The platform amazon-s3 is not saved" in other.machine.here("platforms", "show", "amazon-s3", code=3).err
    bounds = ["--bucket", walk.target("other/"), "--endpoint", walk.writer.url]
    other.machine.here("platforms", "add", "amazon-s3", "--from", walk.key_file, *bounds)
    probe = ["platforms", "check", "amazon-s3", walk.target("other/probe/"), "--write-probe"]
    assert "Configured" in other.machine.here(*probe).out
    run = other.run(other.connection(walk.target("other/")))
    assert other.machine.here("history", "--json").json()["run_id"] == run["run_id"]
    assert run["run_id"] not in walk.machine.here("history").out
    since = len(walk.proxy.log)
    refused = other.machine.here("run", other.connection(walk.target("elsewhere/")), code=Code.CONFIGURATION)
    assert "outside the buckets that the platform amazon-s3 allows" in refused.err
    assert len(walk.proxy.log) == since
