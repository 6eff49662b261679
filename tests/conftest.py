"""The servers as fixtures: `seaweed`, `writer` and `recorded` are the real thing, `fault_s3` fails on command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.httpsession import where
from hypothesis import settings

from tests.servers.embedded import embedded_server
from tests.servers.fault import FaultServer
from tests.servers.proxy import Proxy
from tests.support.dtypes import has_absent_dtype, needs_map
from tests.support.small_deliveries import TINY, tiny_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.s3_admin import Admin, Writer


# A busy machine must not fail a test.
settings.register_profile("mc_sink", deadline=None)
settings.load_profile("mc_sink")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases of dtypes that this Polars lacks."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            for value in item.callspec.params.values():
                if has_absent_dtype(value):
                    item.add_marker(needs_map)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A real server behind a door that logs and fails: `writer` goes through the door, `server` is the owner's side."""

    proxy: Proxy
    writer: Writer
    server: Admin


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield names for state folders, none of which exists yet: most tests need none, and making one takes time."""
    root = tmp_path_factory.mktemp("states")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def state(states: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep journals out of the user's own folder, in child processes too."""
    folder = next(states)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients read one certificate: all of them take 40 ms for each store, and the servers here have no TLS."""
    first, end, _ = Path(where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    file.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(file))
        yield


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Admin]:
    """Yield a real S3 server with users and policies, one for the whole session."""
    with embedded_server() as server:
        yield server


@pytest.fixture
def writer(seaweed: Admin) -> Writer:
    """Return a writer with a new bucket on the real server, who has the three documented permissions in it."""
    return seaweed.new_writer()


@pytest.fixture
def recorded(seaweed: Admin, writer: Writer) -> Iterator[Recorded]:
    """Yield the real server behind a proxy that logs every request."""
    with Proxy(seaweed.url) as proxy:
        yield Recorded(proxy, replace(writer, url=proxy.url), seaweed)


@pytest.fixture
def fault_s3() -> Iterator[FaultServer]:
    """Yield a new, empty S3 in memory that fails where a test arranges it."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make parts so small that a few rows fill many."""
    tiny_parts(monkeypatch)


@pytest.fixture
def server(tiny: None) -> Iterator[FaultServer]:  # noqa: ARG001  tiny parts go to a server that accepts them
    """Yield an empty bucket that accepts tiny parts."""
    with FaultServer(TINY) as made:
        yield made
