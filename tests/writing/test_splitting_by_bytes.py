"""Files of at most so many bytes: the bound holds for what is stored, and files are worth their number."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError, UploadError
from mc_sink.writing.splitting import BISECTIONS, ESTIMATES, LEAST, ReplayableRows, RowCountSearch
from tests.servers.faults import FOREVER, Status
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, failing_once, numbers
from tests.support.staged_files import read_file, show, stage_files
from tests.support.versions import raised_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from mc_sink.staged import StagedFile
    from tests.servers.fault import FaultServer

RUNS = 50


def hexadecimal(dice: random.Random, lengths: Sequence[int]) -> list[str]:
    """Make texts of these lengths that don't compress away."""
    return [dice.randbytes(length // 2 + 1).hex()[:length] for length in lengths]


def generated(dice: random.Random, rows: int) -> pl.DataFrame:
    """Make rows of even or changing size: alike, noise, growing, shrinking, in blocks, or a few that are huge."""
    kind = dice.choice(["even", "noise", "growing", "shrinking", "blocks", "huge", "wide"])
    if kind == "wide":
        return pl.DataFrame({f"c{n}": [dice.randrange(1000) for _ in range(rows)] for n in range(20)})
    lengths = {
        "noise": [24] * rows,
        "growing": [1 + 100 * row // rows for row in range(rows)],
        "shrinking": [100 - 99 * row // rows for row in range(rows)],
        "huge": [min(2000, int(20 * dice.paretovariate(1))) for _ in range(rows)],
    }
    texts = hexadecimal(dice, lengths.get(kind, [8] * rows))
    if kind == "blocks":
        texts = [text * 8 if row * 5 // rows % 2 else "x" * 60 for row, text in enumerate(texts)]
    if kind == "even":
        texts = ["the same"] * rows
    return pl.DataFrame({"id": range(rows), "text": texts})


def check(files: Sequence[StagedFile], max_bytes: int, max_rows: int | None) -> None:
    """Hold files to their bounds: none is larger, and none but the last under half of what it may be."""
    assert max(file.num_bytes for file in files) <= max_bytes
    assert max_rows is None or max(file.num_rows for file in files) <= max_rows
    full = [file.num_bytes / max_bytes for file in files[:-1] if file.num_rows != max_rows]
    assert not full or median(full) >= LEAST


@pytest.mark.parametrize("format", FORMATS)
def test_no_file_exceeds_its_bound(tmp_path: Path, format: str) -> None:
    """Over 50 generated runs: sizes as promised and as on the disk, a header in each, and every row once, in order."""
    dice = random.Random(7)  # noqa: S311  a test's dice
    for run in range(RUNS):
        place = tmp_path / str(run)
        frame = generated(dice, dice.randrange(300, 2_500))
        max_bytes = int(10 ** dice.uniform(3.8, 5))
        max_rows = dice.randrange(100, 1_500) if run % 5 == 0 else None
        row_group_size = dice.choice([500, 100_000])
        files = stage_files(
            frame, f"{place}/", format, max_bytes=max_bytes, max_rows=max_rows, row_group_size=row_group_size
        )
        check(files, max_bytes, max_rows)
        show(files, f"{place}/")
        assert [Path(file.path).name[-len(f"-00000.{format}") :] for file in files] == [
            f"-{number:05d}.{format}" for number in range(len(files))
        ]
        assert [Path(file.path).stat().st_size for file in files] == [file.num_bytes for file in files]
        parts = [read_file(file) for file in files]
        assert [part.height for part in parts] == [file.num_rows for file in files]
        assert pl.concat(parts).equals(as_text(frame, format))


def tail(number: int) -> pl.DataFrame:
    """Make small rows, one of which is large."""
    return pl.DataFrame({"n": range(500), "text": ["x" if n != number else f"{n:05d}" * 2_000 for n in range(500)]})


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_row_above_the_bound_ends_it(tmp_path: Path, format: str) -> None:
    """One row that no file could hold is an error that says how large it is and names the bound; nothing is left."""
    frame = tail(300).with_columns(pl.col("text") + pl.Series(hexadecimal(random.Random(1), [8_000] * 500)))  # noqa: S311  a test's dice
    told = r"alone takes [0-9,]+ bytes as \..*, and max_bytes_per_file is 4,096 .* Nothing became visible"
    with pytest.raises(ConfigurationError, match=told):
        stage_files(frame, f"{tmp_path}/", format, max_bytes=4_096)
    assert list(tmp_path.iterdir()) == []


def test_a_large_row_stands_alone(tmp_path: Path) -> None:
    """A row that fills a file nearly has one, and the rows around it have their own."""
    files = stage_files(tail(300), f"{tmp_path}/", "csv", max_bytes=10_015)
    assert 1 in [file.num_rows for file in files]
    assert sum(file.num_rows for file in files) == 500


@pytest.mark.parametrize("format", FORMATS)
def test_no_file_is_needlessly_small(tmp_path: Path, format: str) -> None:
    """Where rows get smaller and smaller, a file of less than half its bound is encoded again with more of them."""
    noise = hexadecimal(random.Random(1), [4 + 4_000 // (row + 1) for row in range(4_000)])  # noqa: S311  a test's dice
    files = stage_files(pl.DataFrame({"text": noise}), f"{tmp_path}/", format, max_bytes=5_000)
    assert len(files) > 3
    assert min(file.num_bytes for file in files[:-1]) >= LEAST * 5_000


@pytest.mark.parametrize("format", FORMATS)
def test_a_bound_below_the_header_is_an_error(tmp_path: Path, format: str) -> None:
    """A file that is above the bound without any rows can't be helped."""
    with pytest.raises(ConfigurationError, match=r"without any rows takes .* max_bytes_per_file is 10 "):
        stage_files(numbers(10), f"{tmp_path}/", format, max_bytes=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows_are_one_file(tmp_path: Path, format: str) -> None:
    """An empty frame is delivered as a header."""
    (file,) = stage_files(numbers(0), f"{tmp_path}/", format, max_bytes=10_000)
    assert file.num_rows == 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_makes_the_same_files(tmp_path: Path, format: str) -> None:
    """However the query deals its rows out, files are cut at the same rows, and have the same bytes."""
    frame = generated(random.Random(3), 5_000)  # noqa: S311  a test's dice
    runs = [
        stage_files(frame, f"{tmp_path}/", format, max_bytes=20_000, batch_rows=batch_rows)
        for batch_rows in (1_000, 1_000, 333, 5_000)
    ]
    facts = [[(file.path, file.num_rows, file.checksum) for file in run] for run in runs]
    assert len(facts[0]) > 2
    assert facts == [facts[0]] * len(facts)
    show(runs[0], f"{tmp_path}/")
    again = stage_files(frame, f"{tmp_path}/", format, max_bytes=20_000, there=[file.path for file in runs[0]])
    assert [file.checksum for file in again] == [file.checksum for file in runs[0]]
    assert {type(file.upload).__name__ for file in again} == {"Present"}


def test_rows_are_told_once(tmp_path: Path) -> None:
    """Progress counts every row, however often its file is encoded, and bytes that never go back."""
    told: list[tuple[int, int]] = []
    frame = generated(random.Random(5), 4_000)  # noqa: S311  a test's dice
    stage_files(frame, f"{tmp_path}/", "csv", max_bytes=9_000, advance=lambda *rows: told.append(rows))
    assert sum(rows for rows, _ in told) == 4_000
    assert min(rows for rows, _ in told) >= 0


# Rows that are small until row 600,000, in text that doesn't compress: the first guess is far too many.
GROWING = pl.concat([numbers(300_000, 8), numbers(300_000, 96)], how="vertical")


def test_a_file_that_came_out_too_large_is_never_stored(fault_s3: FaultServer) -> None:
    """Of a file that is too large no byte beyond the bound is sent; its upload is aborted, and the next one holds."""
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options | SMALL_PARTS
    files = stage_files(GROWING, place, "csv", max_bytes=12 * 2**20, row_group_size=50_000, storage_options=options)
    assert max(file.num_bytes for file in files) <= 12 * 2**20
    assert len(fault_s3.log.of("Abort")) >= 1
    assert max(Counter(record.upload_id for record in fault_s3.log.of("Part")).values()) <= 3
    assert len(fault_s3.pending_uploads(fault_s3.bucket)) == len(files)
    show(files, place, options)
    sizes = [found.size for found in fault_s3.listing(fault_s3.bucket).values()]
    assert sizes == [file.num_bytes for file in files]
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_an_abort_that_is_refused_is_told(fault_s3: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    """Where a file that was too large can't be removed, the log says what is left, and the delivery goes on."""
    fault_s3.fault("Abort", Status(403, "AccessDenied"), times=FOREVER)
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options | SMALL_PARTS
    stage_files(GROWING, place, "csv", max_bytes=12 * 2**20, row_group_size=50_000, storage_options=options)
    assert "encoded again to keep max_bytes_per_file. The upload" in caplog.text


@pytest.mark.parametrize("at", ["Part", "source"])
def test_whatever_fails_leaves_nothing(fault_s3: FaultServer, tmp_path: Path, at: str) -> None:
    """Files that were staged before are thrown away, as is the one that was made, and no row stays on the disk."""
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    frame: pl.LazyFrame = numbers(40_000).lazy()
    if at == "Part":
        fault_s3.fault("Part", Status(400, "EntityTooSmall"), n=5, times=FOREVER)
    else:
        frame = failing_once(numbers(1_000), lambda: len(fault_s3.log.of("Part")) > 3, MemoryError("full"))
    with pytest.raises(UploadError if at == "Part" else raised_for(MemoryError)) as raised:
        stage_files(frame, place, "csv", max_bytes=100_000, folder=str(tmp_path), storage_options=options)
    notes = getattr(raised.value, "__notes__", ())
    assert any("Nothing became visible" in text for text in (str(raised.value), *notes))
    assert len(fault_s3.log.of("Part")) > 3
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    assert list(tmp_path.iterdir()) == []


def batches(frame: pl.DataFrame, rows: int) -> Generator[pl.DataFrame, None, None]:
    """Deal a frame out."""
    yield from frame.iter_slices(rows)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=20))
def test_rows_are_taken_again_until_they_are_dropped(steps: list[tuple[int, int]]) -> None:
    """However rows are taken and dropped, in memory or on the disk, each comes in its place."""
    frame = numbers(100)
    with ReplayableRows(batches(frame, 7), None, held_bytes=1_000) as held:
        done = 0
        for take, drop in steps:
            taken = pl.concat([frame.clear(), *held.take(take)])
            assert taken.equals(frame[done : done + take])
            assert held.ends_with(taken.height) == (done + taken.height == 100)
            done += min(drop, taken.height)
            held.drop(min(drop, taken.height))


curves: st.SearchStrategy[Callable[[int], int]] = st.one_of(
    st.builds(lambda size: lambda rows: rows * size, st.integers(1, 200)),
    st.builds(lambda size: lambda rows: int(size * rows**0.5), st.integers(1, 500)),
    st.builds(lambda size: lambda rows: int(size * rows**2), st.floats(0.01, 5)),
    st.builds(lambda jump: lambda rows: rows + (900 if rows > jump else 0), st.integers(0, 2_000)),
)


@given(curves, st.integers(1, 2_000), st.floats(0.01, 1_000))
def test_the_search_ends_with_a_file_that_fits(size: Callable[[int], int], most: int, guess: float) -> None:
    """For rows of any size, a few attempts find a number of them that fits, or that one alone doesn't."""
    search = RowCountSearch(1_000, 20, guess, most)
    for _ in range(ESTIMATES + BISECTIONS + 12):
        rows = search.num_rows
        assert 1 <= rows <= most
        search.record(rows, 20 + size(rows))
        if search.is_full or (rows == 1 and not search.fits):
            break
    assert search.fits == (20 + size(rows) <= 1_000)
    assert search.fits or rows == 1


def test_a_number_of_rows_that_fitted_may_fit_no_longer() -> None:
    """An encrypted file of the same rows has another size each time: then fewer rows are tried, down to one."""
    search = RowCountSearch(1_000, 20, 150)
    for rows, num_bytes in ((2, 420), (3, 1_100), (2, 1_050)):
        search.record(rows, num_bytes)
        assert not search.is_full
    assert search.num_rows == 1
    search.record(1, 300)
    assert search.is_full
