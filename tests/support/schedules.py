"""Generated schedules: deliveries, reruns, recoveries, strangers and faults in any order, held against a model.

Every step is a real delivery of a few rows to the server on loopback that fails on command; parts are a few bytes long.
After every step the bucket holds nothing that the outcome doesn't tell of, and in the end every run is there once.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

import mc_sink
from mc_sink import CommitError, CommitUnknown, Receipt, SinkError
from mc_sink._runtime.state_dir import STATE_DIR
from mc_sink.publishing import list_journals, publication
from mc_sink.staged import Multipart
from mc_sink.storage.s3 import bucket
from mc_sink.storage.s3.part_plan import PartPlan
from tests.servers.fault import FaultServer
from tests.servers.faults import Call
from tests.servers.rules import GRANTED, Rules
from tests.support.schedules_faults import FAULTS, READ_TIMEOUT, REFUSING, Meanwhile, Struck, struck
from tests.support.schedules_model import Attempt, Run, Seen, Shape, Version, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.publishing import Journal
    from tests.servers.operations import Record, Request

STRANGERS = b"foreign"
NOTHING = re.compile(r"nothing (of this \w+ |more )?became visible", re.IGNORECASE)
VERSIONS = st.lists(st.integers(0, 9), max_size=7).map(tuple)
SHAPES = st.one_of(
    st.builds(
        Shape,
        st.sampled_from(["csv", "csv.gz", "parquet"]),
        st.sampled_from([1, 2, 2, 3]),
        st.none(),
        st.none(),
        st.just(4096),
    ),
    st.builds(
        Shape,
        st.sampled_from(["csv", "csv.gz", "parquet"]),
        st.none(),
        st.sampled_from([None, "one", "two"]),
        st.sampled_from([None, True]),
        st.just(4096),
    ),
)
MACHINES = st.sampled_from([0, 0, 0, 1])
CHANGES: dict[str, Callable[[Version], Version]] = {
    "same": lambda version: version,
    "fewer": lambda version: version[:-2],
    "more": lambda version: (*version, 10, 11, 12),
    "last changed": lambda version: (*version[:-1], 13),
    "first changed": lambda version: (14, *version[1:]),
}
WAYS = st.fixed_dictionaries(
    {
        "repeated_complete": st.sampled_from(["NoSuchUpload", "OK", "InProgress"]),
        "completed_uploads": st.sampled_from(["forgotten", "kept"]),
        "checksums": st.sampled_from(["honoured", "honoured", "ignored"]),
        "etags": st.sampled_from(["s3", "s3", "empty", "whole", "other"]),
        "if_none_match_on_put": st.sampled_from(["honoured", "honoured", "ignored"]),
        "if_none_match_on_complete": st.sampled_from(["honoured", "honoured", "ignored"]),
    }
)
CHANGE = st.sampled_from([*["same"] * 4, *CHANGES])


class Schedule(RuleBasedStateMachine):
    """One bucket, two machines with journals of their own, and everything that happens to them."""

    runs: Bundle[Run] = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Run] = []
        self.strangers: set[str] = set()
        self.attempts: list[Attempt] = []
        self.told: list[str] = []
        self.under_way: tuple[Run, Version] | None = None
        self.intact = True
        self.trail = ""
        self._folder = tempfile.TemporaryDirectory(prefix="schedule")
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(bucket, "PartPlan", partial(PartPlan, min_size=1))
        self._listener = _Listener(self.told)
        logging.getLogger("mc_sink").addHandler(self._listener)
        logging.getLogger("mc_sink").setLevel(logging.INFO)

    @initialize(abort=st.sampled_from([True, True, False]), ways=WAYS, in_order=st.booleans())
    def open(self, *, abort: bool, ways: dict[str, Any], in_order: bool) -> None:
        """Open a bucket; whether a writer may abort differs between stores, and so do their ways.

        Files after the first are published in order, as few are, or all at once, as many are.
        """
        self._patch.setattr(publication, "FEW_FILES", publication.FEW_FILES if in_order else 0)
        granted = GRANTED if abort else GRANTED - {"Abort"}
        self.server = FaultServer(Rules(min_part_size=1, granted=granted, **ways))
        self.server.start()

    @rule(target=runs, shape=SHAPES, version=VERSIONS, named=st.booleans(), machine=MACHINES, faults=FAULTS)
    def deliver(self, shape: Shape, version: Version, *, named: bool, machine: int, faults: list[Any]) -> Run:
        """Deliver something new, perhaps to a key that others use too."""
        named = named or shape.key is None or bool(shape.manifest)
        number = len(self.made)
        run = Run(number, _with_suffix(shape), f"r-{number}" if named else None)
        self.made.append(run)
        self._try_run(run, version, machine, faults)
        return run

    @rule(run=runs, change=CHANGE, machine=MACHINES, faults=FAULTS)
    def rerun(self, run: Run, change: str, machine: int, faults: list[Any]) -> None:
        """Deliver it again, with the data of its first attempt or with other data."""
        self._try_run(run, CHANGES[change](run.delivered or run.versions[0]), machine, faults)

    @rule(number=st.integers(0, 9), faults=FAULTS)
    def recover(self, number: int, faults: list[Any]) -> None:
        """Recover a journal: publish what it lists."""
        # What can be drawn must not depend on what happened, or a schedule can't be repeated.
        if not (found := self._journals()):
            return
        machine, journal = found[number % len(found)]
        act = partial(mc_sink.recover, journal.run_id, target=journal.target, storage_options=self._options())
        self._step(self._run_of(journal), None, machine, faults, act)

    @rule(number=st.integers(0, 9), faults=FAULTS)
    def discard(self, number: int, faults: list[Any]) -> None:
        """Discard what a journal lists and isn't visible."""
        # What can be drawn must not depend on what happened, or a schedule can't be repeated.
        if not (found := self._journals()):
            return
        machine, journal = found[number % len(found)]
        self._on(machine)
        self._plan(faults)
        before = Seen(self.server)
        try:
            left = mc_sink.recover(
                journal.run_id, target=journal.target, action="discard", storage_options=self._options()
            )
            self.told += left
        except SinkError as error:
            self.told.append(_words(error))
        self._check(before, [], f"discard {journal.run_id}")

    @rule(run=runs, file=st.integers(-1, 3))
    def stranger(self, run: Run, file: int) -> None:
        """Put another writer's object where a file of a run belongs, or its manifest."""
        self._intrude((run.manifest if file < 0 else run.name(file)) or run.name(0))

    @rule(number=st.integers(0, 9))
    def owner(self, number: int) -> None:
        """Abort an upload as the bucket's owner may, at any time."""
        if pending := self.server.pending_uploads(self.server.bucket):
            self._abort(pending[number % len(pending)].upload_id)

    @rule(fault=struck())
    def fault(self, fault: Struck) -> None:
        """Plan a fault for some later request."""
        self._strike(fault)

    @rule()
    def heal(self) -> None:
        """Clear all planned faults."""
        self.server.heal()

    def teardown(self) -> None:
        """Deliver every run that is not blocked, without faults: one copy of each stays, and every upload is known."""
        try:
            if self.intact and hasattr(self, "server"):
                self.server.heal()
                for run in self.made:
                    self._end(run)
                for machine, journal in self._journals():
                    self._on(machine)
                    options = self._options() | {"config_kwargs": {}}
                    self.told += mc_sink.recover(
                        journal.run_id, target=journal.target, action="discard", storage_options=options
                    )
                self._check_pending("in the end")
                assert not self._journals()
        finally:
            if hasattr(self, "server"):
                self.server.stop()
            logging.getLogger("mc_sink").removeHandler(self._listener)
            logging.getLogger("mc_sink").setLevel(logging.NOTSET)
            self._patch.undo()
            self._folder.cleanup()

    def _end(self, run: Run) -> None:
        seen = Seen(self.server)
        if run.strays or any(run.owns(key) for key in self.strangers):
            return
        versions = [version for version in dict.fromkeys(run.versions[::-1]) if seen.fits(run, version)]
        if not versions:
            assert run.shape.key, f"{run} is visible as a mixture of {run.versions}"
            assert run.delivered is None, f"{run} was delivered and is no more what it was"
            return
        version = run.delivered or versions[0]
        if run.run_id is None and run.name(0) in seen:
            return
        self._try_run(run, version, 0, [], {"config_kwargs": {}})
        (attempt,) = self.attempts
        assert isinstance(attempt.outcome, Receipt), f"{run} can't be ended: {attempt.outcome!r}"

    # --- One step

    def _try_run(
        self, run: Run, version: Version, machine: int, faults: list[Any], options: dict[str, Any] | None = None
    ) -> None:
        run.versions.append(version)
        self._step(run, version, machine, faults, partial(self._sink, run, version, options or {}))

    def _sink(self, run: Run, version: Version, options: dict[str, Any]) -> Receipt:
        storage = self._options() | {"default_block_size": run.shape.part_size} | options
        return mc_sink.sink_madconnect(
            frame_of(version), run.target, storage_options=storage, **run.shape.options(run.run_id)
        )

    def _step(
        self, run: Run, version: Version | None, machine: int, faults: list[Any], act: Callable[[], Receipt]
    ) -> None:
        """Run one step of a run, and compare what is visible then with its outcome."""
        self.intact = False
        self._on(machine)
        self.attempts = []
        self.under_way = (run, version or run.versions[0])
        before = Seen(self.server)
        self._plan(faults)
        logged = len(self.server.log)
        self._attempt(run, version, act)
        self.under_way = None
        assert self.server.wait_until_idle(), "a request never ended"
        self.trail = " ".join(_line(record) for record in [*self.server.log][logged:])
        note(f"    {self.trail}")
        for one in self.attempts:
            note(f"    {one.run} {one.version} → {type(one.outcome).__name__}: {one.outcome}")
            event(type(one.outcome).__name__)
        self._check(before, self.attempts, repr(run))
        self.intact = True

    def _attempt(self, run: Run, version: Version | None, act: Callable[[], Receipt]) -> None:
        outcome: Receipt | SinkError
        try:
            outcome = act()
        except SinkError as error:
            outcome = error
            self.told.append(_words(error))
        self.attempts.append(Attempt(run, version, outcome))

    def _check(self, before: Seen, attempts: list[Attempt], what: str) -> None:
        assert self.server.destroyed(self.server.bucket) == [], f"an Abort destroyed an object: {self.trail}"
        seen = Seen(self.server)
        for key, data in before.objects.items():
            assert seen.objects.get(key) == data, f"{key} was replaced by {what}"
        for key in set(seen) - set(before) - self.strangers:
            assert self._is_accounted_for(key, seen, attempts), (
                f"{key} became visible by {what}, and nothing says so: {self.trail}"
            )
        for attempt in attempts:
            self._note_strays(attempt, attempts)
        for attempt in attempts:
            self._check_outcome(attempt, seen, before)
        for run in self.made:
            if run.delivered is not None:
                assert seen.shows(run, run.delivered, but=self.strangers), f"{run} is no longer {run.delivered}"
        self._check_pending(what)

    def _is_accounted_for(self, key: str, seen: Seen, attempts: list[Attempt]) -> bool:
        return any(
            seen.is_file(one.run, version, key) or seen.is_manifest(one.run, version, key)
            for one in attempts
            if one.may_show(key)
            for version in one.versions
        )

    def _note_strays(self, late: Attempt, attempts: list[Attempt]) -> None:
        for first in attempts:
            if isinstance(first.outcome, Receipt) and isinstance(late.outcome, CommitError) and first.version:
                committed = {url.removeprefix("s3://bucket/") for url in late.outcome.committed}
                late.run.strays |= committed - set(first.run.files(first.version))

    def _check_outcome(self, attempt: Attempt, seen: Seen, before: Seen) -> None:
        run, outcome = attempt.run, attempt.outcome
        if isinstance(outcome, Receipt):
            # A recovery publishes the files of its journal, also when others put files beside them; and what they put
            # there while a run goes on, it can't have seen.
            others = self.strangers if attempt.version is None else self.strangers - set(before)
            shown = [version for version in attempt.versions if seen.shows(run, version, but=others)]
            assert shown, f"{run} succeeded with {attempt.versions}, and that isn't what is visible"
            assert outcome.num_rows == len(shown[-1])
            assert [file.path for file in outcome.files] == [f"s3://bucket/{key}" for key in run.files(shown[-1])]
            run.delivered = shown[-1]
            return
        if isinstance(outcome, CommitError):
            there = {url.removeprefix("s3://bucket/") for url in outcome.committed}
            assert there <= set(seen), f"{there} is reported as visible"
            some = "some" if outcome.committed else "nothing"
            assert outcome.visible == ("unknown" if isinstance(outcome, CommitUnknown) else some), outcome
            assert str(outcome).endswith(outcome.visibility), outcome
        elif attempt.version is None and outcome.visible == "unknown":
            # A recovery whose store hides what is in an object can't know what the attempt before it has published.
            assert self.server.rules.etags not in {"s3", "empty"}, outcome
            assert str(outcome).endswith(outcome.visibility), outcome
        else:
            assert NOTHING.search(str(outcome)), outcome

    def _check_pending(self, what: str) -> None:
        """Find every upload that is still open in a journal, or named in a message."""
        files = [
            file
            for _, journal in self._journals()
            for file in (*journal.superseded, *(file for part in journal.staged for file in part.all_files))
        ]
        noted = {file.upload.upload_id for file in files if isinstance(file.upload, Multipart)}
        said = "\n".join(self.told)
        named = {record.upload_id for record in self.server.log}
        # An upload whose Create was never answered can't be named; on a slow machine that needs no fault.
        lost = any(one.fault for one in self.server.log.of("Create")) or "TimeoutError" in said
        for one in self.server.pending_uploads(self.server.bucket):
            if one.upload_id in noted or one.upload_id in said or one.upload_id in self.server.store.completed:
                continue
            unheard = one.upload_id not in named and lost
            assert unheard, (
                f"the upload {one.upload_id[:3]} of {one.key} is open after {what}, and nothing says so: {self.trail}"
            )

    # --- Others

    def _plan(self, faults: list[Any]) -> None:
        for fault in faults:
            if isinstance(fault, Struck):
                self._strike(fault)
            else:
                self.server.fault(fault.op, Call(partial(self._meanwhile, fault)), n=fault.n)

    def _strike(self, fault: Struck) -> None:
        """Plan a fault, but no refusal of listings by a store that ignores the condition.

        Nothing protects a key there. The receipt says "unproven", which is documented and has tests of its own.
        """
        rules = self.server.rules
        ignores = "ignored" in {rules.if_none_match_on_put, rules.if_none_match_on_complete}
        if not (ignores and fault.op == "List" and fault.do in REFUSING):
            fault.strike(self.server)

    def _meanwhile(self, what: Meanwhile, request: Request) -> None:
        """Run another writer's action in the server's thread, while our request waits.

        A store that ignores the condition replaces what appears between the listing and the request: that window is
        documented, and no other writer comes in it here.
        """
        rules = self.server.rules
        ignoring = {"Put": rules.if_none_match_on_put, "Complete": rules.if_none_match_on_complete}
        if ignoring.get(request.op) == "ignored":
            return
        if what.who in {"owner", "owner and stranger"} and request.upload_id:
            self._abort(request.upload_id)
        if what.who in {"stranger", "owner and stranger"} and request.key:
            self._intrude(request.key)
        if what.who in {"the same data", "other data"} and self.under_way:
            run, version = self.under_way
            version = CHANGES["same" if what.who == "the same data" else "fewer"](version)
            run.versions.append(version)
            # A delivery that publishes keeps others on this machine waiting, so those come from another machine.
            here = os.environ[STATE_DIR]
            if request.op in {"Put", "Complete"}:
                self._on(2)
            self._attempt(run, version, partial(self._sink, run, version, {}))
            self._patch.setenv(STATE_DIR, here)

    def _intrude(self, key: str) -> None:
        if key not in self.server.store.bucket(self.server.bucket):
            self.strangers.add(key)
            self.server.put_foreign(self.server.bucket, key, STRANGERS)

    def _abort(self, upload_id: str) -> None:
        self.server.store.uploads.pop(upload_id, None)

    # --- Where things are

    def _options(self) -> dict[str, Any]:
        return self.server.storage_options | {"config_kwargs": {"read_timeout": READ_TIMEOUT}, "max_concurrency": 2}

    def _on(self, machine: int) -> None:
        self._patch.setenv(STATE_DIR, str(Path(self._folder.name, str(machine))))

    def _journals(self) -> list[tuple[int, Journal]]:
        found = []
        for machine in (0, 1, 2):
            self._on(machine)
            found += [(machine, journal) for journal in list_journals()]
        return found

    def _run_of(self, journal: Journal) -> Run:
        matching = [run for run in self.made if run.target == journal.target]
        return next((run for run in matching if run.run_id == journal.run_id), matching[-1])


class _Listener(logging.Handler):
    """Keeps what the library's log says."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())


def _with_suffix(shape: Shape) -> Shape:
    from dataclasses import replace

    return replace(shape, key=f"{shape.key}.{shape.format}") if shape.key else shape


def _line(record: Record) -> str:
    """Write one request of the log in short: what, of which file, which upload, and how it ended."""
    upload = f"/{record.upload_id[:3]}" if record.upload_id else ""
    return f"{record.op}:{record.key.rpartition('/')[2]}{upload}={record.status}{'!' * bool(record.fault)}"


def _words(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", ())])
