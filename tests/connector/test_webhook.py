"""Webhooks: what Slack, Teams and others are sent when a run has ended, and that they change nothing about the run."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.connector.connections import deliver, load, webhook
from mc_sink.connector.history import list_runs
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "T0-secret-path"
MODULE = """
import polars as pl


def good():
    return pl.DataFrame({"x": [1, 2]})


def bad():
    raise ValueError("alice@example.com <!channel> [x](https://evil.example)")
"""


class Received:
    """What a service was sent, and with which statuses it answers, the last of them for ever."""

    def __init__(self, *statuses: int, location: str | None = None) -> None:
        self.statuses, self.location = list(statuses), location
        self.bodies: list[Any] = []
        self.paths: list[str] = []


@contextmanager
def service(received: Received) -> Iterator[str]:
    """Give the URL of a service, with a secret in its path, as those of Slack and Teams have."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            received.paths.append(self.path)
            left = received.statuses
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            if received.location:
                self.send_header("Location", received.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}"
    finally:
        server.shutdown()
        server.server_close()


def connection(folder: Path, source: str, hook: str) -> Path:
    """Write a connection with one hook for either end."""
    (folder / "sources_of_webhooks.py").write_text(MODULE)
    file = folder / "nightly.toml"
    file.write_text(
        f'target = "./out/"\n[source]\nfunction = "sources_of_webhooks:{source}"\n'
        f"[hooks]\non_success = {hook}\non_failure = {hook}\n"
    )
    return file


def run(folder: Path, source: str, form: str) -> None:
    """Run a connection whose hook is the webhook of HOOK_URL."""
    connected = load(connection(folder, source, f'{{ url_env = "HOOK_URL", form = "{form}" }}'))
    if source == "good":
        deliver(connected)
    else:
        with pytest.raises(ValueError, match="alice"):
            deliver(connected)


@pytest.mark.parametrize("source", ["good", "bad"])
def test_slack_gets_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """The facts of the record, in which no text of data is a mention or a link."""
    received = Received(200)
    with service(received) as url:
        monkeypatch.setenv("HOOK_URL", url)
        run(tmp_path, source, "slack")
    (body,) = received.bodies
    (record,) = list_runs()
    assert body["mrkdwn"] is False
    title, *facts = body["text"].split("\n")
    assert title == ("nightly: delivered" if source == "good" else "nightly: failed")
    assert f"run id: {record.run_id}" in facts
    assert f"more: mc-sink show {record.run_id}" in facts
    assert ("rows: 2 rows" in facts) is (source == "good")
    assert any(fact.startswith("error: ValueError") for fact in facts) is (source == "bad")
    assert not {"<", ">", "alice"} & {body["text"], *body["text"]}
    assert "alice" not in body["text"]


def test_teams_gets_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adaptive card whose texts hold no Markdown of the data."""
    received = Received(202)
    with service(received) as url:
        monkeypatch.setenv("HOOK_URL", url)
        run(tmp_path, "good", "teams")
    (body,) = received.bodies
    (attachment,) = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    title, facts = attachment["content"]["body"]
    assert title["text"] == "nightly: delivered"
    assert {"title": "rows", "value": "2 rows"} in facts["facts"]
    assert webhook._no_markdown("[x](https://a_b)") == r"\[x\](https://a\_b)"  # noqa: SLF001


def test_others_get_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same JSON that a command gets."""
    received = Received(204)
    with service(received) as url:
        monkeypatch.setenv("HOOK_URL", url)
        run(tmp_path, "good", "json")
    (record,) = list_runs()
    assert received.bodies == [json.loads(json.dumps(record.as_json()))]


@pytest.mark.parametrize("statuses", [(429, 503, 200), (500, 500, 500), (404,)])
def test_a_busy_service_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, statuses: tuple[int, ...]
) -> None:
    """Three times in all; a refusal is final. The run stays delivered, and the warning has no URL."""
    monkeypatch.setattr(webhook, "_PAUSES", (0.0, 0.0))
    received = Received(*statuses)
    with service(received) as url:
        monkeypatch.setenv("HOOK_URL", url)
        run(tmp_path, "good", "slack")
    assert len(received.bodies) == len(statuses)
    failure = f"the webhook of HOOK_URL) failed: the service answered with status {statuses[-1]}."
    assert (failure in caplog.text) is (statuses[-1] != 200)
    assert SECRET not in caplog.text
    assert list_runs()[0].status == "delivered"


def test_a_redirect_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another host gets nothing."""
    elsewhere = Received(200)
    with service(elsewhere) as other, service(Received(307, location=other)) as url:
        monkeypatch.setenv("HOOK_URL", url)
        run(tmp_path, "good", "json")
    assert elsewhere.bodies == []
    assert "status 307" in caplog.text


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "the environment variable HOOK_URL is not set"),
        (f"file:///{SECRET}", "the environment variable HOOK_URL holds no URL of https"),
        (f"http://127.0.0.1:1/{SECRET}", "the service could not be reached (URLError)"),
        (f"http://127.0.0.1:port/{SECRET}", "the service could not be reached (InvalidURL)"),
    ],
)
def test_a_url_that_does_not_work_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str | None, reason: str
) -> None:
    """With the reason, and without the URL, which is a secret."""
    monkeypatch.setattr(webhook, "_PAUSES", (0.0, 0.0))
    if url:
        monkeypatch.setenv("HOOK_URL", url)
    run(tmp_path, "good", "slack")
    assert f"The hook on_success (the webhook of HOOK_URL) failed: {reason}." in caplog.text
    assert SECRET not in caplog.text
    assert list_runs()[0].status == "delivered"


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (f'{{ url = "https://hooks.example/{SECRET}" }}', "write the URL into an environment variable"),
        (f'{{ url_env = "https://hooks.example/{SECRET}" }}', "write the URL into an environment variable"),
        ('{ url_env = "HOOK_URL", form = "email" }', "'slack', 'teams' or 'json'"),
    ],
)
def test_a_url_in_the_file_is_refused(tmp_path: Path, hook: str, reason: str) -> None:
    """Connection files are shared, and hold no secret; the message doesn't repeat it."""
    with pytest.raises(ConfigurationError, match=reason) as raised:
        load(connection(tmp_path, "good", hook))
    assert SECRET not in str(raised.value)
