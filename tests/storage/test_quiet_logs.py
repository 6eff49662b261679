"""The libraries' DEBUG logs: suppressed for our requests, and for no others."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.config
import botocore.session
import pytest

import mc_sink
from mc_sink.storage.quiet_logs import TALKATIVE, silence
from tests.servers.faults import Call, Reset, Status
from tests.support.canary import logged
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

TOKEN = "canary-token-8f2e61"


def theirs(server: FaultServer) -> None:
    """Send a request of the application's own, with its own token."""
    key = server.rules.credentials[0]
    client = botocore.session.Session().create_client(
        "s3",
        "us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=key.key,
        aws_secret_access_key=key.secret,
        aws_session_token="the-applications-own",
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
    client.list_objects_v2(Bucket=server.bucket)
    client.close()


def test_our_requests_leave_no_debug_log(fault_s3: FaultServer) -> None:
    """Parts, a refusal, a lost reply, an abort: the libraries say nothing below INFO of any of them."""
    options = fault_s3.storage_options | SMALL_PARTS | {"token": TOKEN}
    with logged() as said:
        mc_sink.sink_madconnect(numbers(400_000), fault_s3.writer.target("p/x.csv"), storage_options=options)
        fault_s3.fault("Part", Status(403, "AccessDenied"))
        with pytest.raises(mc_sink.PermissionDenied):
            mc_sink.sink_madconnect(numbers(400_000), fault_s3.writer.target("p/y.csv"), storage_options=options)
        fault_s3.fault("Put", Reset())
        mc_sink.sink_madconnect(numbers(3), fault_s3.writer.target("p/z.csv"), storage_options=options)
    lines = [line for line in said.getvalue().splitlines() if line.partition(".")[0] in TALKATIVE]
    assert not [line for line in lines if " DEBUG " in line]
    assert TOKEN not in said.getvalue()
    assert set(fault_s3.log.ops()) >= {"Create", "Part", "Complete", "Abort", "Put", "List"}


def test_requests_of_others_are_logged_as_before(fault_s3: FaultServer) -> None:
    """At the moment in which one of our requests waits for its reply, in another thread, and afterwards."""
    with logged() as said:
        fault_s3.fault("Put", Call(lambda _: theirs(fault_s3)))
        mc_sink.sink_madconnect(
            numbers(3), fault_s3.writer.target("p/x.csv"), storage_options=fault_s3.storage_options | {"token": TOKEN}
        )
        during = said.getvalue()
        theirs(fault_s3)
    after = said.getvalue().removeprefix(during)
    for part in (during, after):
        assert "the-applications-own" in part
        assert "botocore.auth DEBUG" in part
    assert TOKEN not in during


def test_a_logger_that_is_made_later_is_silent_too() -> None:
    """Also one whose name stood there before, as the parent of another, and one whose filters were taken off."""
    logging.getLogger("botocore.later.child")
    with silence():
        pass
    later = logging.getLogger("botocore.later")
    logging.getLogger("botocore.endpoint").filters.clear()
    with logged() as said, silence():
        later.debug("a header")
        logging.getLogger("botocore.endpoint").debug("a header")
    assert not said.getvalue()


def test_what_matters_is_still_logged() -> None:
    """INFO and above pass, within our requests too."""
    with logged() as said, silence():
        logging.getLogger("botocore.endpoint").debug("a header")
        logging.getLogger("botocore.endpoint").info("found credentials")
        logging.getLogger("s3fs").warning("slow")
        logging.getLogger("application").debug("its own")
    assert said.getvalue().splitlines() == [
        "botocore.endpoint INFO found credentials",
        "s3fs WARNING slow",
        "application DEBUG its own",
    ]


def test_silence_ends_where_it_began() -> None:
    """Inside another, after an error, and for a thread that was there before."""
    logger, began, ended = logging.getLogger("botocore.endpoint"), threading.Event(), threading.Event()

    def log_meanwhile() -> None:
        began.wait(10)
        logger.debug("another thread")
        ended.set()

    thread = threading.Thread(target=log_meanwhile)
    thread.start()
    with logged() as said:
        with suppress(ZeroDivisionError), silence():
            with silence():
                logger.debug("own")
            logger.debug("own")
            began.set()
            assert ended.wait(10)
            raise ZeroDivisionError
        logger.debug("afterwards")
    thread.join()
    assert [line.rpartition("DEBUG ")[2] for line in said.getvalue().splitlines()] == ["another thread", "afterwards"]


def test_the_applications_logging_stays_as_it_was(fault_s3: FaultServer) -> None:
    """Levels, propagation and what writes the records are untouched; each of the libraries' loggers has one filter."""
    deliver = numbers(3), fault_s3.writer.target("p/")

    def settings() -> dict[str, tuple[object, ...]]:
        return {
            name: (logger.level, logger.propagate, logger.disabled, list(logger.handlers))
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger)
        }

    mc_sink.sink_madconnect(*deliver, storage_options=fault_s3.storage_options)
    before = settings()
    for _ in range(3):
        mc_sink.sink_madconnect(*deliver, storage_options=fault_s3.storage_options)
    after = settings()
    assert {name: after[name] for name in before} == before
    for name in after:
        ours = [one for one in logging.getLogger(name).filters if "mc_sink" in type(one).__module__]
        if name.partition(".")[0] == "mc_sink":  # our own log, whose values are escaped
            assert len(ours) <= 1, name
        else:
            assert len(ours) == (name.partition(".")[0] in TALKATIVE), name
    assert logging.getLoggerClass() is logging.Logger
    assert logging.getLogRecordFactory() is logging.LogRecord


BORN = """
import logging, sys
import mc_sink, polars
from mc_sink.storage.quiet_logs import TALKATIVE
options = dict(zip(("endpoint_url", "key", "secret"), sys.argv[1:]))
for n in range(2):
    mc_sink.sink_madconnect(polars.DataFrame({"n": [n]}), "s3://bucket/p/", storage_options=options, progress=False)
    names = logging.root.manager.loggerDict.copy()
    print(*[name for name, logger in names.items() if isinstance(logger, logging.Logger)
            and name.partition(".")[0] in TALKATIVE and not logger.filters])
"""


def test_no_logger_is_born_behind_the_filters_back(fault_s3: FaultServer) -> None:
    """In an interpreter of its own, no library makes a logger between the making of a client and the last reply."""
    key = fault_s3.rules.credentials[0]
    ran = subprocess.run(
        [sys.executable, "-c", BORN, fault_s3.url, key.key, key.secret],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout == "\n\n"
