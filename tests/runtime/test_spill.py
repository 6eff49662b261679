"""A spill: what was parked comes back whole, however large it is, or the disk's failure is an error."""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING

import polars as pl
import pytest

from mc_sink import UploadError
from mc_sink._runtime.kept_rows import copied
from mc_sink._runtime.spill import Spill
from tests.support.frames import numbers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
@pytest.mark.timeout(600)
def test_more_than_two_gigabytes_come_back_whole(tmp_path: Path) -> None:
    """One read of the system's returns 2 GiB less 4 KiB at most."""
    frame = pl.DataFrame({"id": range(2_200), "text": ["x" * 1_000_000] * 2_200})
    with Spill(str(tmp_path)) as spill:
        slot = spill.append(frame)
        assert slot.length > 2**31
        del frame
        found = spill.read(slot)
    assert found["id"].to_list() == list(range(2_200))
    assert found["text"].str.len_bytes().unique().to_list() == [1_000_000]


class Short(io.FileIO):
    """A file whose system reads and writes no more than 4 KiB at a time."""

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        """Read less than was asked for."""
        return super().readinto(memoryview(buffer)[:4_096])

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write less than was given."""
        return super().write(memoryview(data)[:4_096])


def test_short_reads_and_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a system does with more than 2 GiB, in small."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Short(str(tmp_path / "x"), "w+"))
    with Spill() as spill:
        slots = [spill.append(numbers(5_000)), spill.append(numbers(7))]
        assert [spill.read(slot).equals(numbers(size)) for slot, size in zip(slots, (5_000, 7), strict=True)] == [
            True
        ] * 2


def test_rows_that_are_not_there_any_more_are_an_error(tmp_path: Path) -> None:
    """Never fewer rows: a disk that lost some of them is an error."""
    with Spill(str(tmp_path)) as spill:
        slot = spill.append(numbers(5_000))
        assert spill._file is not None  # noqa: SLF001  the file has no name to damage it by
        os.ftruncate(spill._file.fileno(), slot.length - 1)  # noqa: SLF001  the same
        with pytest.raises(UploadError, match=r"could not be read back from .*: [\d,]+ of [\d,]+ bytes are left"):
            spill.read(slot)


def test_a_copy_is_the_same_and_holds_its_own_rows() -> None:
    """Of dtypes that Arrow has and those that only Polars has."""
    frame = numbers(1_000).with_columns(wide=pl.lit(1, pl.Int128), label=pl.lit("a").cast(pl.Categorical))
    assert copied(frame[10:20]).equals(frame[10:20])
