"""Credentials that expire on the way: read again once, where they can be, and a clear error where they can't."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import PermissionDenied
from mc_sink.storage.s3.client import Requests
from tests.servers.fault import FaultServer
from tests.servers.faults import Call, Status
from tests.servers.rules import WRITER
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.plain_requests import WHERE, body_of, comes_true, failure, ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.operations import Request
    from tests.servers.strike import Incoming
    from tests.servers.wire import Reply


class ExpiringServer(FaultServer):
    """A store that knows which session tokens have expired, and notes the token of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.expired: set[str] = set()
        self.seen: list[tuple[str, str]] = []

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Refuse what comes with a token that has expired."""
        token = request.headers.get("x-amz-security-token", "")
        self.seen.append((request.op, token))
        if token in self.expired:
            return self.error(request, 400, "ExpiredToken", "The provided token has expired.")
        return super().answer(request, incoming)

    def tokens(self, op: str) -> list[str]:
        """Give the tokens of an operation's requests, in their order."""
        return [token for seen, token in self.seen if seen == op]


@pytest.fixture
def store() -> Iterator[ExpiringServer]:
    """Give a new one."""
    with ExpiringServer() as server:
        yield server


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that writes a token into the shared credentials file, which holds the first one already."""
    path = tmp_path / "credentials"

    def write_token(token: str) -> None:
        path.write_text(
            f"[default]\naws_access_key_id={WRITER.key}\naws_secret_access_key={WRITER.secret}\naws_session_token={token}\n"
        )

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    write_token("first")
    return write_token


def options(server: FaultServer, **more: Any) -> dict[str, Any]:
    """Give the server's address and no credentials."""
    return {"endpoint_url": server.url, "config_kwargs": {"read_timeout": 20}} | more


def expires(server: ExpiringServer, token: str, then: Callable[[], None]) -> Call:
    """Let a token expire at this request, and something else happen."""

    def happen(_: Request) -> None:
        server.expired.add(token)
        then()

    return Call(happen)


def test_a_token_that_expires_after_a_part_is_read_anew(store: ExpiringServer, write: Callable[[str], None]) -> None:
    """A rotated credentials file is picked up in mid-delivery: the part is sent again, and the object is whole."""
    store.fault("Part", expires(store, "first", lambda: write("second")), n=2)
    receipt = mc_sink.sink_madconnect(
        numbers(800_000), store.writer.target("p/x.csv"), storage_options=options(store) | SMALL_PARTS
    )
    assert receipt.verify().ok
    tokens = store.tokens("Part")
    parts = {record.part_number for record in store.log.of("Part")}
    assert tokens[0] == "first"
    assert tokens[-1] == "second"
    assert tokens.count("second") >= len(parts) - 1
    assert store.tokens("Complete") == ["second"]


def test_a_token_that_is_no_better_is_tried_once(store: ExpiringServer, write: Callable[[str], None]) -> None:
    """The file holds another token that has expired too: two requests for each part, and an error that says why."""
    store.expired.add("second")
    store.fault("Part", expires(store, "first", lambda: write("second")), n=1)
    with pytest.raises(PermissionDenied, match="session token has expired") as raised:
        mc_sink.sink_madconnect(
            numbers(800_000), store.writer.target("p/x.csv"), storage_options=options(store) | SMALL_PARTS
        )
    assert "Get new temporary credentials" in str(raised.value)
    assert "Nothing became visible" in str(raised.value)
    numbered = [record.part_number for record in store.log.of("Part")]
    assert max(map(numbered.count, numbered)) == 2
    assert store.listing(store.bucket) == {}


def test_an_expired_token_that_was_given_is_sent_once(store: ExpiringServer, write: Callable[[str], None]) -> None:
    """What stands in storage_options can't be read again, also when others are configured elsewhere."""
    write("fresh")
    store.expired.add("given")
    given = {"key": WRITER.key, "secret": WRITER.secret, "token": "given"}
    in_client = {
        f"aws_{name}": value
        for name, value in zip(("access_key_id", "secret_access_key", "session_token"), given.values(), strict=True)
    }
    for credentials in (given, {"client_kwargs": in_client}):
        store.seen.clear()
        failed = failure(Requests(options(store) | credentials), "list_objects_v2", Bucket="bucket")
        assert (failed.code, failed.attempts, failed.uncertain) == ("ExpiredToken", 1, False)
        assert store.tokens("List") == ["given"]


def test_parts_that_fail_together_read_the_credentials_once(
    store: ExpiringServer, tmp_path: Path, write: Callable[[str], None]
) -> None:
    """Eight parts find their token expired at the same moment; the program that gives credentials is run once more."""
    runs, program = tmp_path / "runs", tmp_path / "give.py"
    program.write_text(
        "import json, pathlib\n"
        f"runs = pathlib.Path({str(runs)!r})\n"
        "number = int(runs.read_text() or 0) + 1 if runs.exists() else 1\n"
        "runs.write_text(str(number))\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId={WRITER.key!r}, SecretAccessKey={WRITER.secret!r}, "
        "SessionToken=f'run {number}')))\n"
    )
    (tmp_path / "config").write_text(f"[profile rotating]\ncredential_process = {sys.executable} {program}\n")
    write("unused")
    requests = Requests(options(store, profile="rotating"))
    upload = ready(requests, "abort_multipart_upload")
    meeting = threading.Barrier(8, timeout=30)
    store.fault("Part", Call(lambda _: meeting.wait()), times=8)
    store.expired.add("run 1")
    futures = [requests.start("upload_part", **upload, PartNumber=n, Body=body_of(9)) for n in range(1, 9)]
    assert all(future.result(30)["ETag"] for future in futures)
    assert runs.read_text() == "2"
    assert sorted(store.tokens("Part")) == ["run 1"] * 8 + ["run 2"] * 8


def test_a_token_that_expires_again_is_read_anew_again(store: ExpiringServer, write: Callable[[str], None]) -> None:
    """Temporary credentials last for an hour; a long delivery needs several."""
    requests = Requests(options(store))
    for token, following in (("first", "second"), ("second", "third")):
        requests.call("list_objects_v2", Bucket="bucket")
        store.expired.add(token)
        write(following)
    requests.call("list_objects_v2", Bucket="bucket")
    assert store.tokens("List") == ["first", "first", "second", "second", "third"]


def test_what_is_under_way_with_the_old_credentials_ends_as_it_would(
    store: ExpiringServer, write: Callable[[str], None]
) -> None:
    """A part that the store has begun to answer isn't broken off when another one needs new credentials."""
    requests = Requests(options(store))
    upload = ready(requests, "abort_multipart_upload")
    others_done = threading.Event()
    store.fault("Part", Call(lambda _: others_done.wait(30)))
    slow = requests.start("upload_part", **upload, PartNumber=1, Body=body_of(9))
    assert comes_true(lambda: bool(store.log.of("Part")))
    write("second")
    store.fault("List", Status(400, "ExpiredToken"))
    requests.call("list_objects_v2", Bucket="bucket")
    gc.collect()  # a filesystem without references closes itself
    others_done.set()
    assert slow.result(30)["ETag"]
    assert store.tokens("Part") == ["first"]
    assert store.tokens("List") == ["second"]


def test_new_credentials_are_followed_by_the_usual_tries(store: ExpiringServer, write: Callable[[str], None]) -> None:
    """A renewed request that meets a passing fault is sent again like any other, and not renewed for ever."""
    requests = Requests(options(store))
    requests.call("list_objects_v2", Bucket="bucket")
    store.expired.add("first")
    write("second")
    store.fault("Put", Status(503), n=2)
    requests.call("put_object", **WHERE, Body=b"abc")
    assert [record.status for record in store.log.of("Put")] == [400, 503, 200]
