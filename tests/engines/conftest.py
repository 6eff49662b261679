"""Keep what tests proved that read as a receiver does: docs/receivers.md prints its matrix from readers.json.

A test has the mark `reads(receiver, kind, gap)` and calls `proves` once it has found every value. A pair of receiver
and kind of file is in readers.json if each of its tests passed in the last run that had them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mc_sink import Receipt

READERS = Path(__file__).with_name("readers.json")
_OUTCOMES = pytest.StashKey[dict[str, list[dict[str, Any] | None]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no outcome."""
    config.stash[_OUTCOMES] = {}


@pytest.fixture
def proves(request: pytest.FixtureRequest) -> Callable[[Receipt, str], None]:
    """Return a function that notes that a reader, named with its version, found every value of a delivery."""

    def note(receipt: Receipt, reader: str) -> None:
        assert receipt.content
        mark = request.node.get_closest_marker("reads")
        receiver, kind, *gap = mark.args
        assert receipt.content.format.removeprefix(".") == kind
        proof = {"receiver": receiver, "kind": kind, "reader": reader, "gap": "".join(gap)}
        request.node.user_properties.append(("proof", proof | {"dialect": dict(receipt.content.dialect)}))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the outcome of a marked test: its proof, or None where it failed or proved nothing."""
    report = yield
    mark = item.get_closest_marker("reads")
    if mark and (report.failed or (report.passed and report.when == "call")):
        proof = dict(item.user_properties).get("proof") if report.passed else None
        if isinstance(proof, dict):
            proof = proof | {"test": item.nodeid.partition("[")[0]}
        item.config.stash[_OUTCOMES].setdefault(" ".join(mark.args[:2]), []).append(proof)  # type: ignore[arg-type]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Replace the records of the pairs that were tested; one that failed has none."""
    outcomes = session.config.stash[_OUTCOMES]
    if not outcomes:
        return
    records = json.loads(READERS.read_text(encoding="utf-8")) if READERS.exists() else {}
    date = datetime.now(UTC).date().isoformat()
    for pair, proofs in outcomes.items():
        records.pop(pair, None)
        if all(proofs):
            records[pair] = {**(proofs[0] or {}), "date": date}
    READERS.write_text(json.dumps(dict(sorted(records.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
