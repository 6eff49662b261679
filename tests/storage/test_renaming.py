"""Filesystems of fsspec that rename: a real FTP server, and the ones that are refused with words."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import (
    AlreadyExistsError,
    CommitError,
    CommitUnknown,
    ConfigurationError,
    SinkError,
    TargetError,
    UploadError,
)

with warnings.catch_warnings():
    # It uses asyncore, which Python 3.11 calls deprecated; later ones get it from a package.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = pl.DataFrame({"n": [1, 2, 3], "s": ["x", "y", None]})
TEXT = "n,s\n1,x\n2,y\n3,\n"
SECRET = "wJalrXUtnFEMI"
EVERYTHING, NO_RENAME, NO_DELETE = "elradfmw", "elradmw", "elrafmw"


@dataclass(frozen=True)
class Ftp:
    """An FTP server's address, the folder that it shows, and the class that answers its commands."""

    url: str
    folder: Path
    storage_options: dict[str, Any]
    door: Any

    def names(self) -> list[str]:
        """List everything that is there, hidden names too."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


@pytest.fixture
def ftp(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ftp]:
    """Give a real FTP server on loopback; a parameter says what its user may do."""
    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
    rights = DummyAuthorizer()
    rights.add_user("user", SECRET, str(tmp_path), perm=getattr(request, "param", EVERYTHING))
    door = type("Door", (FTPHandler,), {"authorizer": rights})
    with closing(FTPServer(("127.0.0.1", 0), door)) as server:
        host, port = server.address
        serving, ended = threading.Event(), threading.Event()

        def serve() -> None:
            serving.set()
            while not ended.is_set():
                server.serve_forever(timeout=0.01, blocking=False)

        thread = threading.Thread(target=serve)
        thread.start()
        serving.wait(5)
        yield Ftp(f"ftp://{host}:{port}/", tmp_path, {"username": "user", "password": SECRET}, door)
        ended.set()
        thread.join(5)
        server.close_all()


def deliver(ftp: Ftp, path: str, frame: Any = FRAME, **options: Any) -> mc_sink.Receipt:
    """Deliver to the server."""
    return mc_sink.sink_madconnect(frame, ftp.url + path, storage_options=ftp.storage_options, **options)


def test_a_file_is_delivered_whole(ftp: Ftp) -> None:
    """The server has the file and nothing beside it, and a listing confirms the receipt."""
    receipt = deliver(ftp, "in/x.csv")
    assert (ftp.folder / "in" / "x.csv").read_text() == TEXT
    assert ftp.names() == ["in", "in/x.csv"]
    assert receipt.num_bytes == len(TEXT)
    assert receipt.verify().ok
    assert mc_sink.verify(receipt, storage_options=ftp.storage_options).ok


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_a_prefix_gets_a_file_named_by_its_run(ftp: Ftp, format: str) -> None:
    """Each run adds a file."""
    for run_id in ("one", "two"):
        deliver(ftp, "in/", format=format, run_id=run_id)
    assert ftp.names() == ["in", f"in/one.{format}", f"in/two.{format}"]


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_several_files_are_stored_one_at_a_time(ftp: Ftp, format: str) -> None:
    """One connection carries one transfer, so that no file waits for another's, and the manifest comes last."""
    receipt = deliver(ftp, "in/", format=format, run_id="a", max_rows_per_file=1)
    assert [file.num_rows for file in receipt.files] == [1] * FRAME.height
    assert receipt.verify().ok
    names = [f"in/a-{part:05d}.{format}" for part in range(FRAME.height)]
    assert ftp.names() == ["in", "in/_manifests", "in/_manifests/a.json", *names]


def test_a_staged_file_is_hidden_until_it_is_published(ftp: Ftp) -> None:
    """Before: a hidden name; after: the file, published by what another program could have loaded from a pickle."""
    staged = mc_sink.stage(FRAME, f"{ftp.url}x.csv", storage_options=ftp.storage_options)
    (hidden,) = ftp.names()
    assert hidden.startswith(".x.csv.")
    mc_sink.publish([staged], storage_options=ftp.storage_options)
    assert ftp.names() == ["x.csv"]


def test_a_discarded_file_leaves_nothing(ftp: Ftp) -> None:
    """The hidden file is removed."""
    staged = mc_sink.stage(FRAME, f"{ftp.url}x.csv", storage_options=ftp.storage_options)
    assert mc_sink.discard([staged], storage_options=ftp.storage_options) == []
    assert ftp.names() == []


def failing() -> Iterator[pl.DataFrame]:
    """Give two batches and then fail."""
    yield FRAME
    yield FRAME
    raise ZeroDivisionError


def test_a_frame_that_fails_leaves_nothing(ftp: Ftp) -> None:
    """The source's own exception arrives with a note, and no file stays."""
    with pytest.raises(ZeroDivisionError) as raised:
        deliver(ftp, "x.csv", failing())
    assert any("Nothing became visible" in note for note in raised.value.__notes__)
    assert ftp.names() == []


def test_a_taken_name_is_refused_before_any_work(ftp: Ftp) -> None:
    """With a file there nothing is run, and the file stays byte for byte."""
    (ftp.folder / "x.csv").write_text("mine")
    frame = FRAME.lazy().map_batches(lambda _: pytest.fail("the query was run"), schema=FRAME.schema)
    with pytest.raises(AlreadyExistsError, match="stays as it was"):
        deliver(ftp, "x.csv", frame)
    assert (ftp.folder / "x.csv").read_text() == "mine"


def test_a_name_taken_in_mid_run_is_not_replaced(ftp: Ftp) -> None:
    """A file that appears while the rows stream is seen by the look before the rename, through no stale listing."""
    (ftp.folder / "in").mkdir()
    (ftp.folder / "in" / "other.csv").write_text("other")

    def batches() -> Iterator[pl.DataFrame]:
        yield FRAME
        (ftp.folder / "in" / "x.csv").write_text("foreign")
        yield FRAME

    with pytest.raises(AlreadyExistsError):
        deliver(ftp, "in/x.csv", batches())
    assert (ftp.folder / "in" / "x.csv").read_text() == "foreign"
    assert ftp.names() == ["in", "in/other.csv", "in/x.csv"]


def test_overwriting_replaces_the_file(ftp: Ftp) -> None:
    """Asked to overwrite, the new file takes the name."""
    (ftp.folder / "x.csv").write_text("old")
    deliver(ftp, "x.csv", if_exists="overwrite")
    assert (ftp.folder / "x.csv").read_text() == TEXT
    assert ftp.names() == ["x.csv"]


def test_verifying_looks_again(ftp: Ftp) -> None:
    """A file that changed its size is changed, and one that is gone is missing, for one that looked before too."""
    receipt = deliver(ftp, "x.csv")
    (path,) = [file.path for file in receipt.files]
    assert receipt.verify().ok
    (ftp.folder / "x.csv").write_text("short")
    assert receipt.verify().changed == (path,)
    (ftp.folder / "x.csv").unlink()
    assert receipt.verify().missing == (path,)


@pytest.mark.parametrize("ftp", [NO_RENAME], indirect=True)
def test_a_refused_rename_is_a_commit_error(ftp: Ftp) -> None:
    """A server that won't rename shows nothing, and the error names the file."""
    with pytest.raises(CommitError, match=r"x\.csv") as raised:
        deliver(ftp, "x.csv")
    assert raised.value.uncommitted == (f"{ftp.url}x.csv",)
    assert ftp.names() == []


LARGE = pl.DataFrame({"n": range(100_000)})  # several blocks of fsspec's


@pytest.mark.parametrize("options", [{}, {"max_rows_per_file": 50_000, "run_id": "a"}])
def test_a_server_that_keeps_the_last_block_alone_is_found(ftp: Ftp, options: Any) -> None:
    """It takes the place where a block begins, and writes from the start: nothing becomes visible."""
    ftp.door.ftp_REST = lambda self, _line: self.respond("350 Restarting at position 0.")
    with pytest.raises(UploadError, match=r"has [\d,]+ bytes, and [\d,]+ were written") as raised:
        deliver(ftp, "in/" if options else "in/x.csv", LARGE, format="csv", **options)
    assert raised.value.visible == "nothing"
    assert ftp.names() in ([], ["in"])


def test_a_file_cut_short_after_it_was_staged_is_not_published(ftp: Ftp) -> None:
    """Its size is compared right before the rename."""
    staged = mc_sink.stage(FRAME, f"{ftp.url}x.csv", storage_options=ftp.storage_options)
    (hidden,) = ftp.names()
    (ftp.folder / hidden).write_bytes(b"n,s\n1,x\n")
    with pytest.raises(CommitError, match=r"8 bytes, and \d+ were written") as raised:
        mc_sink.publish([staged], storage_options=ftp.storage_options)
    assert raised.value.visible == "nothing"
    assert not (ftp.folder / "x.csv").exists()


@pytest.mark.parametrize("if_exists", ["fail", "overwrite"])
@pytest.mark.parametrize("keeps", ["all", "the last block"])
def test_a_server_that_lists_no_hidden_names_is_looked_at_after_the_rename(
    ftp: Ftp, if_exists: Any, keeps: str
) -> None:
    """As vsftpd does: a whole file is delivered, and a file that was cut short gets no receipt."""
    listed = ftp.door.abstracted_fs.listdir
    seen = {"listdir": lambda self, path: [name for name in listed(self, path) if name[:1] != "."]}
    ftp.door.abstracted_fs = type("Shown", (ftp.door.abstracted_fs,), seen)
    if keeps == "all":
        assert deliver(ftp, "x.csv", LARGE, if_exists=if_exists).verify().ok
        return
    ftp.door.ftp_REST = lambda self, _line: self.respond("350 Restarting at position 0.")
    with pytest.raises(CommitUnknown, match=r"after its rename, it has [\d,]+ bytes"):
        deliver(ftp, "x.csv", LARGE, if_exists=if_exists)


def test_a_rename_that_was_only_said_to_be_done_is_no_success(ftp: Ftp) -> None:
    """As WebHDFS does: the hidden file is still there, and the server answered with success."""
    ftp.door.ftp_RNTO = lambda self, _path: self.respond("250 Renaming ok.")
    with pytest.raises(CommitError, match="answered that it was renamed, and it wasn't") as raised:
        deliver(ftp, "x.csv")
    assert raised.value.visible == "nothing"
    assert ftp.names() == []


def renames_first(*, answer: str | None) -> Any:
    """Return a command that renames, and then answers so, or breaks the connection."""

    def ftp_RNTO(self: Any, path: str) -> None:  # noqa: N802  the command's name
        self.fs.rename(self._rnfr, path)
        self._rnfr = None
        self.respond(answer) if answer else self.close()

    return ftp_RNTO


def test_a_rename_whose_reply_is_another_is_settled_by_a_look(ftp: Ftp) -> None:
    """The server renames and answers with a failure: the hidden file is gone and the file is there."""
    ftp.door.ftp_RNTO = renames_first(answer="451 Local error in processing.")
    receipt = deliver(ftp, "x.csv")
    assert (ftp.folder / "x.csv").read_text() == TEXT
    assert receipt.verify().ok


def test_a_rename_without_a_reply_is_unknown(ftp: Ftp) -> None:
    """The connection breaks, and nothing can be looked for through it."""
    ftp.door.ftp_RNTO = renames_first(answer=None)
    with pytest.raises(CommitUnknown) as raised:
        deliver(ftp, "x.csv")
    assert raised.value.visible == "unknown"
    assert ftp.names() == ["x.csv"]


@pytest.mark.parametrize("ftp", [NO_DELETE], indirect=True)
def test_a_refused_removal_is_told_and_hides_nothing(ftp: Ftp) -> None:
    """What the server won't remove is named in a note on the failure itself."""
    with pytest.raises(ZeroDivisionError) as raised:
        deliver(ftp, "x.csv", failing())
    (left,) = ftp.names()
    assert any(left in note for note in raised.value.__notes__)


def test_wrong_credentials_are_this_librarys_error(ftp: Ftp) -> None:
    """A login that is refused is caught by `except SinkError`, and its text holds no password."""
    with pytest.raises(SinkError) as raised:
        mc_sink.sink_madconnect(FRAME, f"{ftp.url}x.csv", storage_options={"username": "user", "password": "Wr0ng"})
    assert "Wr0ng" not in str(raised.value)


def test_the_root_is_no_file(ftp: Ftp) -> None:
    """A server without a path isn't a target for a file, and the error doesn't claim that something exists."""
    with pytest.raises(TargetError):
        mc_sink.sink_madconnect(FRAME, ftp.url.rstrip("/"), storage_options=ftp.storage_options)


@pytest.mark.parametrize(
    "url",
    [
        "memory://x/y.csv",
        "gs://bucket/y.csv",
        "az://box/y.csv",
        "https://host/y.csv",
        "zip://y.csv",
        "made-up://y/z.csv",
    ],
)
def test_what_publishes_while_it_writes_is_refused(url: str) -> None:
    """Filesystems that can't hide a file, or that are unknown, are refused by name, with those that work."""
    scheme = url.split(":", 1)[0]
    with pytest.raises(TargetError, match=rf"{scheme}://.*s3://, a local path, or one of sftp"):
        mc_sink.sink_madconnect(FRAME, url)


def test_a_refusal_repeats_no_query() -> None:
    """A signed URL given by mistake is refused without its signature."""
    with pytest.raises(TargetError) as raised:
        mc_sink.sink_madconnect(FRAME, f"https://bucket.example.com/x.csv?X-Amz-Signature={SECRET}")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "expected"), [("pasword", "Did you mean 'password'"), ("qwxyz", "It knows .*username"), ("key", "'key'")]
)
def test_an_unknown_storage_option_is_refused(name: str, expected: str) -> None:
    """The error names the option, the nearest one or all known ones, and never its value."""
    with pytest.raises(ConfigurationError, match=expected) as raised:
        mc_sink.sink_madconnect(FRAME, "ftp://127.0.0.1:1/x.csv", storage_options={name: SECRET})
    assert SECRET not in str(raised.value)


def test_object_options_are_for_s3() -> None:
    """An ACL that would be ignored is refused."""
    with pytest.raises(ConfigurationError, match="object_options are for S3"):
        mc_sink.sink_madconnect(FRAME, "ftp://127.0.0.1:1/x.csv", object_options=mc_sink.ObjectOptions(acl="private"))


@pytest.mark.parametrize("template", [None, "{run_id}/{part}{ext}", "{part}-{run_id}{ext}", "{date}/{run_id}-{part}"])
def test_a_rerun_finds_its_files_in_any_folder(ftp: Ftp, template: str | None) -> None:
    """Wherever a template puts them, they are compared, and none is delivered twice."""
    how: dict[str, Any] = {"name": template, "format": "csv", "run_id": "20261122T101530Z", "manifest": True}
    first, again = (deliver(ftp, "in/", **how) for _ in range(2))
    assert [file.path for file in again.files] == [file.path for file in first.files]
    assert again.num_found == 1
