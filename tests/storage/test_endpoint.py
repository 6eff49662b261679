"""Where requests go: to one endpoint, known before a byte is sent, and to no host that a reply names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from fsspec.config import conf

import mc_sink
from mc_sink import ConfigurationError, TargetError
from mc_sink.secret import Secret
from mc_sink.storage import open_store
from mc_sink.storage.s3.client_options import filesystem_arguments
from mc_sink.target import parse_target
from tests.servers.fault import FaultServer
from tests.servers.faults import Body
from tests.support.frames import numbers

TARGET = parse_target("s3://bucket/p/x.csv")
KEYS = {"key": "EXAMPLEKEY", "secret": "example-secret"}
AWS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CONFIG_FILE")
IGNORE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
Configure = Callable[[pytest.MonkeyPatch, Path, str], dict[str, Any]]


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*AWS, IGNORE, "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def in_a_file(text: str) -> Configure:
    """Configure an endpoint in the file of profiles."""

    def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str) -> dict[str, Any]:
        path = folder / "config"
        path.write_text(text.format(url=url), encoding="utf-8")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        return {"profile": "own"} if "own" in text else {}

    return configure


def in_the_environment(name: str) -> Configure:
    """Configure an endpoint by a variable."""

    def configure(monkeypatch: pytest.MonkeyPatch, _: Path, url: str) -> dict[str, Any]:
        monkeypatch.setenv(name, url)
        return {}

    return configure


def in_fsspec(monkeypatch: pytest.MonkeyPatch, _: Path, url: str) -> dict[str, Any]:
    """Configure an endpoint as fsspec reads it from its own files and variables."""
    monkeypatch.setitem(conf, "s3", {"endpoint_url": url})
    return {}


ASKED: dict[str, Configure] = {
    "option": lambda _, __, url: {"endpoint_url": url},
    "secret option": lambda _, __, url: {"endpoint_url": Secret(url)},
    "client_kwargs": lambda _, __, url: {"client_kwargs": {"endpoint_url": url}},
    "both": lambda _, __, url: {"endpoint_url": url, "client_kwargs": {"endpoint_url": Secret(url)}},
    "fsspec": in_fsspec,
}
CONFIGURED: dict[str, Configure] = {
    "AWS_ENDPOINT_URL": in_the_environment("AWS_ENDPOINT_URL"),
    "AWS_ENDPOINT_URL_S3": in_the_environment("AWS_ENDPOINT_URL_S3"),
    "default profile": in_a_file("[default]\nendpoint_url = {url}\n"),
    "named profile": in_a_file("[profile own]\nendpoint_url = {url}\n"),
    "services": in_a_file(
        "[profile own]\nservices = local\nendpoint_url = https://other\n"
        "[services local]\ns3 =\n  endpoint_url = {url}\n"
    ),
}
SOURCES = ASKED | CONFIGURED


def found(options: dict[str, Any]) -> str | None:
    """Give the endpoint that s3fs will be given."""
    url: str | None = filesystem_arguments(KEYS | options)["endpoint_url"]
    return url


def signs_bodies(options: dict[str, Any]) -> bool:
    """Say whether the bodies of requests will be signed."""
    signs: bool = filesystem_arguments(KEYS | options)["config_kwargs"]["s3"]["payload_signing_enabled"]
    return signs


@pytest.mark.parametrize("configure", SOURCES.values(), ids=SOURCES)
def test_plain_http_is_refused_wherever_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Configure
) -> None:
    """The error names the host and the switch, and the switch lets it pass, with bodies that are signed."""
    options = configure(monkeypatch, tmp_path, "http://minio.example:9000/path")
    with pytest.raises(ConfigurationError, match=r"leads to http://minio\.example, .*'use_ssl': False") as raised:
        open_store(TARGET, KEYS | options)
    assert "Nothing became visible" in str(raised.value)
    assert "/path" not in str(raised.value)
    assert found(options | {"use_ssl": False}) == "http://minio.example:9000/path"
    assert signs_bodies(options | {"use_ssl": False})
    inside = options.get("client_kwargs", {}) | {"use_ssl": False}
    assert found(options | {"client_kwargs": inside}) == "http://minio.example:9000/path"


@pytest.mark.parametrize("configure", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost:9", "http://[::1]:9", "https://s.example"])
def test_what_nobody_can_listen_to_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Configure, url: str
) -> None:
    """TLS, and this machine, need no switch, and no signed bodies."""
    options = configure(monkeypatch, tmp_path, url)
    assert found(options) == url
    assert not signs_bodies(options)


@pytest.mark.parametrize("configure", CONFIGURED.values(), ids=CONFIGURED)
@pytest.mark.parametrize("ignored", ["", "true", "false"])
def test_botocore_would_go_to_the_same_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Configure, ignored: str
) -> None:
    """What is looked up here is what botocore finds by itself, endpoints that are to be ignored included."""
    options = configure(monkeypatch, tmp_path, "http://127.0.0.1:9000")
    if ignored:
        monkeypatch.setenv(IGNORE, ignored)
    theirs = botocore.session.Session(profile=options.get("profile")).create_client(
        "s3", "us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    if ignored == "true":
        assert found(options) is None
        assert "127.0.0.1" not in theirs.meta.endpoint_url
    else:
        assert found(options) == theirs.meta.endpoint_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize("configure", CONFIGURED.values(), ids=CONFIGURED)
def test_an_endpoint_in_the_options_outranks_what_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Configure
) -> None:
    """And a configured one that would be refused is then of no matter; config_kwargs may ignore it too."""
    options = configure(monkeypatch, tmp_path, "http://minio.example:9000")
    assert found(options | {"endpoint_url": "https://s.example"}) == "https://s.example"
    assert found(options | {"config_kwargs": {"ignore_configured_endpoint_urls": True}}) is None


@pytest.mark.parametrize("configure", SOURCES.values(), ids=SOURCES)
def test_requests_go_to_the_endpoint_that_was_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault_s3: FaultServer,
    configure: Configure,
) -> None:
    """A delivery arrives there, also where the environment has a proxy for plain http."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    key = fault_s3.rules.credentials[0]
    options = configure(monkeypatch, tmp_path, fault_s3.url) | {"key": key.key, "secret": key.secret}
    mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/x.csv"), storage_options=options)
    assert fault_s3.log.ops() == ["List", "List", "Put"]  # the second right before the Put: this store isn't AWS


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://user:canary@127.0.0.1:9", "credentials or a query"),
        ("https://canary@s.example", "credentials or a query"),
        ("https://user:12/canary@s.example", "credentials or a query"),
        ("https://s.example/?X-Amz-Signature=canary", "credentials or a query"),
        ("https://user:canary", "is not a URL with http or https"),
        ("canary", "is not a URL with http or https"),
        ("ftp://s.example/canary", "is not a URL with http or https"),
        ("https:///canary", "is not a URL with http or https"),
        ("https://[canary", "is not a URL with http or https"),
    ],
)
@pytest.mark.parametrize("configure", SOURCES.values(), ids=SOURCES)
def test_an_endpoint_that_may_hold_a_secret_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    configure: Configure,
    url: str,
    expected: str,
) -> None:
    """Credentials and signatures in a URL are refused, and so is text that isn't a URL; none of it is repeated."""
    options = configure(monkeypatch, tmp_path, url)
    with pytest.raises(ConfigurationError, match=expected) as raised:
        open_store(TARGET, KEYS | options)
    assert "canary" not in str(raised.value)
    assert raised.value.__context__ is None


def test_two_endpoints_are_refused() -> None:
    """s3fs takes an endpoint in two places, and a delivery has only one."""
    options = {"endpoint_url": "https://a.example", "client_kwargs": {"endpoint_url": "https://b.example"}}
    with pytest.raises(ConfigurationError, match=r"2 endpoints.*Remove one of them"):
        open_store(TARGET, KEYS | options)


@pytest.mark.parametrize(
    "text",
    ["[profile other]\n", "[profile own]\nservices = none\n", "[profile own\naws_secret_access_key = canary\n"],
    ids=["no such profile", "no such services", "no such syntax"],
)
def test_a_configuration_that_cannot_be_read_is_told_unseen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """It ends the run before anything is sent, without a word of what stands in the file."""
    in_a_file(text)(monkeypatch, tmp_path, "")
    with pytest.raises(ConfigurationError, match=r"can't be read.*Check the profile's name") as raised:
        open_store(TARGET, {"profile": "own"})
    assert "canary" not in str(raised.value)
    assert raised.value.__context__ is None


def document(code: str, extra: str = "") -> bytes:
    """Give an error document as S3 writes it."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Go there.</Message>{extra}</Error>".encode()


ELSEWHERE: dict[str, Callable[[str], Body]] = {
    "301 with an endpoint": lambda url: Body(
        301, document("PermanentRedirect", f"<Endpoint>{url}</Endpoint>"), (("Location", f"http://{url}/bucket"),)
    ),
    "301 with a region": lambda url: Body(
        301, document("PermanentRedirect"), (("x-amz-bucket-region", "eu-west-1"), ("Location", f"http://{url}/"))
    ),
    "307": lambda url: Body(
        307, document("TemporaryRedirect", f"<Endpoint>{url}</Endpoint>"), (("Location", f"http://{url}/bucket/p"),)
    ),
    "400 with a region": lambda _: Body(400, document("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")),
    "400 without one": lambda _: Body(400, document("IllegalLocationConstraintException")),
    "a region that is a host": lambda url: Body(301, document("PermanentRedirect", f"<Region>{url}/</Region>")),
}


@pytest.mark.parametrize("op", ["List", "Put"])
@pytest.mark.parametrize("reply", ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_reply_sends_credentials_elsewhere(fault_s3: FaultServer, reply: Callable[[str], Body], op: str) -> None:
    """Neither to the host or region that it names nor with a HeadBucket to find one; the error says what to do."""
    with FaultServer() as other:
        fault_s3.fault(op, reply(other.url.removeprefix("http://")))
        with pytest.raises(TargetError, match=r"another region.*region_name"):
            mc_sink.sink_madconnect(
                numbers(3), fault_s3.writer.target("p/x.csv"), storage_options=fault_s3.storage_options
            )
        assert len(other.log) == 0
    assert fault_s3.log.forbidden() == []
    assert fault_s3.log.ops() == (["List"] if op == "List" else ["List", "List", "Put"])
    assert not fault_s3.listing(fault_s3.bucket)
