"""docs/performance.md shows the tables that `benchmarks/limits.py` computes."""

from pathlib import Path

from benchmarks.limits import CORES, LINES, MEGABYTES, machines_table, parts, rate, tables

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def test_the_page_has_the_computed_tables() -> None:
    """A figure that was measured again reaches the page."""
    page = PAGE.read_text(encoding="utf-8")
    assert all(line in page for line in [*tables().splitlines(), *machines_table().splitlines()])


def test_no_machine_delivers_faster_than_its_line_or_its_cores() -> None:
    """More cores and a faster line never make it slower, and all processor time is spent on some core."""
    for format in MEGABYTES:
        for cores in CORES:
            made = [rate(format, cores, gigabits)[0] for gigabits in LINES]
            assert made == sorted(made)
            assert all(one <= gigabits * 125 for one, gigabits in zip(made, LINES, strict=True))
            assert max(made) * parts(format).total <= cores * MEGABYTES[format] * 1.001
        assert rate(format, 32, 10)[0] >= rate(format, 2, 10)[0]
