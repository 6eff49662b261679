"""Every store × every format × every size × what may happen: whole and verified, or refused in time with what helps.

A cell holds if it ends in one of two ways:

- **whole**: a receipt exists, every row is there once, each file has the receipt's size and ETag, and it verifies;
- **refused**: nothing became visible, no part was stored, and the error names an option; with that option, a second
  delivery is whole.

An error that says it isn't known whether something is visible may come in between, once: a rerun must end it.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitUnknown, Receipt, SinkError, platforms
from mc_sink.storage.s3 import bucket, endpoint
from mc_sink.storage.s3.part_plan import PartPlan
from tests.servers.fault import FaultServer
from tests.servers.faults import Call, FlipByte, Reset
from tests.servers.profiles import PROFILES, Profile
from tests.support.frames import FORMATS, as_text, numbers, read_back
from tests.support.keyrings import installed
from tests.support.small_deliveries import RUN, options
from tests.support.stores_page import PAGE, check_row, lines_of, row, title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mc_sink.sink.options import FormatName
    from tests.servers.operations import Request

Size: TypeAlias = Literal["small", "parts", "growing", "several"]
Deed: TypeAlias = Literal["deliver", "rerun", "lost", "taken", "race", "corrupt"]
Cell: TypeAlias = tuple[str, Size, Deed]
SIZES: Final = get_args(Size)
DEEDS: Final = get_args(Deed)
FRAME: Final = numbers(45)
# A machine that is busy must not look like a store that doesn't answer.
PATIENT: Final = {"read_timeout": 10}
WHEN_REQUIRED: Final = {"config_kwargs": {"request_checksum_calculation": "when_required"}}
# An option that an error may name, and what a delivery is asked for then.
HELPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "if_exists": {"if_exists": "overwrite"},
    "request_checksum_calculation": {"storage_options": WHEN_REQUIRED},
    "default_block_size": {"storage_options": {"default_block_size": 4_000}},
}


@dataclass(slots=True)
class Stage:
    """One store, with deliveries of one format and size to it."""

    server: FaultServer
    profile: Profile
    format: FormatName
    size: Size
    folder: Path

    @property
    def publishes(self) -> str:
        """The operation that makes the first data file visible."""
        return "Put" if self.size == "small" else "Complete"

    @property
    def key(self) -> str:
        """The key of the first data file."""
        return f"p/{RUN}-00000.{self.format}" if self.size == "several" else f"p/all.{self.format}"

    def deliver(self, more: Mapping[str, Any] | None = None) -> Receipt:
        """Deliver the frame."""
        asked = dict(more or {})
        several = self.size == "several"
        given = options(self.server, 100_000 if self.size == "small" else 400)
        config = PATIENT | asked.get("storage_options", {}).get("config_kwargs", {})
        asked["storage_options"] = given | asked.get("storage_options", {}) | {"config_kwargs": config}
        return mc_sink.sink_madconnect(
            FRAME,
            self.server.writer.target("p/" if several else self.key),
            format=self.format,
            run_id=RUN,
            max_rows_per_file=15 if several else None,
            progress=False,
            **asked,
        )

    def attempt(self, more: Mapping[str, Any] | None = None) -> Receipt | SinkError:
        """Deliver, and return the receipt or the error."""
        try:
            return self.deliver(more)
        except SinkError as error:
            return error

    def assert_whole(self, receipt: Receipt) -> None:
        """Fail unless the receipt is true, and every row is there once."""
        server = self.server
        found = {server.writer.target(key): one for key, one in server.listing(server.bucket, "p/").items()}
        for file in (*receipt.files, *receipt.closing):
            there = found[file.path]
            # A file that an earlier delivery made may have no ETag in the receipt of a later one.
            assert (there.size, there.etag) == (file.num_bytes, file.etag or there.etag)
        read = [
            read_back(
                server.read(server.bucket, file.path.removeprefix(server.writer.target())), self.format, self.folder
            )
            for file in receipt.files
        ]
        assert pl.concat(read).equals(as_text(FRAME, self.format))
        assert receipt.verify().ok
        assert mc_sink.list_journals() == []

    def assert_refused_in_time(self, error: SinkError) -> None:
        """Fail unless nothing was stored, and the option that the error names makes the delivery whole."""
        server = self.server
        assert not isinstance(error, CommitUnknown), error
        assert not server.listing(server.bucket, "p/"), error
        assert not [part for part in server.log.of("Part") if part.status == 200], error
        named = [more for option, more in HELPS.items() if option in str(error)]
        assert named, f"names no option that helps: {error}"
        outcomes = [self.attempt(more) for more in named]
        receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        assert receipts, outcomes
        self.assert_whole(receipts[0])

    @property
    def hides(self) -> bool:
        """Whether the store's ETags of such objects show nothing of what is in them."""
        return self.profile.rules.etags in {"unlike", "opaque"} and self.size != "small"

    def assert_overwriting_ends(self, error: SinkError) -> None:
        """Fail unless an object that can't be identified is not treated as this run's, and the way out is named."""
        assert self.hides, error
        assert 'if_exists="overwrite"' in str(error)
        self.assert_whole(self.deliver(HELPS["if_exists"]))

    def assert_ends_well(self, outcome: Receipt | SinkError) -> None:
        """Fail unless a delivery that nothing disturbed is whole, or was refused in time."""
        if isinstance(outcome, Receipt):
            self.assert_whole(outcome)
        else:
            self.assert_refused_in_time(outcome)


def deliver(stage: Stage) -> None:
    """Deliver, and let nothing disturb it."""
    stage.assert_ends_well(stage.attempt())


def rerun(stage: Stage) -> None:
    """Deliver twice under the same run id: the first delivery is found, and stays.

    Where the store hides what is there, it stays too, and the error says how to go on.
    """
    first = stage.attempt()
    if not isinstance(first, Receipt):
        stage.assert_refused_in_time(first)
        return
    before = dict(stage.server.store.bucket(stage.server.bucket))
    again = stage.attempt()
    if stage.hides:
        assert isinstance(again, AlreadyExistsError), again
        assert "may be the same as this attempt" in str(again)
        assert dict(stage.server.store.bucket(stage.server.bucket)) == before
        stage.assert_overwriting_ends(again)
        return
    assert isinstance(again, Receipt), again
    stage.assert_whole(again)
    assert again.num_found == again.num_files
    assert dict(stage.server.store.bucket(stage.server.bucket)) == before


def lost(stage: Stage) -> None:
    """Lose the reply to the request that publishes: it is settled at once, or by recovery or a rerun.

    Where the store hides what is there, it stays unknown once, and the error says what ends that.
    """
    stage.server.fault(stage.publishes, Reset(), when="after")
    outcome = stage.attempt()
    stage.server.heal()
    if stage.hides and isinstance(outcome, SinkError):
        assert isinstance(outcome, CommitUnknown)
        stage.assert_overwriting_ends(outcome)
        return
    for _ in range(2):
        if isinstance(outcome, CommitUnknown):
            with suppress(SinkError):
                mc_sink.recover(RUN, storage_options=options(stage.server))
            outcome = stage.attempt()
    stage.assert_ends_well(outcome)


def taken(stage: Stage) -> None:
    """Deliver to a key where another writer's object stands: it stays."""
    stage.server.put_foreign(stage.server.bucket, stage.key, b"foreign")
    outcome = stage.attempt()
    assert isinstance(outcome, AlreadyExistsError), outcome
    assert stage.server.read(stage.server.bucket, stage.key) == b"foreign"
    assert list(stage.server.listing(stage.server.bucket)) == [stage.key]


def race(stage: Stage) -> None:
    """Let another writer's object come to the key with our request.

    It stays, or the store reads over the condition, and the receipt says that a window was open for it.
    """

    def theirs(request: Request) -> None:
        if request.key == stage.key:
            stage.server.put_foreign(stage.server.bucket, stage.key, b"foreign")

    stage.server.fault(stage.publishes, Call(theirs))
    outcome = stage.attempt()
    if isinstance(outcome, AlreadyExistsError):
        assert stage.server.read(stage.server.bucket, stage.key) == b"foreign"
    elif isinstance(outcome, Receipt):
        (replaced,) = [file for file in outcome.files if file.path == stage.server.writer.target(stage.key)]
        assert replaced.create_only == "listing", "another writer's object was replaced, and the receipt hides it"
        assert "a window of one request remained" in str(outcome)
    else:
        stage.server.heal()
        stage.server.store.bucket(stage.server.bucket).pop(stage.key, None)
        stage.assert_refused_in_time(outcome)


def corrupt(stage: Stage) -> None:
    """Alter a byte of the first body on its way: nothing wrong is ever visible."""
    stage.server.fault("Put" if stage.size == "small" else "Part", FlipByte(1))
    stage.assert_ends_well(stage.attempt())


DO: Final[Mapping[str, Callable[[Stage], None]]] = {
    "deliver": deliver,
    "rerun": rerun,
    "lost": lost,
    "taken": taken,
    "race": race,
    "corrupt": corrupt,
}
CELLS: Final = [(profile.name, size, deed) for profile, size, deed in product(PROFILES, SIZES, DEEDS)]
NAMES: Final = [profile.name for profile in PROFILES]
BY_NAME: Final = {profile.name: profile for profile in PROFILES}


@contextmanager
def staged(name: str, size: Size, format: FormatName, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Start the store of a cell; parts are a few bytes long, and of one size unless they are to grow."""
    plan = partial(PartPlan, min_size=1, doubles_every=1 if size == "growing" else 900)
    patch.setattr(bucket, "PartPlan", plan)
    if BY_NAME[name].rules.equal_parts:  # R2 is known by its host, and the server has another
        patch.setattr(endpoint, "EQUAL_PARTS", "127.0.0.1")
    with FaultServer(BY_NAME[name].tiny()) as server:
        yield Stage(server, BY_NAME[name], format, size, folder)


def formats_of(cell: Cell) -> tuple[FormatName, ...]:
    """Return all formats for a plain delivery, and one for all else, so that each meets each."""
    name, size, deed = cell
    turn = NAMES.index(name) + SIZES.index(size) + DEEDS.index(deed)
    return FORMATS if deed == "deliver" else (FORMATS[turn % len(FORMATS)],)


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_delivery_is_whole_or_refused_in_time(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every store, there never is a receipt that isn't true, nor an end that stays unknown."""
    name, size, deed = cell
    for format in formats_of(cell):
        with staged(name, size, format, tmp_path, monkeypatch) as stage:
            DO[deed](stage)


@pytest.mark.parametrize("name", NAMES)
def test_a_check_says_what_a_delivery_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured is reported where deliveries are whole; elsewhere report and page name an option that helps."""
    outcomes = []
    sizes: tuple[Size, ...] = ("small", "parts")
    for size in sizes:
        with staged(name, size, "csv", tmp_path, monkeypatch) as stage:
            outcomes.append(stage.attempt())
    with installed(), staged(name, "parts", "csv", tmp_path, monkeypatch) as stage:
        key = stage.server.writer.credentials
        platform = platforms.Platform(
            name="acme", access_key_id=key.key, secret_access_key=key.secret, endpoint=stage.server.url
        )
        report = platforms.check(platform, stage.server.writer.target("p/"), leaving="an object")
    rules = BY_NAME[name].rules
    refused = [one for one in rules.refusals if one.header == "if-none-match"]
    ignored = "ignored" in {rules.if_none_match_on_put, rules.if_none_match_on_complete}
    errors = [outcome for outcome in outcomes if not isinstance(outcome, Receipt)]
    assert (report.status == "Configured") == (not errors), report
    kept = all(report[question].stands for question in ("If-None-Match", "If-None-Match of uploads"))
    assert kept == (not refused and not ignored), report
    helps = [option for option in HELPS if any(option in str(error) for error in errors)]
    if errors:
        assert any(option in str(report) for option in HELPS), report
    check_row(row(BY_NAME[name], report, helps))


def test_the_page_has_a_line_for_each_store() -> None:
    """In the order of the profiles, and none for a store that has none."""
    titles = [title_of(line) for line in lines_of(PAGE.read_text(encoding="utf-8"))]
    assert titles == [profile.title for profile in PROFILES]
