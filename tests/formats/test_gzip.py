"""The compressor's threads: the same bytes for any number of them, and an error below them is never a short file."""

from __future__ import annotations

import gzip
import io
import threading

import polars as pl
import pytest
from isal.igzip_threaded import _ThreadedGzipWriter

from mc_sink import Csv, UploadError
from mc_sink.formats import OneRun
from mc_sink.formats.gzip import BLOCK_SIZE, gzip_into
from tests.support.format_readers import encoded

ROWS = pl.DataFrame({"n": range(500_000)}).with_columns(text=pl.col("n").hash().cast(pl.String))


class FullDisk(io.BytesIO):
    """A file that fails from a number of bytes on."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__()
        self.most, self.error = most, error

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write, or fail."""
        if self.tell() + len(data) > self.most:
            raise self.error
        return super().write(data)


@pytest.mark.parametrize("level", range(4))
def test_the_bytes_are_the_same_for_any_number_of_threads_and_any_pieces(level: int) -> None:
    """A machine with more cores writes the same file, and so does an engine that writes in other pieces."""
    text = encoded(Csv(), ROWS)
    found = set()
    for threads, size in ((1, 700_001), (2, BLOCK_SIZE + 50_000), (3, BLOCK_SIZE), (4, len(text)), (2, 30_011)):
        file = io.BytesIO()
        with gzip_into(file, level, threads=threads) as opened:
            for start in range(0, len(text), size):
                opened.write(text[start : start + size])
        found.add(file.getvalue())
    assert len(found) == 1
    assert gzip.decompress(found.pop()) == text


@pytest.mark.parametrize("num_bytes", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
def test_the_last_block_may_have_any_size(num_bytes: int) -> None:
    """None, a part of a block, or a whole one: the file has all bytes."""
    file, text = io.BytesIO(), bytes(range(256)) * (num_bytes // 256 + 1)
    compress(file, text[:num_bytes])
    assert gzip.decompress(file.getvalue()) == text[:num_bytes]


@pytest.mark.parametrize("size", [BLOCK_SIZE + 50_000, 300_000])
def test_every_thread_gets_as_many_bytes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks go to the threads in turns, so all blocks have to be of one size."""
    blocks: list[int] = []
    write = _ThreadedGzipWriter.write

    def noted(compressor: _ThreadedGzipWriter, data: bytes) -> int:
        blocks.append(len(data))
        return write(compressor, data)

    monkeypatch.setattr(_ThreadedGzipWriter, "write", noted)
    with gzip_into(io.BytesIO(), 1, threads=2) as opened:
        for _ in range(7 * BLOCK_SIZE // size):
            opened.write(bytes(size))
    assert set(blocks[:-1]) == {BLOCK_SIZE}
    assert 0 < blocks[-1] <= BLOCK_SIZE


class Stop(BaseException):
    """An exception that isn't an `Exception`, as those that end an engine."""


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("error", [OSError("disk full"), Stop("stopped"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("most", [0, 12, 1_000_000, 3_000_000])
def test_a_failing_write_below_the_compressor_is_raised(threads: int, error: BaseException, most: int) -> None:
    """At the header, in the middle, at the last block: the file's own error arrives, and no thread waits for ever."""
    before = threading.active_count()
    text = encoded(Csv(), ROWS)
    assert len(gzip.compress(text, 1)) > 3_000_000

    def write() -> None:
        with gzip_into(FullDisk(most, error), 2, threads=threads) as opened:
            for start in range(0, len(text), 300_000):
                opened.write(text[start : start + 300_000])

    with pytest.raises(type(error)) as raised:
        write()
    assert raised.value is error
    assert threading.active_count() == before


def compress(file: io.BytesIO, text: bytes, *, error: Exception | None = None) -> None:
    """Write a text through the compressor; with `error`, the query fails after it."""
    with gzip_into(file, 2) as opened:
        opened.write(text)
        if error is not None:
            raise error


def test_an_error_at_the_trailer_is_raised() -> None:
    """The last eight bytes count as all others."""
    whole = io.BytesIO()
    compress(whole, b"a" * 100)
    with pytest.raises(OSError, match="disk full"):
        compress(FullDisk(len(whole.getvalue()) - 1, OSError("disk full")), b"a" * 100)


def test_an_error_above_the_compressor_stays_itself() -> None:
    """The query's own error is not replaced by one of the compressor's."""
    with pytest.raises(ZeroDivisionError):
        compress(io.BytesIO(), b"a" * 5_000_000, error=ZeroDivisionError())


def test_bytes_that_the_compressor_lost_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size in the trailer is compared with what was written into the compressor."""
    monkeypatch.setattr("isal.igzip_threaded._ThreadedGzipWriter.write", lambda _self, data: len(data))
    with pytest.raises(UploadError, match="before it had all bytes"):
        compress(io.BytesIO(), b"a" * 5_000_000)


def test_a_delivery_ends_in_the_error_of_its_file() -> None:
    """Also with Polars' encoder above the compressor."""
    rows, file = OneRun(iter([ROWS]), ROWS.schema), FullDisk(2_000_000, OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        Csv(compression="gzip").write(rows, file, 100_000)
