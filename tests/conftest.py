"""The servers as fixtures: `seaweed`, `writer` and `recorded` are the real thing, `fault_s3` fails on command."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.servers.certificates import issue_certificate
from tests.servers.embedded import embedded_server
from tests.servers.fault import FaultServer
from tests.servers.proxy import Proxy
from tests.support.dtypes import has_absent_dtype, needs_map
from tests.support.small_deliveries import TINY, tiny_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.s3_admin import Admin, Writer


# Each has a test of half a minute, which begins early, so that no worker is left alone with it in the end.
LONGEST = {"test_against_pandera.py", "test_kills.py", "test_notebooks.py", "test_schedules.py", "test_wide_memory.py"}

# Collecting imports half a million objects that stay. Looking through them for garbage took a quarter of that time.
gc.disable()

# A busy machine must not fail a test, and a commit is judged by the same examples each time. The long tests, and those
# with a seed, look for new ones.
settings.register_profile("repeating", deadline=None, derandomize=True)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeating")


def pytest_configure(config: pytest.Config) -> None:
    """Choose whether generated examples are the same each time."""
    if config.option.markexpr == "long" or config.getoption("--hypothesis-seed") is not None:
        settings.load_profile("searching")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases of dtypes that this Polars lacks, and begin with the longest tests."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            for value in item.callspec.params.values():
                if has_absent_dtype(value):
                    item.add_marker(needs_map)


def pytest_collection_finish() -> None:
    """Exempt all that has been imported from garbage collection, and begin with that."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Free what was exempt: libraries report what is left when the interpreter ends."""
    gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A real server behind a door that logs and fails: `writer` goes through the door, `server` is the owner's side."""

    proxy: Proxy
    writer: Writer
    server: Admin


@pytest.fixture(scope="session")
def state_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the state folders of the tests to come. None of them exists: most tests need none."""
    root = tmp_path_factory.mktemp("states")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def state_folder(state_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep journals out of the user's own folder, in child processes too."""
    folder = next(state_folders)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def state(state_folder: Path) -> Path:
    """Create the state folder of this test."""
    state_folder.mkdir(mode=0o700)
    return state_folder


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make clients read one certificate: those of all authorities take 40 ms for each store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(issue_certificate(tmp_path_factory.mktemp("tls")).authority))
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
