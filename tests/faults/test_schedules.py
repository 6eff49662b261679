"""Schedules that Hypothesis makes up, and every one that found something, reduced to a few lines."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, core, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import mc_sink
from mc_sink import CommitError, CommitUnknown, SinkError
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Late, Status
from tests.support import small_deliveries
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.schedules import Schedule
from tests.support.small_deliveries import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.operations import Request


def _run(examples: int, default: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Run schedules of one seed, and say which: the one that was asked for, or the default."""
    asked: Any = core.global_force_seed
    chosen = default if asked is None else int(asked)
    with capsys.disabled():
        print(f"\n{examples} schedules of seed {chosen}; the same again: --hypothesis-seed={chosen}")  # noqa: T201
    limits = settings(
        max_examples=examples,
        stateful_step_count=10,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(chosen)(Schedule), settings=limits)
    except BaseException as error:
        error.add_note(f"The same schedules again: --hypothesis-seed={chosen}")
        raise


@pytest.mark.timeout(900)
def test_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    """After every step what is visible is whole and reported, and in the end every run is visible once."""
    _run(30, 0, capsys)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_schedules_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, in a thousand schedules."""
    _run(1_000, random.randrange(2**32), capsys)  # noqa: S311  no secret


# --- What schedules have found


def deliver(server: FaultServer, run_id: str = "a", rows: int = 10) -> mc_sink.Receipt:
    """Deliver several files under a prefix, each of them an upload."""
    options = server.storage_options | SMALL_PARTS | {"config_kwargs": {"read_timeout": 5}}
    return mc_sink.sink_madconnect(
        numbers(rows),
        server.writer.target("p/"),
        format="csv",
        max_rows_per_file=5,
        run_id=run_id,
        storage_options=options,
    )


def test_a_file_that_another_attempt_published_leaves_no_upload_here(fault_s3: FaultServer) -> None:
    """Another writer delivers the same run while we stage it: both succeed, and what we stored for nothing is gone."""
    fault_s3.fault("Part", Call(lambda _: deliver(fault_s3)), n=2)
    receipt = deliver(fault_s3)
    assert all(file.from_prior_attempt for file in receipt.files)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_recovery_of_what_another_machine_published_leaves_no_upload(
    fault_s3: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    """A rerun elsewhere ends what was cut short here; recovering it here finds all of it there, and tidies up."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=2, times=FOREVER)
    with pytest.raises(CommitError):
        deliver(fault_s3)
    fault_s3.heal()
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path))
    deliver(fault_s3)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(state))
    mc_sink.recover("a", storage_options=fault_s3.storage_options)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("how", [{}, {"if_exists": "overwrite"}], ids=["create-only", "overwrite"])
def test_a_complete_that_takes_effect_after_a_rerun_keeps_its_object(how: dict[str, Any]) -> None:
    """A store that ignores the condition replaces the rerun's object, and an Abort of its upload would destroy it."""
    with FaultServer(replace(TINY, if_none_match_on_complete="ignored", completed_uploads="kept")) as server:
        rerun, how = threading.Event(), how | {"to": "p/x.csv", "manifest": True}
        server.fault("Complete", Call(lambda _: rerun.wait(60)))
        server.fault("Complete", Status(404, "NoSuchUpload"), n=2, times=FOREVER)
        with pytest.raises(CommitUnknown):
            small_deliveries.deliver(server, read_timeout=0.1, **how)
        server.heal()
        late = server.log.of("Complete")[0].upload_id

        def let_it_take_effect(_: Request) -> None:
            rerun.set()
            until = time.monotonic() + 60
            while late not in server.store.completed and time.monotonic() < until:
                time.sleep(0.005)

        server.fault("Complete", Call(let_it_take_effect), n=2)  # that of the manifest
        receipt = small_deliveries.deliver(server, **how)
        assert late in server.store.completed
        assert server.destroyed(server.bucket) == []
        assert receipt.verify().ok


def test_an_upload_that_is_being_begun_is_not_forgotten(fault_s3: FaultServer) -> None:
    """A delivery fails while the store is still answering a Create: that upload is aborted too, or named."""

    def abort_once_another_begins(request: Request) -> None:
        until = time.monotonic() + 10
        while len(fault_s3.log.of("Create")) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        fault_s3.store.abort(request.bucket, request.key, str(request.upload_id))

    fault_s3.fault("Create", Late(0.5), n=2)
    fault_s3.fault("Part", Call(abort_once_another_begins))
    with pytest.raises(SinkError) as raised:
        deliver(fault_s3)
    assert fault_s3.wait_until_idle()
    assert_named(fault_s3, raised.value)


def test_an_abort_without_an_answer_is_reported(fault_s3: FaultServer) -> None:
    """A page that something in between gives for an answer is not a success: the upload is named."""
    fault_s3.fault("Part", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("Abort", Body(200, b"<html>Please log in.</html>"), times=FOREVER)
    with pytest.raises(SinkError) as raised:
        deliver(fault_s3)
    assert fault_s3.pending_uploads(fault_s3.bucket)
    assert_named(fault_s3, raised.value)


def assert_named(server: FaultServer, error: Any) -> None:
    """Fail, unless every upload that is still open is named on the error."""
    notes = "\n".join([str(error), *getattr(error, "__notes__", ())])
    assert [one for one in server.pending_uploads(server.bucket) if one.upload_id not in notes] == []
