"""docs/receivers.md has every value of the presets, and the page of every number; its examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.formats import options_of
from mc_sink.presets import PRESETS

if TYPE_CHECKING:
    from mc_sink.formats import Format
    from mc_sink.presets import Limit, Preset

DOCS = (Path(__file__).parents[2] / "docs" / "receivers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_the_docs_have_every_number_with_its_page(preset: Preset) -> None:
    """The preset's section has a line for each limit and no others, and the values that it cuts and names files by."""
    section = re.split(r"^## ", DOCS, flags=re.MULTILINE)
    (own,) = [text for text in section if text.startswith(f"`{preset.name}`")]
    rows = [line for line in own.splitlines() if re.match(r"\| .* <https://", line)]
    assert rows == [line_of(limit) for limit in preset.limits]
    for option in ("max_rows_per_file", "max_bytes_per_file"):
        number = getattr(preset, option)
        assert (f"| `{option}` |" in own) == (number is not None)
        assert number is None or f"| `{option}` | {number:,} |" in own
        assert number is None or number in {limit.value for limit in preset.limits}
    assert preset.file_name is None or f"| `name` | `{preset.file_name}` |" in own
    assert preset.manifest is None or f'| `manifest` | `"{preset.manifest}"` |' in own
    written = [line for line in own.splitlines() if line.startswith("| `format` |")]
    assert written == [f"| `format` | `{shown(dialect)}` |" for dialect in preset.dialects]


def shown(dialect: Format) -> str:
    """Give a dialect's options that aren't the defaults, as the docs have them."""
    ours, usual = options_of(dialect), options_of(type(dialect)())
    options = ", ".join(f"{name}={value!r}" for name, value in ours.items() if value != usual[name])
    return f"{type(dialect).__name__}({options})".replace("\\\\", "\\")


def line_of(limit: Limit) -> str:
    """Give the line that a limit has in the docs."""
    text = limit.shown.replace("|", "\\|")  # a bar ends a cell of a table
    shown = f"`{text}`" if isinstance(limit.value, str) else f"{limit.shown} {limit.unit}"
    shown += ", with a warning" if limit.is_soft else ""
    where = ", ".join(f"`{extension}`" for extension in limit.formats) or "all"
    return f"| {limit.name} | {shown} | {where} | <{limit.source}> |"


def test_every_preset_has_a_section_and_its_name_in_the_list() -> None:
    """No receiver is missing, none is there that isn't."""
    assert re.findall(r"^## `(\w+)`", DOCS, re.MULTILINE) == list(PRESETS)
    assert all(f'`"{name}"`' in DOCS.split("\n## ")[0] for name in PRESETS)


def test_every_kind_of_limit_is_explained() -> None:
    """The table of what is measured has each limit that a preset has."""
    explained = DOCS.split("| limit | what is measured |")[1].split("\n\n")[0]
    assert all(limit.name in explained for preset in PRESETS.values() for limit in preset.limits)


def test_the_example_of_a_preset_of_ones_own_runs() -> None:
    """It is the preset without one of its limits."""
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", DOCS, re.DOTALL)
    names: dict[str, Any] = {"mc_sink": SimpleNamespace(PRESETS=PRESETS)}
    exec(code, names)  # noqa: S102  the example of our own docs
    assert {limit.name for limit in {*PRESETS["redshift"].limits} - {*names["wide"].limits}} == {"cell size"}
