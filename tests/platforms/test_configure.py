"""`mc_sink.configure()` in a notebook: it asks, shows nothing, saves, checks, and leaves no secret in what it gives."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

import mc_sink
from mc_sink import ConfigurationError, platforms
from mc_sink.platforms import CheckReport, Platform
from mc_sink.platforms.configuring import Facts
from mc_sink.platforms.saved import PLAIN
from tests.servers.rules import WRITER
from tests.support.canary import KEY, SECRET, TOKEN, found_in, tell
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fault import FaultServer

QUESTIONS = ["Access Key ID: ", "Secret Access Key: ", "Session Token (none): "]


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """Have no keyring at all."""
    with installed():
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer the hidden prompts, and return the questions."""
    asked: list[str] = []
    answers = dict(zip(QUESTIONS, (KEY, SECRET, TOKEN), strict=True))

    def ask(question: str = "") -> str:
        asked.append(question)
        return answers[question]

    monkeypatch.setattr("getpass.getpass", ask)
    return asked


def test_it_asks_saves_and_gives_the_platform(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For the name openly, and for the key as the command does: hidden."""
    monkeypatch.setattr("builtins.input", lambda _question: " acme ")
    given = mc_sink.configure(region="eu-west-1", buckets=("feeds",), store="file")
    assert isinstance(given, Platform)
    assert given == platforms.load("acme")
    assert given == Platform(
        name="acme",
        access_key_id=KEY,
        secret_access_key=SECRET,
        session_token=TOKEN,
        region="eu-west-1",
        buckets=("feeds",),
    )
    assert asked == QUESTIONS
    assert not found_in("\n".join(tell(given)).encode())


def test_it_checks_a_target(fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives the report, which the platform keeps."""
    answers = dict(zip(QUESTIONS, (WRITER.key, WRITER.secret, ""), strict=True))
    monkeypatch.setattr("getpass.getpass", answers.__getitem__)
    report = mc_sink.configure("acme", fault_s3.writer.target("p/"), endpoint=fault_s3.url)
    assert isinstance(report, CheckReport)
    assert (report.status, report.missing, report.left) == ("Unverified", (), ())
    assert platforms.load("acme").last_check.status == "Unverified"
    assert platforms.load("acme").session_token is None
    assert fault_s3.listing("bucket") == {}


def test_nobody_is_asked_in_vain(asked: list[str]) -> None:
    """Neither with other credentials, nor with invalid fields, nor out of bounds."""
    assert mc_sink.configure("work", profile="work").profile == "work"
    assert mc_sink.configure("bounded", credentials="ambient").access_key_id is None
    role = "arn:aws:iam::123456789012:role/deliver"
    made = mc_sink.configure("role", credentials="ambient", role_arn=role, external_id="new").external_id
    assert made
    assert made.startswith("mc-sink-")
    for wrong in ({"acl": "all"}, {"name": "a b"}, {"credentials": "none"}, {"name": "work"}):
        with pytest.raises(ConfigurationError):
            mc_sink.configure(**({"name": "acme"} | wrong))  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="outside the buckets"):
        mc_sink.configure("acme", "s3://other/p/", buckets=("feeds",))
    assert asked == []


def test_an_error_after_the_questions_has_no_secret(asked: list[str]) -> None:
    """Not in its words, nor in the frames that it went through."""
    with pytest.raises(ConfigurationError) as raised:
        mc_sink.configure("acme", store="drawer")  # type: ignore[call-overload]
    assert not found_in("\n".join(tell(raised.value)).encode())
    assert platforms.list() == []
    del asked


def test_it_takes_every_fact_of_a_platform() -> None:
    """What the command has options for, and by the platform's own names."""
    assert {*Facts.__annotations__} == {*PLAIN} - {"name"}
    types = {one.name: one.type for one in fields(Platform) if one.name in Facts.__annotations__}
    shown = {name: hint.__forward_arg__ for name, hint in Facts.__annotations__.items()}
    assert {name: hint for name, hint in shown.items() if hint != types[name]} == {}
