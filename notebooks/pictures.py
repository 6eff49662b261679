"""The pictures of the README, made of what really runs: `make pictures`, or `python -m notebooks.pictures FOLDER`.

A terminal in which a platform is checked, a connection is run and the run is verified; and cells of the quickstart with
what they show. Both run against a server of their own. What differs from run to run, or belongs to the machine, is
replaced by something that is always the same, so that the same version gives the same bytes.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import mc_sink
from mc_sink import platforms
from mc_sink.sandbox import Sandbox
from mc_sink.testing import sample
from notebooks.drawing import MONO, draw

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 104
COMMANDS = (
    "mc-sink platforms check partner s3://their-bucket/exports/",
    "mc-sink run nightly.toml --run-id nightly-2026-11-22",
    "mc-sink verify nightly-2026-11-22",
)
CONNECTION = """\
target = "s3://their-bucket/exports/"
platform = "partner"
format = "csv.gz"
schema = "audience"
source.files = "audience.parquet"
"""
# What is never the same twice → what stands for it.
STABLE = (
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}"), "20261122T101530Z-4f2a9c"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, took [\d.]+ s"), "2026-11-22 10:15:30 UTC, took 0.84 s"),
    (re.compile(r"since \d{4}-\d\d-\d\d"), "since 2026-11-22"),
    (re.compile(r"bucket-[0-9a-f]{8}\b"), "acme"),
    (re.compile(r"crc32:[0-9a-f]{8}"), "crc32:64d4193e"),  # a Parquet file names its run
    (re.compile(r"\b[0-9a-f]{32}\b"), "f23bbf4b658eb853ece218114c921f92"),
    (re.compile(r"\bkey (\S{4})…\S{4}"), r"key \1…K7QD"),  # as long as it was, or the table would be another
    (re.compile(r"http://127\.0\.0\.1:\d+"), "https://s3.example.com"),
)
THEME = TerminalTheme(
    (24, 26, 31),
    (214, 217, 224),
    [(24, 26, 31), (240, 113, 120), (135, 200, 110), (232, 190, 98), (98, 165, 240), (198, 140, 235), (90, 200, 200),
     (214, 217, 224)],
)  # fmt: skip
# rich's own format loads fonts from elsewhere, which an image may not.
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: MONO; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>\
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("MONO", MONO)


def stable(text: str) -> str:
    """Give a text with what is never the same twice replaced."""
    for pattern, always in STABLE:
        text = pattern.sub(always, text)
    return text


def terminal(width: int = WIDTH) -> str:
    """Run the commands, and give what a terminal of this width shows as SVG."""
    console = Console(record=True, width=width, file=StringIO(), force_terminal=True, legacy_windows=False)
    sandbox = Sandbox()
    try:
        _prepare(sandbox)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(stable(_said(command, width))))
            console.print()
    finally:
        sandbox.close()
    return console.export_svg(title="mc-sink", theme=THEME, code_format=FORMAT, unique_id="terminal")


def _prepare(sandbox: Sandbox) -> None:
    """Yield a bucket of another account, a key for a prefix in it, and a connection to it."""
    sandbox.server.create_bucket("their-bucket")
    target = "s3://their-bucket/exports/"
    key = sandbox.server.create_user("export", mc_sink.policy(target))
    known: Any = {"access_key_id": key.key, "secret_access_key": key.secret, "endpoint": sandbox.server.url}
    platforms.save(
        platforms.Platform(name="partner", buckets=(target,), acl="bucket-owner-full-control", **known), store="file"
    )
    platforms.check("partner", target, leaving="an object")  # what the store takes is known from now on
    sample("audience", 100_000).sink_parquet("audience.parquet")
    Path("nightly.toml").write_text(CONNECTION, encoding="utf-8")


def _said(command: str, width: int) -> str:
    """Run a command as in a terminal of this width, and give what it printed for a person."""
    terminal = os.environ | {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    terminal.pop("NO_COLOR", None)
    run = subprocess.run(command.split(), capture_output=True, text=True, check=False, env=terminal)
    if run.returncode:
        raise SystemExit(f"{command} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout.rstrip("\n")


def notebook() -> str:
    """Run the cells of the quickstart that are to be seen, and give them with their outputs as SVG."""
    seen = seen_cells()
    return draw((cell.source, stable("".join(_shown(output) for output in cell.outputs))) for cell in seen)


def seen_cells() -> list[nbformat.NotebookNode]:
    """Run the quickstart, and give the cells that are to be seen with their outputs."""
    whole = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    whole.cells = [cell for cell in whole.cells if cell.metadata.get("tags")]
    asyncio.run(NotebookClient(whole, timeout=120, resources={"metadata": {"path": str(ROOT)}}).async_execute())
    return [cell for cell in whole.cells if "picture" in cell.metadata.tags]


def _shown(output: nbformat.NotebookNode) -> str:
    """Give an output's HTML; a progress bar has had its time."""
    return str(output.get("data", {}).get("text/html", "")) if output.output_type == "execute_result" else ""


def main(folder: Path = PICTURES, *names: str) -> None:
    """Make the pictures of these names in a folder, or both."""
    made = {"terminal": terminal, "notebook": notebook}
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or made:
        (folder / f"{name}.svg").write_text(made[name](), encoding="utf-8")
        print(folder / f"{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else PICTURES, *sys.argv[2:])
