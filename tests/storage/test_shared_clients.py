"""One client serves all deliveries that reach a store in the same way, and none that reaches it in another."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import fsspec.config
import polars as pl
import pytest
from aiobotocore.session import AioSession

import mc_sink
from mc_sink.secret import seal
from mc_sink.storage.s3 import shared_clients
from mc_sink.storage.s3.shared_clients import CLIENTS, Client
from tests.servers.rules import WRITER
from tests.storage.test_requests_ends import connections_to
from tests.storage.test_requests_renewal import ExpiringServer, options, store, write
from tests.support.child_deliveries import ROOT
from tests.support.plain_requests import comes_true, requests_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.fault import FaultServer

__all__ = ["store", "write"]
FRAME = pl.DataFrame({"n": range(10)})
GIVEN = {"key": "AKIDEXAMPLE", "secret": "wJalrXUtnFEMI", "endpoint_url": "https://s3.example.com"}
AT_EXIT = """
import sys
import polars as pl, mc_sink
options = {"key": sys.argv[2], "secret": sys.argv[3], "endpoint_url": sys.argv[1]}
kept = [mc_sink.sink_madconnect(pl.DataFrame({"n": [n]}), "s3://bucket/p/", storage_options=options) for n in range(3)]
print(len(kept))
"""
IN_A_FORK = """
import os, sys
import polars as pl, mc_sink
from mc_sink.storage.s3.shared_clients import CLIENTS
options = {"key": sys.argv[2], "secret": sys.argv[3], "endpoint_url": sys.argv[1]}
receipt = mc_sink.sink_madconnect(pl.DataFrame({"n": [1]}), "s3://bucket/p/", storage_options=options)
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("parent", receipt.verify().ok, flush=True)
else:
    print("child", len(CLIENTS._shared), receipt.verify().ok, flush=True)
"""


def deliver(server: FaultServer, **more: Any) -> mc_sink.Receipt:
    """Deliver a few rows under a new name."""
    return mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), storage_options=options(server) | more)


def client_of(storage_options: dict[str, Any]) -> Client:
    """Return the client that a delivery with these options uses."""
    return CLIENTS.get(seal(storage_options))


def python(code: str, server: FaultServer) -> subprocess.CompletedProcess[str]:
    """Run code where every warning of a resource left open is printed."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", code, server.url, WRITER.key, WRITER.secret]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)


def test_deliveries_share_a_client_and_its_connection(fault_s3: FaultServer) -> None:
    """The second delivery opens nothing, also while the receipt of the first is kept."""
    given = fault_s3.storage_options
    kept = [deliver(fault_s3, **given) for _ in range(3)]
    assert connections_to(fault_s3) == 1
    assert client_of(options(fault_s3) | given) is client_of(options(fault_s3) | given)
    assert all(receipt.verify().ok for receipt in kept)


@pytest.mark.parametrize(
    "other",
    [
        {"secret": "another"},
        {"token": "t"},
        {"endpoint_url": "https://s3.example.org"},
        {"use_ssl": False},
        {"config_kwargs": {"read_timeout": 7}},
        {"config_kwargs": {"read_timeout": 7.0}},
        {"client_kwargs": {"region_name": "eu-west-1"}},
        {"expected_bucket_owner": "123456789012"},
        {"max_concurrency": 1},
    ],
    ids=str,
)
def test_every_option_counts(other: dict[str, Any]) -> None:
    """A client is never used with other options than its own, however alike."""
    assert client_of(GIVEN | other) is client_of(dict(reversed((GIVEN | other).items())))
    assert client_of(GIVEN | other) is not client_of(GIVEN)


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy or a region that is set meanwhile, or any other variable, counts for the next delivery."""
    before = client_of(GIVEN)
    for name, value in {"AWS_REGION": "eu-north-1", "HTTPS_PROXY": "http://p:1", "AWS_MAX_ATTEMPTS": "2"}.items():
        monkeypatch.setenv(name, value)
        after = client_of(GIVEN)
        assert after is not before
        before = after


def test_the_defaults_of_fsspec_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are options too."""
    before = client_of(GIVEN)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"requester_pays": True})
    assert client_of(GIVEN) is not before


# A comment of a configuration, by which the same file passes for one of certificates.
HEAD = "# -----BEGIN CERTIFICATE-----\n"


@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_CA_BUNDLE"])
def test_the_files_count(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was changed in place is read again by the next delivery."""
    path = tmp_path / "file"
    path.write_text(f"{HEAD}[default]\n", "utf-8")
    monkeypatch.setenv(name, str(path))
    before = client_of(GIVEN)
    assert client_of(GIVEN) is before
    path.write_text(f"{HEAD}[default]\ns3 =\n  addressing_style = path\n", "utf-8")
    assert client_of(GIVEN) is not before


def test_a_session_of_the_callers_is_not_shared() -> None:
    """It may change at any time, and nothing tells."""
    session = {"session": AioSession(), "endpoint_url": "https://s3.example.com"}
    assert client_of(session) is not client_of(session)


def test_rotated_credentials_are_used_by_the_next_delivery(
    store: ExpiringServer, write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a file, and those of the environment, although the ones before are still good."""
    deliver(store)
    write("second, and longer")
    deliver(store)
    for name, value in {"ACCESS_KEY_ID": WRITER.key, "SECRET_ACCESS_KEY": WRITER.secret, "SESSION_TOKEN": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    deliver(store)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "y")
    deliver(store)
    assert store.tokens("Put") == ["first", "second, and longer", "x", "y"]


def test_credentials_of_a_program_are_asked_for_by_each_delivery(
    store: ExpiringServer, tmp_path: Path, write: Callable[[str], None]
) -> None:
    """They don't say until when they are good, so the next delivery may have others."""
    runs, program = tmp_path / "runs", tmp_path / "give.py"
    program.write_text(
        f"import json\nruns = open({str(runs)!r}, 'a+')\nruns.write('.')\nruns.flush()\nruns.seek(0)\n"
        f"print(json.dumps(dict(Version=1, AccessKeyId={WRITER.key!r}, SecretAccessKey={WRITER.secret!r}, "
        "SessionToken=runs.read())))\n"
    )
    (tmp_path / "config").write_text(f"[profile rotating]\ncredential_process = {sys.executable} {program}\n")
    write("unused")
    for _ in range(3):
        deliver(store, profile="rotating")
    assert store.tokens("Put") == [".", "..", "..."]


@pytest.mark.usefixtures("write")
def test_credentials_that_are_looked_up_are_looked_up_again_in_time(
    store: ExpiringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role may be replaced although its credentials renew themselves."""
    before = client_of(options(store))
    assert client_of(options(store)) is before
    monkeypatch.setattr(shared_clients, "LOOKED_UP_SECONDS", 0.0)
    assert client_of(options(store)) is not before


def test_an_idle_client_is_closed_with_its_credentials(fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither connections nor secrets stay longer than a client is needed; a receipt that is kept can still verify."""
    monkeypatch.setattr(shared_clients, "IDLE_SECONDS", 0.2)
    receipt = deliver(fault_s3, **fault_s3.storage_options)
    client = weakref.ref(client_of(options(fault_s3) | fault_s3.storage_options))
    assert comes_true(lambda: connections_to(fault_s3) == 0)
    assert receipt.verify().ok
    del receipt
    assert comes_true(lambda: gc.collect() >= 0 and client() is None)


def test_a_request_under_way_keeps_its_client_open(fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow store is not an idle client."""
    monkeypatch.setattr(shared_clients, "IDLE_SECONDS", 0.05)
    fault_s3.latency = 0.5
    assert requests_to(fault_s3).call("list_objects_v2", Bucket="bucket")["KeyCount"] == 0
    assert len(fault_s3.log.of("List")) == 1


def test_clients_are_bounded_in_number() -> None:
    """A program that delivers to many stores holds the latest of their clients."""
    clients = [client_of(GIVEN | {"key": f"AKID{number}"}) for number in range(2 * shared_clients.MOST_CLIENTS)]
    assert len(CLIENTS._shared) == shared_clients.MOST_CLIENTS  # noqa: SLF001  what is kept
    assert client_of(GIVEN | {"key": f"AKID{2 * shared_clients.MOST_CLIENTS - 1}"}) is clients[-1]
    assert client_of(GIVEN | {"key": "AKID0"}) is not clients[0]


def test_threads_get_the_same_client(fault_s3: FaultServer) -> None:
    """Deliveries that begin at the same moment make one client."""
    begin, found = threading.Barrier(8), []

    def look() -> None:
        begin.wait()
        found.append(client_of(fault_s3.storage_options))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_a_client_shows_no_secret_and_is_not_pickled() -> None:
    """Neither it nor what it is found by."""
    client = client_of(GIVEN)
    shown = repr([CLIENTS, vars(CLIENTS), client, vars(client)])
    assert GIVEN["secret"] not in shown
    assert GIVEN["key"] not in shown
    for thing in (CLIENTS, client):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(thing)


def test_nothing_is_left_open_at_exit(fault_s3: FaultServer) -> None:
    """Python has nothing to warn of when a program ends that still holds its receipts."""
    ended = python(AT_EXIT, fault_s3)
    assert (ended.stdout, ended.stderr) == ("3\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_takes_no_connection_along(fault_s3: FaultServer) -> None:
    """The child begins without clients, and makes its own; the parent goes on; and neither leaves anything open."""
    ended = python(IN_A_FORK, fault_s3)
    assert (ended.stdout, ended.stderr) == ("child 0 True\nparent True\n", "")
