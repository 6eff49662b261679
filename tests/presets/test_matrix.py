"""The matrix of receivers and formats in docs/receivers.md: what was read by whom, and what documents alone say."""

from __future__ import annotations

import ast
from pathlib import Path

from mc_sink.formats import Csv
from mc_sink.presets import PRESETS, Preset

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
# The receiver's own reader, or the reader that its documents name as its own, and the test that runs it.
SPARK = "engines/test_spark_loads.py::test_spark_reads_what_was_delivered"
CLICKHOUSE = "engines/test_clickhouse.py::test_clickhouse_reads_what_was_delivered"
HIVE = "engines/test_spark_loads.py::test_hives_serdes_read_what_athenas_statement_declares"
OWN = {
    ("clickhouse", "csv"): ("ClickHouse", CLICKHOUSE),
    ("clickhouse", "csv.gz"): ("ClickHouse", CLICKHOUSE),
    ("clickhouse", "parquet"): ("ClickHouse", CLICKHOUSE),
    ("databricks", "csv"): ("Spark", SPARK),
    ("databricks", "csv.gz"): ("Spark", SPARK),
    ("databricks", "parquet"): ("Spark", SPARK),
    ("athena", "csv"): ("Hive's serde", HIVE),
    ("athena", "csv.gz"): ("Hive's serde", HIVE),
    ("athena", "parquet"): ("Hive's serde", HIVE),
}
# Kinds of file that no page was found for, though none excludes them.
NOT_KNOWN = {
    *(("marketing_cloud", "csv.gz"), ("braze", "csv.gz"), ("data_360", "csv.gz"), ("amc", "csv.gz")),
    *(("excel", "csv.gz"),),
}
KINDS = ("csv", "csv.gz", "parquet")


def cell(preset: Preset, kind: str) -> str:
    """Describe what is known of one kind of file."""
    if any(limit.name == "format" and f".{kind}" not in str(limit.value).split() for limit in preset.limits):
        return "refused"
    if not any(one.extension.startswith(f".{kind[:3]}") for one in preset.dialects) or (preset.name, kind) in NOT_KNOWN:
        return "not known"
    own = OWN.get((preset.name, kind))
    return f"read by {own[0]}" if own else "documents"


def table() -> str:
    """Return the matrix in Markdown."""
    rows = [f"| `{name}` | {' | '.join(cell(preset, kind) for kind in KINDS)} |" for name, preset in PRESETS.items()]
    return "\n".join(["| receiver | `.csv` | `.csv.gz` | `.parquet` |", "|---|---|---|---|", *rows])


def test_the_page_has_the_matrix() -> None:
    """Run `python -m tests.presets.test_matrix` for the rows to copy."""
    assert table() in (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")


def test_what_is_stated_to_be_read_here_has_a_test() -> None:
    """Each reader that the matrix names is run by a test of that name, in the preset's own dialect."""
    for (name, kind), (_, test) in OWN.items():
        file, _, function = test.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (name, kind)
        assert PRESETS[name].dialects
    dialects = (TESTS / "loading" / "test_statements_run.py").read_text(encoding="utf-8")
    assert '"preset": "clickhouse", "format": "csv"' in dialects
    assert '"preset": "databricks", "format": "csv.gz"' in dialects


def test_nothing_is_called_unknown_that_is_refused_or_missing() -> None:
    """A pair of the list is a kind of file that the preset writes."""
    for name, kind in NOT_KNOWN:
        assert name in PRESETS
        assert any(isinstance(one, Csv) for one in PRESETS[name].dialects), kind


if __name__ == "__main__":
    print(table())  # noqa: T201
