"""No credential is in anything that is printed, logged, pickled, written or raised, on success or failure."""

from __future__ import annotations

import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mc_sink import PermissionDenied
from mc_sink.sandbox.admin import Credentials
from mc_sink.storage import open_store
from mc_sink.target import parse_target
from tests.support import canary
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN, found_in, logged, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WAYS = {"plain in a child": "plain", "secret in this interpreter": "secret"}


@dataclass(frozen=True)
class Told:
    """The texts of each situation; what else was printed; the folders where files may have been left."""

    situations: dict[str, str]
    printed: str
    folder: Path
    state: Path


@pytest.fixture(scope="module", params=list(WAYS.values()), ids=list(WAYS))
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Run all situations, once with plain options in a child, once with secrets here."""
    folder, state = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MC_SINK_STATE_DIR", str(state))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(folder)
        if request.param == "secret":
            yield Told(canary.run(canary.HOW["secret"], folder), "", folder, state)
        else:  # in development mode the event loop tells of itself too
            command = [sys.executable, "-X", "dev", "-m", "tests.support.canary", request.param, str(folder)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
            yield Told(json.loads(ran.stdout), ran.stderr, folder, state)


def test_no_output_has_a_credential(told: Told) -> None:
    """Not a repr, log, pickle, message, attribute or local of a frame, down the whole chain of causes."""
    leaks = {
        name: [line for line in text.splitlines() if found_in(line.encode())] for name, text in told.situations.items()
    }
    assert {name: lines for name, lines in leaks.items() if lines} == {}
    assert all(told.situations.values())


def test_nothing_that_is_left_has_a_credential(told: Told) -> None:
    """Neither delivered objects, nor the working folder, the folder for state, their names, or what was printed."""
    left = [path for folder in (told.folder, told.state) for path in folder.rglob("*")]
    assert [path.name for path in left if found_in(str(path).encode())] == []
    assert [path.name for path in left if path.is_file() and found_in(path.read_bytes())] == []
    assert sum(path.stat().st_size for path in left if path.is_file()) > 2**20
    assert not found_in(told.printed.encode())


def test_outputs_state_what_happened(told: Told) -> None:
    """The store's own words are in the error, with what they repeat cut out."""
    assert "PermissionDenied: s3:ListBucket at" in told.situations["a refused key"]
    for name in ("a refused key", "found in the environment", "found in a profile"):
        assert "The key … with … is not the one." in told.situations[name]
    assert "KeyboardInterrupt" in told.situations["Ctrl-C"]
    assert "Receipt(run_id=" in told.situations["found in a profile"]


def json_fails(text: str) -> Iterator[object]:
    """Raise in a library with a credential in its locals."""
    yield json.loads(text)


def cause_fails(text: str) -> Iterator[object]:
    """Raise an error that hides its cause, which holds a credential."""
    try:
        json.loads(text)
    except ValueError:
        yield None
        raise PermissionDenied("It is hidden, and yet there.") from None


def log_theirs(text: str) -> Iterator[object]:
    """Make a library log a credential when mc_sink didn't send the request."""
    logging.getLogger("botocore.auth").debug("x-amz-security-token:%s", text)
    yield ""


DECOYS: dict[str, Callable[[str], Iterator[object]]] = {
    "a value": lambda text: iter([text]),
    "a value within": lambda text: iter([{"in": [text]}]),
    "in hex": lambda text: iter([text.encode().hex(" ")]),
    "a message": lambda text: iter([PermissionDenied(text)]),
    "an attribute": lambda text: iter([PermissionDenied("no", action=text)]),
    "a pickle": lambda text: iter([Credentials(KEY, text)]),
    "a local of a frame": json_fails,
    "a local of a hidden cause's frame": cause_fails,
    "a log": log_theirs,
}


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("decoy", DECOYS.values(), ids=DECOYS)
def test_the_search_finds_what_is_there(decoy: Callable[[str], Iterator[object]], secret: str) -> None:
    """The same telling, of something that does hold a credential, is caught at every place where it may hide."""
    with logged() as said:
        told = "\n".join(canary.outcomes(lambda: decoy(secret)))
    assert secret in found_in((told + said.getvalue()).encode())


def test_the_search_finds_what_is_in_a_file(tmp_path: Path) -> None:
    """Bytes of an object, among others."""
    (tmp_path / "x.parquet").write_bytes(os.urandom(99) + TOKEN.encode() + os.urandom(99))
    assert found_in((tmp_path / "x.parquet").read_bytes()) == [TOKEN]


class Unkind(socketserver.StreamRequestHandler):
    """An FTP server that refuses every login, and repeats the password."""

    timeout = 10

    def handle(self) -> None:
        """Talk until the other side has had enough."""
        self.wfile.write(b"220 Hello.\r\n")
        while line := self.rfile.readline():
            verb, _, said = line.strip().partition(b" ")
            self.wfile.write(b"331 Go on.\r\n" if verb == b"USER" else b"530 Not with " + said + b".\r\n")


def test_another_filesystem_is_opened_as_discreetly() -> None:
    """What a library raises with a password in its frames and its words arrives without them."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Unkind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = parse_target(f"ftp://127.0.0.1:{server.server_address[1]}/x.csv")
        try:
            with logged() as said, pytest.raises(PermissionDenied, match="530 Not with …") as raised:
                open_store(target, {"username": "user", "password": SECRET})
        finally:
            server.shutdown()
    assert not found_in("\n".join((*tell(raised.value), said.getvalue())).encode())
