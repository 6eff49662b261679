"""The recipes of docs/hooks.md, taken from the page: e-mail, an alert, a script, and callbacks of orchestrators."""

from __future__ import annotations

import importlib
import re
import socketserver
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import SinkError, sink_madconnect
from mc_sink.connector.connections import deliver, load
from tests.connector.test_webhook import Received, service
from tests.support.connection_files import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "hooks.md"
CELL = "CanaryCell-4711"
SOURCE = f"""
import polars as pl

def good():
    return pl.DataFrame({{"x": ["{CELL}"]}})

def bad():
    raise ValueError("{CELL}")
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Write every recipe to a folder, and return a function that imports one."""
    names = []
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        name = code.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(code, "utf-8")
        names.append(name.removesuffix(".py"))
    (tmp_path / "hook_rows.py").write_text(SOURCE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@dataclass
class Mailbox:
    """The address of a server that takes e-mail, and what it has taken."""

    port: int
    messages: list[str]


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """Speak as much of SMTP as a client without TLS and login needs (RFC 5321)."""
    messages: list[str] = []

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            while line := self.rfile.readline():
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    messages.append(b"".join(lines).decode())
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield Mailbox(server.server_address[1], messages)
        finally:
            server.shutdown()


def run(folder: Path, source: str, hooks: str) -> None:
    """Run a connection with hooks."""
    text = f'target = "out/"\n[source]\nfunction = "hook_rows:{source}"\n[hooks]\n{hooks}\n'
    (folder / "nightly.toml").write_text(text, "utf-8")
    deliver(load(folder / "nightly.toml"), run_id=f"r-{source}", progress=False)


@pytest.mark.usefixtures("recipe")
def test_a_failure_is_sent_by_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to look at next, and without the text of the source's error."""
    with mail_server() as mailbox:
        values = {"FROM": "feeds@example.com", "TO": "team@example.com", "HOST": "127.0.0.1", "PORT": str(mailbox.port)}
        for name, value in values.items():
            monkeypatch.setenv(f"MAIL_{name}", value)
        with pytest.raises(ValueError, match=CELL):
            run(tmp_path, "bad", 'on_failure = "notify:mail"')
    (message,) = mailbox.messages
    for fact in ("Subject: nightly: failed", "To: team@example.com", "error: ValueError", "mc-sink show r-bad"):
        assert fact in message, fact
    assert CELL not in message


def test_an_alert_is_opened_and_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Callable[[str], Any]
) -> None:
    """By one key for the connection; a script and the callbacks of orchestrators send the record of their run."""
    received = Received(202)
    with service(received) as url:
        monkeypatch.setenv("PAGERDUTY_URL", url)
        monkeypatch.setenv("PAGERDUTY_KEY", "routing")
        hooks = 'on_success = "page:alert"\non_failure = "page:alert"'
        with pytest.raises(ValueError, match=CELL):
            run(tmp_path, "bad", hooks)
        run(tmp_path, "good", hooks)
        with pytest.raises(SinkError, match="row"):
            recipe("script")
        callbacks = recipe("callbacks")
        sink_madconnect(recipe("hook_rows").good(), tmp_path / "a.csv", run_id="orders-2026-11-23", progress=False)
        callbacks.airflow_failed({"logical_date": datetime(2026, 11, 23, tzinfo=UTC), "exception": ValueError(CELL)})

        class FlowRun:
            parameters = {"date": "2026-11-23"}  # noqa: RUF012  as Prefect has it

        callbacks.prefect_failed(None, FlowRun(), None)
    events = received.bodies
    assert [(one["event_action"], one["dedup_key"]) for one in events] == [
        ("trigger", "mc-sink nightly"),
        ("resolve", "mc-sink nightly"),
        ("trigger", "mc-sink python"),
        ("resolve", "mc-sink python"),
        ("resolve", "mc-sink python"),
    ]
    assert events[2]["payload"]["custom_details"]["run_id"] == "orders-20261122"
    assert CELL not in str(events)
