"""What a small delivery loads, reads and sends. It is counted, never timed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from botocore.loaders import create_loader

import mc_sink
from mc_sink.storage.s3 import client_options
from tests.servers.rules import WRITER
from tests.support.child_deliveries import ROOT

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

FRAME = pl.DataFrame({"n": range(10)})
FIRST = """
import json, os, sys
import botocore
data, looked = os.path.join(os.path.dirname(botocore.__file__), "data"), []

def note(event, arguments):
    if event in {"open", "os.listdir", "os.scandir"} and str(arguments[0]).startswith(data):
        looked.append(os.path.relpath(arguments[0], data))

sys.addaudithook(note)
import polars as pl, mc_sink
options = {"key": sys.argv[2], "secret": sys.argv[3], "endpoint_url": sys.argv[1]}
mc_sink.sink_madconnect(pl.DataFrame({"n": [1]}), "s3://bucket/p/", storage_options=options, progress=False)
print(json.dumps({"looked": looked, "modules": sorted(sys.modules)}))
"""


def deliver(server: FaultServer, **more: Any) -> mc_sink.Receipt:
    """Deliver a few rows under a new name."""
    return mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), storage_options=server.storage_options | more)


@pytest.fixture
def first(fault_s3: FaultServer) -> dict[str, list[str]]:
    """Return what the first delivery of a process loads, and what it looks at of botocore's descriptions."""
    command = [sys.executable, "-c", FIRST, fault_s3.url, WRITER.key, WRITER.secret]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_the_first_delivery_loads_nothing_that_it_has_no_use_for(first: dict[str, list[str]]) -> None:
    """A frame of Polars without a schema needs neither Arrow nor Pandera, and no progress bar outside a terminal."""
    unused = {"pyarrow", "pandera", "pydantic", "pandas", "numpy", "yaml", "tqdm", "typer", "boto3"}
    assert "s3fs" in first["modules"]
    assert not unused & set(first["modules"])


def test_the_first_delivery_reads_the_description_of_s3_alone(first: dict[str, list[str]]) -> None:
    """The other 400 services have folders too; their names are read once or twice, and nothing in them."""
    looked = first["looked"]
    assert "s3" in looked
    assert {one.partition("/")[0] for one in looked if "/" in one} == {"s3"}
    assert len(looked) < 20


@pytest.mark.parametrize("service", ["s3", "sts", "sso", "sso-oidc"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_descriptions_are_those_that_botocore_reads(service: str, kind: str) -> None:
    """Of S3, and of the services that credentials come from, before a client has changed them."""
    read = client_options._descriptions.__wrapped__()  # noqa: SLF001  those of this process may have been changed
    assert read.load_service_model(service, kind) == create_loader().load_service_model(service, kind)
    assert read.load_data("endpoints") == create_loader().load_data("endpoints")


def test_a_service_that_is_unknown_is_refused_as_by_botocore() -> None:
    """Nothing is guessed."""
    ours = client_options.new_session(None).get_component("data_loader")
    with pytest.raises(Exception, match="no-such-service"):
        ours.load_service_model("no-such-service", "service-2")


def test_a_later_delivery_sends_three_requests(fault_s3: FaultServer) -> None:
    """A listing of the run's names, another right before the Put, because the store isn't known, and the Put."""
    deliver(fault_s3)
    before = len(fault_s3.log)
    deliver(fault_s3)
    assert fault_s3.log.ops()[before:] == ["List", "List", "Put"]


def agents(server: FaultServer) -> set[str]:
    """Return the names under which requests were sent."""
    return {record.headers["user-agent"] for record in server.log}


def test_requests_say_who_sends_them(fault_s3: FaultServer) -> None:
    """The bucket's owner sees it in the access log."""
    deliver(fault_s3)
    (agent,) = agents(fault_s3)
    assert agent.startswith(f"mc-sink/{mc_sink.__version__} Botocore/")


def test_what_the_caller_adds_to_the_name_is_sent(fault_s3: FaultServer) -> None:
    """After that of the package."""
    deliver(fault_s3, config_kwargs={"user_agent_extra": "nightly/7"})
    (agent,) = agents(fault_s3)
    assert agent.startswith("mc-sink/")
    assert agent.endswith(" nightly/7")


def test_a_name_of_the_caller_is_sent_alone(fault_s3: FaultServer) -> None:
    """As botocore would send it."""
    deliver(fault_s3, config_kwargs={"user_agent": "audience/1"})
    (agent,) = agents(fault_s3)
    assert agent.startswith("audience/1")
    assert "mc-sink" not in agent


@pytest.mark.parametrize("place", ["options", "environment"])
def test_an_application_id_is_sent(fault_s3: FaultServer, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in botocore's own name."""
    if place == "environment":
        monkeypatch.setenv("AWS_SDK_UA_APP_ID", "audience")
    deliver(fault_s3, **({"config_kwargs": {"user_agent_appid": "audience"}} if place == "options" else {}))
    assert all("app/audience" in agent for agent in agents(fault_s3))
