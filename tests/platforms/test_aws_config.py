"""What a user configured, in options, the environment or a profile: it reaches the wire, or it is refused."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import ConfigurationError, PermissionDenied
from mc_sink.storage import Probes
from mc_sink.storage.s3.client_options import filesystem_arguments
from tests.servers.faults import FOREVER, Body, Call
from tests.servers.rules import WRITER
from tests.support.frames import numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.fault import FaultServer

ROWS = numbers(10)
SIGNED = re.compile(r"Credential=[^/]+/[0-9]+/([a-z0-9-]+)/s3/")
KEY = {"key": WRITER.key, "secret": WRITER.secret}


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that writes the AWS configuration; nothing else of AWS' is set."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(text: str) -> None:
        (tmp_path / "config").write_text(text)

    return write


def deliver(server: FaultServer, **more: Any) -> None:
    """Deliver a small file with these storage options."""
    options = {"endpoint_url": server.url, **KEY, **more}
    mc_sink.sink_madconnect(ROWS, server.writer.target("p/"), storage_options=options, progress=False)


def body_is_signed(server: FaultServer) -> bool:
    """Tell whether the Put had the sum of its body."""
    return server.log.of("Put")[-1].headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize(("configured", "is_signed"), [("true", True), ("false", False), ("", True)])
def test_a_profiles_s3_section_decides_whether_bodies_are_signed(
    fault_s3: FaultServer, configure: Callable[[str], None], configured: str, *, is_signed: bool
) -> None:
    """Our default comes after it: a Put is signed until the store is known to check its CRC32."""
    configure(f"[default]\ns3 =\n  payload_signing_enabled = {configured}\n" if configured else "[default]\n")
    deliver(fault_s3)
    assert body_is_signed(fault_s3) is is_signed


def test_an_option_comes_before_a_profiles_s3_section(fault_s3: FaultServer, configure: Callable[[str], None]) -> None:
    """The nearer one wins; what it doesn't say is still the profile's."""
    configure("[default]\ns3 =\n  payload_signing_enabled = true\n  addressing_style = path\n")
    deliver(fault_s3, config_kwargs={"s3": {"payload_signing_enabled": False}})
    assert not body_is_signed(fault_s3)
    deliver(fault_s3, config_kwargs={"s3": {"addressing_style": "path"}})
    assert body_is_signed(fault_s3)


@pytest.mark.parametrize(("style", "host"), [("virtual", "bucket.localhost"), ("path", "localhost")])
def test_a_profiles_addressing_style_is_kept(
    fault_s3: FaultServer, configure: Callable[[str], None], style: str, host: str
) -> None:
    """The bucket stands in the host or in the path; the host can't be reached, and the error names it."""
    configure(f"[default]\ns3 =\n  addressing_style = {style}\n")
    fault_s3.stop()
    probes = Probes({"endpoint_url": fault_s3.url.replace("127.0.0.1", "localhost"), **KEY})
    answer = probes.ask("list_objects_v2", Bucket="bucket", Prefix="p/")
    assert f'"http://{host}:' in str(answer)


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"read_timout": 5}, "config_kwargs has 'read_timout'.*Did you mean 'read_timeout'"),
    ({"s3": {"payload_signing": True}}, r"config_kwargs\['s3'\] has 'payload_signing'.*'payload_signing_enabled'"),
    ({"s3": {"adressing_style": "path"}}, r"config_kwargs\['s3'\] has 'adressing_style'.*'addressing_style'"),
    ({"s3": {"use_dualstack": True}}, r"'use_dualstack'.*'use_dualstack_endpoint'"),
    ({"s3": "path"}, r"config_kwargs\['s3'\] must be a dict"),
    ({"s3": {"payload_signing_enabled": "false"}}, r"payload_signing_enabled'\] must be True or False"),
    ({"request_checksum": "when_required"}, "Did you mean 'request_checksum_calculation'"),
]


@pytest.mark.parametrize(("config", "output"), UNKNOWN)
def test_a_misspelt_key_of_the_configuration_is_refused(
    fault_s3: FaultServer, config: dict[str, Any], output: str
) -> None:
    """With the nearest right one, before anything is sent; botocore reads over those of the s3 section."""
    with pytest.raises(ConfigurationError, match=output):
        deliver(fault_s3, config_kwargs=config)
    assert len(fault_s3.log) == 0


def region_of(**more: Any) -> str:
    """Give the region that a client with these options is made for."""
    import asyncio

    import s3fs

    async def ask() -> str:
        filesystem = s3fs.S3FileSystem(**filesystem_arguments(KEY | more), asynchronous=True, skip_instance_cache=True)
        client = await filesystem.set_session()
        await client.close()
        return str(client.meta.region_name)

    return asyncio.run(ask())


def test_aws_region_alone_is_read(configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As Polars and DuckDB do; before the default profile's, as AWS' other tools do."""
    configure("[default]\nregion = us-west-2\n[profile far]\nregion = ap-south-1\n[profile none]\n")
    assert region_of() == "us-west-2"
    monkeypatch.setenv("AWS_REGION", " eu-west-1\n")
    assert region_of() == "eu-west-1"
    assert region_of(profile="none") == "eu-west-1"
    assert region_of(profile="far") == "ap-south-1"
    assert region_of(client_kwargs={"region_name": "eu-central-1"}) == "eu-central-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert region_of() == "sa-east-1"


def test_aws_region_signs_the_requests(
    fault_s3: FaultServer, configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The region stands in the signature of what goes out."""
    configure("")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    seen: list[str] = []
    fault_s3.fault("*", Call(lambda request: seen.append(request.headers["authorization"])), times=FOREVER)
    deliver(fault_s3)
    assert {found[1] for one in seen if (found := SIGNED.search(one))} == {"eu-west-1"}


def test_an_empty_token_file_is_a_matter_of_credentials(
    fault_s3: FaultServer,
    configure: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It isn't taken for a wrong object option; no library's traceback stands beside the error."""
    configure("")
    (tmp_path / "token").write_text("")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/deliver")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", fault_s3.url)
    with pytest.raises(PermissionDenied, match=r"no credentials.*WebIdentityToken.*TOKEN_FILE") as raised:
        deliver(fault_s3, key=None, secret=None)
    assert "object_options" not in str(raised.value)
    assert len(fault_s3.log) == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in caplog.records if record.exc_info or record.exc_text]


REFUSED_BY_STS = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform: "
    b"sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>"
)


def test_a_refusal_of_sts_is_none_of_the_bucket(
    fault_s3: FaultServer, configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AccessDenied by STS asks for no permission of S3, however the role was found."""
    configure("")
    (tmp_path / "token").write_text("header.claims.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/deliver")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", fault_s3.url)
    fault_s3.fault("Other", Body(403, REFUSED_BY_STS, (("Content-Type", "text/xml"),)), times=9)
    with pytest.raises(PermissionDenied, match=r"no credentials.*sts:AssumeRoleWithWebIdentity") as raised:
        deliver(fault_s3, key=None, secret=None)
    assert "Grant" not in str(raised.value)
    assert fault_s3.log.ops() == ["Other"]


def test_a_traceback_of_an_applications_own_request_stays(caplog: pytest.LogCaptureFixture) -> None:
    """Only beside our own requests is it left out."""
    logger = logging.getLogger("aiobotocore.credentials")
    logger.warning("Refreshing failed.", exc_info=ValueError("other"))
    assert caplog.records[-1].exc_info
