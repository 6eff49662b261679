"""A role's credentials: taken on by a key, a profile or a token, and renewed while a delivery runs."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

import mc_sink
from mc_sink import PermissionDenied, platforms
from mc_sink.platforms import Platform, check
from mc_sink.sandbox.admin import unique_name
from mc_sink.sandbox.moto_server import MotoServer
from mc_sink.storage import Role, session_in
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body
from tests.servers.rules import WRITER
from tests.servers.wire import Reply
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.sandbox.admin import Credentials
    from tests.servers.operations import Request
    from tests.servers.strike import Incoming

ROLE = "arn:aws:iam::123456789012:role/deliver"
REFUSED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform: "
    b"sts:AssumeRole</Message></Error></ErrorResponse>"
)


def platform_of(credentials: Credentials, url: str, **more: Any) -> Platform:
    """Make a platform that isn't saved."""
    return Platform(
        name="acme", access_key_id=credentials.key, secret_access_key=credentials.secret, endpoint=url, **more
    )


class RoleServer(FaultServer):
    """A store and an STS in one: each token is numbered, and the first ones last only so many seconds."""

    def __init__(self, lifetimes: list[float]) -> None:
        super().__init__()
        self.lifetimes, self.asked, self.seen = lifetimes, [], []  # type: list[float], list[dict[str, list[str]]], list[tuple[str, str]]

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Give credentials for a role, or take what is signed with them."""
        if request.op != "Other":
            self.seen.append((request.op, request.headers.get("x-amz-security-token", "")))
            return super().answer(request, incoming)
        self.asked.append(parse_qs(b"".join(map(bytes, incoming.pieces())).decode()))
        lasts = self.lifetimes[min(len(self.asked), len(self.lifetimes)) - 1]
        until = datetime.now(UTC) + timedelta(seconds=lasts)
        action = self.asked[-1]["Action"][0]
        document = (
            f"<{action}Response><{action}Result><Credentials>"
            f"<AccessKeyId>{WRITER.key}</AccessKeyId><SecretAccessKey>{WRITER.secret}</SecretAccessKey>"
            f"<SessionToken>token {len(self.asked)}</SessionToken><Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            f"</Credentials></{action}Result></{action}Response>"
        )
        return Reply(200, document.encode(), (("Content-Type", "text/xml"),))


def test_a_roles_credentials_are_renewed_in_mid_run() -> None:
    """Those that are about to expire are exchanged between two requests, and the object is whole."""
    with RoleServer([60.0, 60.0, 60.0, 7200.0]) as server:
        platform = platform_of(WRITER, server.url, role_arn=ROLE, external_id="x-1")
        target = server.writer.target("p/x.csv")
        receipt = mc_sink.sink_madconnect(
            numbers(800_000), target, storage_options=platform.storage_options_for(target, SMALL_PARTS)
        )
        assert receipt.num_rows == 800_000
        tokens = [token for _, token in server.seen]
        assert {"token 1", "token 4"} <= set(tokens)
        assert tokens[-1] == "token 4"
        assert len(server.asked) == 4
        assert {tuple(one["ExternalId"]) for one in server.asked} == {("x-1",)}
        assert {tuple(one["RoleArn"]) for one in server.asked} == {(ROLE,)}


def test_a_role_that_is_refused_is_no_missing_permission_of_the_bucket() -> None:
    """A refusal by STS is reported as such, in a delivery and in a check."""
    with RoleServer([60.0]) as server:
        server.fault("Other", Body(403, REFUSED, (("Content-Type", "text/xml"),)), times=FOREVER)
        platform = platform_of(WRITER, server.url, role_arn=ROLE)
        target = server.writer.target("p/")
        with pytest.raises(PermissionDenied, match=r"no credentials could be obtained.*sts:AssumeRole"):
            mc_sink.sink_madconnect(numbers(3), target, storage_options=platform.storage_options_for(target))
        report = check(platform, target)
        assert (report.status, report.missing) == ("Failing", ("credentials",))
        assert "sts:AssumeRole" in report.reason
        assert server.seen == []


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    """Give an S3 with IAM and STS."""
    with MotoServer() as server:
        yield server


def test_a_role_delivers_what_its_user_may_not(moto: MotoServer) -> None:
    """The printed trust policy lets one user take on the role, by the external id; the printed policy, deliver."""
    bucket, name = moto.create_bucket(unique_name("bucket")), unique_name("user")
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    user = moto.create_user(name, {"Version": "2012-10-17", "Statement": [statement]})
    with moto.client("iam") as iam:
        trusted = json.dumps(platforms.trust(f"arn:aws:iam::123456789012:user/{name}", external_id="x-1"))
        role = iam.create_role(RoleName=unique_name("role"), AssumeRolePolicyDocument=trusted)["Role"]
        printed = json.dumps(platforms.policy(f"s3://{bucket}/out/"))
        iam.put_role_policy(RoleName=role["RoleName"], PolicyName="deliver", PolicyDocument=printed)
    target = f"s3://{bucket}/out/x.csv"
    for acts_as in ({}, {"role_arn": role["Arn"], "external_id": "x-2"}):
        options = platform_of(user, moto.url, **acts_as).storage_options_for(target)
        with pytest.raises(PermissionDenied):
            mc_sink.sink_madconnect(numbers(3), target, storage_options=options)
    platform = platform_of(user, moto.url, role_arn=role["Arn"], external_id="x-1")
    mc_sink.sink_madconnect(numbers(3), target, storage_options=platform.storage_options_for(target))
    assert list(moto.listing(bucket)) == ["out/x.csv"]
    assert check(platform, f"s3://{bucket}/out/")["s3:PutObjectAcl"].verdict == "yes"


def test_a_web_identity_takes_on_a_role(tmp_path: Path) -> None:
    """By the token in a file, which is read again each time, and no key at all."""
    (tmp_path / "token").write_text("a.b.c\n")
    with RoleServer([60.0, 7200.0]) as server:
        platform = Platform(
            name="acme", role_arn=ROLE, web_identity_token_file=str(tmp_path / "token"), endpoint=server.url
        )
        target = server.writer.target("p/x.csv")
        mc_sink.sink_madconnect(numbers(3), target, storage_options=platform.storage_options_for(target))
        assert list(server.listing(server.bucket)) == ["p/x.csv"]
        assert [one["WebIdentityToken"] for one in server.asked] == [["a.b.c"], ["a.b.c"]]
        (tmp_path / "token").unlink()
        assert check(platform, server.writer.target("p/")).missing == ("credentials",)


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one profile, and nothing else that AWS' own tools would find."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    key = f"aws_access_key_id={WRITER.key}\naws_secret_access_key={WRITER.secret}\n"
    (tmp_path / "credentials").write_text(f"[work]\n{key}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("profiles")
def test_a_profile_delivers_and_takes_on_a_role() -> None:
    """What AWS' own tools keep is used as it is, and a missing profile is named as the cause."""
    with RoleServer([7200.0]) as server:
        target = server.writer.target("p/")
        plain = Platform(name="acme", profile="work", endpoint=server.url)
        role = Platform(name="acme", profile="work", role_arn=ROLE, endpoint=server.url)
        for platform in (plain, role):
            mc_sink.sink_madconnect(numbers(3), target, storage_options=platform.storage_options_for(target))
        assert len(server.listing(server.bucket)) == 2
        assert {token for _, token in server.seen} == {"", "token 1"}
        sent = len(server.log)
        for wrong in (Platform(name="acme", profile="missing"), Platform(name="acme", endpoint=server.url)):
            assert check(wrong, target).missing == ("credentials",)
        assert len(server.log) == sent


@pytest.mark.usefixtures("profiles")
def test_a_role_keeps_the_region_of_its_profile(tmp_path: Path) -> None:
    """A configured region needn't be passed again."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-south-2\n")
    assert session_in(Role(arn=ROLE), {"profile": "work"}).get_config_variable("region") == "eu-south-2"
