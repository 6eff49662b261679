"""Record how deliveries from Python ended: one line each in the inbox, which the history later moves into its table.

    sink_madconnect, publish, recover ──► history.inbox ──► history.sqlite3      (mc_sink.connector.history)

A line costs a tenth of what a transaction does, and waits for no disk. The inbox lies in the state folder, which every
delivery needs for its journal; no folder is created for it. Writers and the history take turns by one lock. A record
that can't be written is a warning: the delivery has ended in either case. `MC_SINK_HISTORY=off` records nothing.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from mc_sink._display import logger
from mc_sink._runtime import state_dir
from mc_sink.exceptions import add_note
from mc_sink.records.record import Run, as_row, facts_of, now, status_of
from mc_sink.records.redact import ending_of
from mc_sink.scrub import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mc_sink.receipt import Receipt

SWITCH = "MC_SINK_HISTORY"
PYTHON = "python"  # the trigger of these records, and the name that they have in place of a connection's
FILE = "history.inbox"
# Without a reader the inbox keeps the newest lines up to this size. A delivery of one file takes 1 kB.
MAX_BYTES = 8 * 2**20
# A reader that was stopped must not stop a delivery.
PATIENCE_SECONDS, _PAUSE_SECONDS = 5.0, 0.01
_ON, _OFF = {"", "on", "1", "true", "yes"}, {"off", "0", "false", "no"}
_log = logger(__name__)


def recorded(
    deliver: Callable[[], Receipt],
    *,
    run_id: str,
    target: str,
    platform: object = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Return the receipt of `deliver()`, or raise its error, after recording how it ended.

    `platform` and `storage_options` are those of the call. Of the options the record keeps those that can't hold a
    secret, so that `mc-sink verify` finds the store. Where the delivery failed, an option may hold a misplaced secret,
    and only the address of the store is kept.
    """
    started_at = now()
    known: dict[str, Any] = {
        "run_id": run_id,
        "target": target,
        "platform": platform if isinstance(platform, str) else getattr(platform, "name", None),
        "started_at": started_at,
    }
    try:
        receipt = deliver()
    except BaseException as error:
        _record(known, lambda: _address_in(storage_options), partial(ending_of, error, target))
        raise
    try:
        facts = {"status": status_of(receipt)} | facts_of(receipt)
        _record(known, partial(without_secrets, storage_options), lambda: facts)
    except BaseException as error:  # Ctrl-C, or SIGTERM
        add_note(error, f"every file of run {run_id} is visible.")
        raise
    return receipt


def _address_in(storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    url = without_secrets(storage_options).get("endpoint_url")
    return {"endpoint_url": url} if isinstance(url, str) and url.startswith(("http://", "https://")) else {}


def _record(
    known: Mapping[str, Any], options: Callable[[], Mapping[str, Any]], ended: Callable[[], Mapping[str, Any]]
) -> None:
    """Append a record to the inbox; log a warning where that isn't possible."""
    try:
        if not _is_on():
            return
        place = state_dir.state_folder() / FILE
        if not place.parent.is_dir():
            return
        run = Run(
            number=0,
            connection=PYTHON,
            file=None,
            trigger=PYTHON,
            storage_options=options(),
            ended_at=now(),
            token=os.urandom(8).hex(),
            **known,
            **ended(),
        )
        row = as_row({one.name: getattr(run, one.name) for one in fields(run) if one.name != "number"}, run.target)
        _append(place, json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
    except Exception as error:  # noqa: BLE001  no fault of the history is one of the delivery
        reason = getattr(error, "strerror", None) or type(error).__name__
        _log.warning(
            "Run %s ended, and its record can't be written: %s. Without it, mc-sink history doesn't list the run.",
            known["run_id"],
            reason,
        )


def _is_on() -> bool:
    value = os.environ.get(SWITCH, "").strip().lower()
    if value not in _ON | _OFF:
        _log.warning("%s is neither on nor off, so nothing is recorded. Set it to off, or remove it.", SWITCH)
    return value in _ON


def _append(place: Path, line: bytes) -> None:
    """Append a line, and drop the older half of the lines where the inbox is full."""
    with _turn(place):
        descriptor = state_dir.open_private(place, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with open(descriptor, "r+b", buffering=0) as inbox:  # noqa: PTH123  a descriptor is not a path
            size = os.fstat(descriptor).st_size
            if size + len(line) <= MAX_BYTES or not size:
                inbox.write(line)
                return
            inbox.seek(size // 2)
            newest = inbox.readall()
        state_dir.write_private(place, newest[newest.find(b"\n") + 1 :] + line)


@contextmanager
def _turn(place: Path) -> Iterator[None]:
    """Hold the lock of the inbox, or raise `TimeoutError`."""
    lock, until = state_dir.Lock(place.with_suffix(".inbox-lock")), time.monotonic() + PATIENCE_SECONDS
    try:
        while not lock.acquire():
            if time.monotonic() > until:
                raise TimeoutError(f"Process {lock.holder} holds the lock of the history.")
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        lock.release()


def has_lines(folder: Path) -> bool:
    """Return whether records wait in the inbox of a state folder."""
    with suppress(FileNotFoundError):
        return (folder / FILE).lstat().st_size > 0
    return False


@contextmanager
def taken(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in the inbox of a state folder, and remove them if the block succeeds.

    A line that was cut, or is of another version, is left out, and counted in the log.
    """
    place = folder / FILE
    with _turn(place):
        data, _ = state_dir.read_private(place)
        lines = data.splitlines()
        rows = [row for row in map(_row_of, lines) if row]
        yield rows
        os.truncate(place, 0)
    if len(rows) < len(lines):
        _log.warning("%d records of deliveries from Python can't be read, and are left out.", len(lines) - len(rows))


_COLUMNS = {one.name for one in fields(Run)} - {"number"}


def _row_of(line: bytes) -> dict[str, Any] | None:
    """Return the columns of a line; None for one that can't be read."""
    with suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, dict) and set(row) == _COLUMNS:
            return row
    return None
