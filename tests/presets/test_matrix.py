"""The matrix of receivers and formats in docs/receivers.md: what was read by whom, and what documents alone say."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mc_sink.formats import Csv, Parquet, options_of
from mc_sink.presets import PRESETS, Preset

ROOT = Path(__file__).parents[2]
# Written by `make test-engines`: what a reader found as it was delivered, with its version and the date.
READERS: dict[str, dict[str, Any]] = json.loads((ROOT / "tests/engines/readers.json").read_text(encoding="utf-8"))
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
    read = READERS.get(f"{preset.name} {kind}")
    if read is None or read["dialect"] != options_of(dialect_of(preset, kind)):
        return "documents"  # a dialect that has changed since was not read
    return f"read by {read['reader']}{', ' * bool(read['gap'])}{read['gap']}"


def dialect_of(preset: Preset, kind: str) -> Csv | Parquet:
    """Return the preset's dialect for a kind of file."""
    if kind == "parquet":
        return next(one for one in preset.dialects if isinstance(one, Parquet))
    csv = next(one for one in preset.dialects if isinstance(one, Csv))
    return replace(csv, compression="gzip" if kind == "csv.gz" else "uncompressed")


def table() -> str:
    """Return the matrix in Markdown."""
    rows = [f"| `{name}` | {' | '.join(cell(preset, kind) for kind in KINDS)} |" for name, preset in PRESETS.items()]
    return "\n".join(["| receiver | `.csv` | `.csv.gz` | `.parquet` |", "|---|---|---|---|", *rows])


def test_the_page_has_the_matrix() -> None:
    """Run `python -m tests.presets.test_matrix` for the rows to copy."""
    assert table() in (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")


def test_what_was_read_here_has_a_marked_test() -> None:
    """Each record of a read is that of a test that exists and has the mark of its receiver and kind of file."""
    for read in READERS.values():
        file, _, function = read["test"].partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        marks = [ast.unparse(node) for decorator in found.decorator_list for node in ast.walk(decorator)]
        start = f"pytest.mark.reads('{read['receiver']}', '{read['kind']}'"
        assert any(mark.startswith(start) for mark in marks), read["test"]


def test_a_dialect_that_was_not_read_is_not_called_read() -> None:
    """After a change of a preset's dialect the cell falls back to its documents, until a reader has read it."""
    preset = PRESETS["clickhouse"]
    csv = dialect_of(preset, "csv")
    assert isinstance(csv, Csv)
    changed = replace(preset, other_formats=(replace(csv, null_value="NULL"),))
    assert cell(preset, "csv").startswith("read by ClickHouse ")
    assert cell(changed, "csv") == cell(changed, "csv.gz") == "documents"
    assert cell(changed, "parquet") == cell(preset, "parquet")


def test_nothing_is_called_unknown_that_is_refused_or_missing() -> None:
    """A pair of the list is a kind of file that the preset writes."""
    for name, kind in NOT_KNOWN:
        assert name in PRESETS
        assert any(isinstance(one, Csv) for one in PRESETS[name].dialects), kind


if __name__ == "__main__":
    print(table())  # noqa: T201
