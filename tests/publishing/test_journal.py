"""The journal: its content, its permissions, and what happens when it can't be written or read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import CommitError, ConfigurationError, ObjectOptions, Staged, StagedFile, UploadError
from mc_sink.publishing import journal
from mc_sink.staged import Multipart, Part, Present, StagedRejects, Temporary, Whole
from tests.servers.faults import FOREVER, Call, Reset, Status
from tests.support.frames import numbers
from tests.support.small_deliveries import FRAME, RUN, data_files, deliver, options, seen

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

DENIED = Status(403, "AccessDenied")
NAME = f"{RUN}-{hashlib.sha256(b's3://bucket/p/').hexdigest()[:8]}"


pytestmark = pytest.mark.usefixtures("tiny")


def half(server: FaultServer, **how: Any) -> Path:
    """Deliver the first of three files, and give the journal of the rest."""
    server.fault("Complete", DENIED, n=2)
    with pytest.raises(CommitError):
        deliver(server, **how)
    server.heal()
    return Path(mc_sink.list_journals()[-1].path)


def staged(folder: Path, *uploads: Any, **changes: Any) -> Staged:
    """Stage something, and have it say of its files what is to be noted."""
    made = mc_sink.stage(FRAME, folder / "x.csv", run_id=RUN)
    mc_sink.discard([made])
    files = tuple(
        StagedFile(f"s3://bucket/p/{RUN}-{n:05d}.csv", n, 10 * n, f"crc32:{n:08x}", upload)
        for n, upload in enumerate(uploads)
    )
    return replace(made, files=files, **changes)


UPLOADS = {
    "upload": Multipart("bucket", "p/x.csv", "id", (Part(1, '"e1"', 5, "AAAA"), Part(2, '"e2"', 3, None))),
    "bytes": Whole("bucket", "p/x.csv", bytes(range(256)), {"ContentType": "text/csv", "Metadata": {"a": "b"}}),
    "no bytes": Whole("bucket", "p/x.csv", b"", {}),
    "hidden file": Temporary("/p/ä x.csv", "/p/.ä x.csv.0.partial"),
    "found": Present("e-1"),
    "found locally": Present(None),
}
OPTIONS = ObjectOptions(
    acl="private",
    sse="aws:kms",
    sse_kms_key_id="key-1",
    storage_class="GLACIER_IR",
    content_type="text/x",
    cache_control="no-cache",
    content_disposition="attachment",
    metadata={"feed": "audience"},
    tags={"team": "ads & more"},
)


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
def test_what_is_noted_is_read_back(tmp_path: Path, upload: Any) -> None:
    """Every kind of upload survives the disk as it was, with all facts of the delivery, to the microsecond."""
    rejects = StagedRejects(7, StagedFile("s3://bucket/bad/x.parquet", 7, 70, "crc32:00000007", upload))
    for changes in ({}, {"rejects": rejects, "manifest": "s3://b/m.json"}, {"object_options": OPTIONS}):
        made = staged(tmp_path, upload, *UPLOADS.values(), **changes)
        left = [file for file in made.files if isinstance(file.upload, Multipart | Temporary)]
        journal.write([made, made], left)
        found = journal.find(made.run_id, made.target)
        assert found is not None
        assert found.staged == (made, made)
        assert found.superseded == tuple(left)
        assert type(found.staged[0].files[0].upload) is type(upload)
        journal.remove([made])
        assert journal.find(made.run_id, made.target) is None


def test_the_columns_of_many_parts_are_noted_once(tmp_path: Path) -> None:
    """A thousand shares of a wide frame have the same columns; each part is read back with its own."""
    made = staged(tmp_path, UPLOADS["upload"])
    wide = replace(made.content, columns={f"column_{n}": "String" for n in range(2_000)})
    parts = [replace(made, content=wide)] * 100 + [made]
    journal.write(parts)
    found = journal.find(made.run_id, made.target)
    assert found is not None
    assert found.staged == tuple(parts)
    assert Path(found.path).stat().st_size < 300_000


def test_the_state_folder_is_its_owners_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a delivery makes it, whatever the umask lets others do."""
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path / "state"))
    before = os.umask(0)
    try:
        journal.prepare()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "state", tmp_path / "state" / "journals")]
    assert modes == [0o700, 0o700]


def test_only_its_owner_may_read_it(server: FaultServer, state: Path) -> None:
    """The journal and its list of what was sent have the mode 0600 and their folder 0700, and it holds nothing else."""
    path = half(server)
    sent = path.with_suffix(".sent")
    assert path.parent == state / "journals"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, sent, path.parent)] == [0o600, 0o600, 0o700]
    assert sorted(path.parent.iterdir()) == [path, sent]
    mc_sink.recover(RUN, storage_options=options(server))
    assert list(path.parent.iterdir()) == []


def test_no_secret_is_in_it(server: FaultServer) -> None:
    """Of the storage options nothing is noted, neither the key nor the secret nor the token; nor in its name."""
    given = options(server)
    path = half(server)
    text = path.name + path.read_text(encoding="utf-8")
    for secret in (given["key"], given["secret"], "read_timeout"):
        assert secret not in text
    assert RUN in text


def test_it_waits_only_while_something_is_published(server: FaultServer) -> None:
    """None waits before the first file is published, one waits at each request, and none at the end."""
    waiting: list[int] = []
    for op in ("Create", "Part"):
        server.fault(op, Call(lambda _: waiting.append(len(mc_sink.list_journals()))))
    deliver(server, run_id="early")
    assert waiting == [0, 0]
    for n in range(1, 5):
        server.fault("Complete", Call(lambda _: waiting.append(len(mc_sink.list_journals()))), n=n)
    deliver(server)
    assert waiting == [0, 0, 1, 1, 1, 1]
    assert mc_sink.list_journals() == []


BROKEN = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda _: b"",
    "no JSON": lambda _: b"\xff\xfe",
    "foreign": lambda _: b'{"staged": [], "superseded": []}',
    "another's": lambda _: b'[{"run_id": "r-1"}]',
    "newer": lambda text: text.replace(b'"upload_id"', b'"upload_name"'),
    "no number": lambda text: re.sub(rb'("seconds":)[0-9.e-]+', rb"\1NaN", text),
    "of another run": lambda text: text.replace(b'"run_id":"r-1"', b'"run_id":"r-2"'),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_journal_that_can_not_be_read_is_named(
    server: FaultServer, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Recovery, the list and a rerun name the file and say what to do; the rerun says so before its first byte."""
    path = half(server)
    path.write_bytes(broken(path.read_bytes()))
    before, pending, number = seen(server), server.pending_uploads(server.bucket), len(server.log)
    for call in (
        lambda: mc_sink.recover(RUN, storage_options=options(server)),
        lambda: deliver(server),
    ):
        with pytest.raises(ConfigurationError, match=r"The journal .* can't be read") as raised:
            call()
        assert str(path) in str(raised.value)
    assert mc_sink.list_journals() == []
    assert [raised.value.message] == [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert not {"Create", "Part", "Complete", "Put"} & {record.op for record in list(server.log)[number:]}
    assert (seen(server), server.pending_uploads(server.bucket)) == (before, pending)
    path.unlink()
    assert deliver(server).num_found == 1


@pytest.mark.parametrize("line", ['["id", "another"]', '["id", ["sent"]]', "7", "[" * 5_000, '[1, "sent"]'])
def test_a_list_of_what_was_sent_that_can_not_be_read_aborts_nothing(server: FaultServer, line: str) -> None:
    """An upload with an unknown word may be an object: discarding and rerunning name the file."""
    path = half(server).with_suffix(".sent")
    with path.open("a") as opened:
        opened.write(f"{line}\n")
    before, pending = seen(server), server.pending_uploads(server.bucket)
    for call in (
        lambda: mc_sink.recover(RUN, action="discard", storage_options=options(server)),
        lambda: deliver(server),
    ):
        with pytest.raises(mc_sink.SinkError, match=r"The journal .*\.sent can't be read"):
            call()
    assert seen(server) == before
    assert {one.upload_id for one in pending} <= {one.upload_id for one in server.pending_uploads(server.bucket)}


def test_a_journal_that_turns_bad_meanwhile_leaves_no_upload(server: FaultServer) -> None:
    """It is reported when all is staged, and nothing that this attempt has stored stays."""
    path = half(server)
    good, pending = path.read_bytes(), server.pending_uploads(server.bucket)
    server.fault("Create", Call(lambda _: path.write_bytes(b"[]")))
    with pytest.raises(ConfigurationError, match="can't be read"):
        deliver(server)
    assert server.pending_uploads(server.bucket) == pending
    path.write_bytes(good)
    assert mc_sink.recover(RUN, storage_options=options(server)).num_found == 1


def test_one_that_can_not_be_read_does_not_stand_in_the_way_of_others(server: FaultServer) -> None:
    """Another run, even one whose id begins alike, is recovered."""
    for path in [half(server, run_id=run_id) for run_id in (RUN, f"{RUN}-0", f"{RUN}0")][1:]:
        path.write_bytes(b"{}")
    assert mc_sink.recover(RUN, storage_options=options(server)).num_rows == 60


def test_two_targets_are_two_journals(server: FaultServer) -> None:
    """One run id to two prefixes: each waits on its own, and recovery asks which."""
    for to in ("a/", "b/"):
        server.fault("Complete", DENIED, n=2)
        with pytest.raises(CommitError):
            deliver(server, to=to)
        server.heal()
    assert [one.target for one in mc_sink.list_journals()] == [server.writer.target(to) for to in ("a/", "b/")]
    with pytest.raises(ConfigurationError, match=r"2 deliveries of run r-1 wait .* as target=: .*a/, .*b/"):
        mc_sink.recover(RUN, storage_options=options(server))
    with pytest.raises(ConfigurationError, match="has no journal"):
        mc_sink.recover(RUN, target=server.writer.target("c/"), storage_options=options(server))
    for to in ("b/", "a/"):
        receipt = mc_sink.recover(RUN, target=server.writer.target(to), storage_options=options(server))
        assert receipt.target == server.writer.target(to)
        assert len(seen(server, to)) == 4
    assert mc_sink.list_journals() == []


def test_a_folder_that_can_not_be_made_ends_it_before_the_first_byte(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a delivery could not be noted it isn't begun: not a single request, and the query isn't run."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path / "file" / "state"))
    frame = FRAME.lazy().map_batches(lambda _: pytest.fail("the query was run"), schema=FRAME.schema)
    with pytest.raises(UploadError, match="MC_SINK_STATE_DIR") as raised:
        deliver(server, frame)
    assert "Nothing became visible" in str(raised.value)
    assert len(server.log) == 0


@pytest.mark.parametrize("earlier", [False, True], ids=["first attempt", "second attempt"])
def test_a_journal_that_can_not_be_written_leaves_no_upload(server: FaultServer, state: Path, *, earlier: bool) -> None:
    """The disk fails between the first byte and the note: nothing visible, nothing left, and an older note stays."""
    path = half(server) if earlier else state / "journals"
    before, pending = seen(server), server.pending_uploads(server.bucket)
    blocking = state / "journals" / f"{NAME}.partial"
    server.fault("Create", Call(lambda _: (blocking / "x").mkdir(parents=True)))
    with pytest.raises(UploadError, match="The journal at") as raised:
        deliver(server)
    assert "Nothing became visible" in str(raised.value)
    assert (seen(server), server.pending_uploads(server.bucket)) == (before, pending)
    assert path.exists()
    (blocking / "x").rmdir()
    blocking.rmdir()
    assert deliver(server).num_rows == 60


def test_what_a_killed_process_left_while_it_wrote_is_no_obstacle(server: FaultServer, state: Path) -> None:
    """Half a note and a lock of a process that is no more don't keep a rerun from delivering."""
    (state / "journals").mkdir(parents=True)
    for suffix in ("partial", "lock"):
        (state / "journals" / f"{NAME}.{suffix}").write_bytes(b"half")
    deliver(server)
    assert list((state / "journals").iterdir()) == []


def test_the_folder_is_the_users_own_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder is named it is the one for the state of programs, which need not exist to be listed."""
    monkeypatch.delenv("MC_SINK_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in journal.folder().parents
    assert journal.folder().parts[-2:] == ("mc_sink", "journals")
    assert mc_sink.list_journals() == []
    assert not journal.folder().exists()


def test_the_list_is_in_the_order_of_time(server: FaultServer) -> None:
    """The oldest comes first, with the time when it was noted."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    for run_id in ("z", "a", "m"):
        half(server, run_id=run_id)
    found = mc_sink.list_journals()
    assert [one.run_id for one in found] == ["z", "a", "m"]
    assert all(began < one.noted_at < datetime.now(UTC) for one in found)


def test_a_file_that_is_kept_as_its_bytes_is_in_it(server: FaultServer) -> None:
    """A small object that no store has taken is rolled forward from the journal alone."""
    server.fault("Put", Reset("head"), times=FOREVER)
    with pytest.raises(mc_sink.CommitUnknown):
        deliver(server, numbers(3), part_size=2**20, max_rows_per_file=None)
    server.heal()
    assert mc_sink.recover(RUN, storage_options=options(server)).num_rows == 3
    assert len(server.read(server.bucket, f"p/{RUN}.csv")) > 0


def test_a_journal_of_an_earlier_version_is_rolled_forward(server: FaultServer) -> None:
    """It has no word of checksums and proofs: its uploads had the CRC32 of the whole, and no part is proven."""
    path = half(server)
    noted = json.loads(path.read_text())
    for part in noted["staged"]:
        for file in part["files"]:
            del file["upload"]["sums"]
            for one in file["upload"]["parts"]:
                del one["integrity"]
    path.write_text(json.dumps(noted))
    receipt = mc_sink.recover(RUN, storage_options=options(server))
    assert receipt.num_rows == 60
    assert receipt.verify().ok
    assert {file.integrity for file in receipt.files} <= {"crc32", "etag", "unproven"}
    assert server.pending_uploads(server.bucket) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda upload: upload | {"sums": "blake3"},
        lambda upload: upload | {"unheard_of": True},
        lambda upload: upload | {"parts": [upload["parts"][0] | {"integrity": "blake3"}]},
    ],
)
def test_a_journal_of_a_later_version_is_left_alone(server: FaultServer, change: Any) -> None:
    """A word that this version doesn't know is not guessed at: nothing is published, aborted or removed.

    So a version that doesn't know the checksum of an upload, or its field, leaves it to one that does.
    """
    path = half(server)
    noted = json.loads(path.read_text())
    for file in noted["staged"][0]["files"]:
        file["upload"] = change(file["upload"])
    path.write_text(json.dumps(noted))
    before, pending = seen(server), server.pending_uploads(server.bucket)
    for attempt in (lambda: mc_sink.recover(RUN, storage_options=options(server)), lambda: deliver(server)):
        with pytest.raises(ConfigurationError, match=r"The journal .* can't be read"):
            attempt()
    assert (seen(server), server.pending_uploads(server.bucket)) == (before, pending)
    assert path.exists()
    path.unlink()
    assert deliver(server).verify().ok
    assert len(data_files(server)) == 3


def test_a_large_part_size_puts_no_large_file_into_it(server: FaultServer) -> None:
    """The size of parts is a person's choice. A file of 17 MB is an upload of one part, and a rerun finds it."""
    sizes: list[int] = []
    for op in ("Put", "Complete"):
        server.fault(
            op, Call(lambda _: sizes.append(Path(mc_sink.list_journals()[0].path).stat().st_size)), times=FOREVER
        )
    frame = pl.DataFrame({"text": ["x" * 999]}).select(pl.col("text").repeat_by(17_000).explode())
    receipt = deliver(server, frame, to="p/x.csv", part_size=2**28)
    assert receipt.num_bytes > 2**24
    assert len(sizes) == 1
    assert sizes[0] < 2_000
    again = deliver(server, frame, to="p/x.csv", part_size=2**28)
    assert (again.num_found, again.files[0].etag) == (1, receipt.files[0].etag)
