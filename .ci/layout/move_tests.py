"""Move the tests into folders, after move.py: `python3 move_tests.py CHECKOUT` (move.py runs it, too)."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from engine import Finder, Source, apply, bound_in, rename_edits, string_tokens  # noqa: E402
from table_tests import BY_PREFIX, FOLDERS, TESTS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = {"__init__", "conftest"}


def plan(root: Path, note: Callable[[str, str], None]) -> dict[str, str]:
    """Old name → new path, for every file directly in tests/."""
    moves = {}
    for path in sorted((root / "tests").glob("*.py")):
        if path.stem in KEPT:
            continue
        if path.stem in TESTS:
            moves[path.stem] = TESTS[path.stem]
            continue
        prefix = max((one for one in BY_PREFIX if path.stem.startswith(one)), key=len, default=None)
        folder = f"{BY_PREFIX[prefix]}/" if prefix else ("" if path.stem.startswith("test_") else "support/")
        moves[path.stem] = f"{folder}{path.stem}"
        note("A TEST FILE NOT IN THE TABLE: placed by guess", f"{path.name} → {moves[path.stem]}.py")
    return moves


def text_of(text: str, moves: dict[str, str]) -> str:
    """Rewrite the names of test files in any text: dotted, as paths, and as docs/faults.md writes them."""
    text = re.sub(r"(?<![\w.])tests\.(\w+)\b", lambda m: f"tests.{moves.get(m[1], m[1]).replace('/', '.')}", text)
    text = re.sub(r"\btests/(\w+)\.py\b", lambda m: f"tests/{moves.get(m[1], m[1])}.py", text)
    return re.sub(r"`(test_\w+)\.py(?=::|`)", lambda m: f"`{moves.get(m[1], m[1])}.py", text)


def imports_of_modules(text: str, moves: dict[str, str]) -> str:
    """`from tests import children`, and what is then asked of it."""
    source, tree, edits, renames = Source(text), ast.parse(text), [], {}
    bound = bound_in(ast.Module(tree.body, [])) | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "tests":
            lines = []
            for alias in node.names:
                new = moves.get(alias.name, alias.name)
                folder, _, leaf = new.rpartition("/")
                local = alias.asname or (leaf if leaf not in bound else alias.name)
                renames[alias.asname or alias.name] = local
                package = f"tests.{folder.replace('/', '.')}" if folder else "tests"
                lines.append(f"from {package} import {leaf}" + (f" as {local}" if local != leaf else ""))
            edits.append((*source.span(node), ("\n" + " " * node.col_offset).join(lines)))
    if renames:
        finder, tokens = Finder(), string_tokens(source)
        for node in tree.body:
            for ref in finder.statement(node):
                new = renames.get(ref.name, ref.name)
                if new != ref.name:
                    edits += rename_edits(source, tokens, ref, ref.name, new, False)
    return apply(text, edits)


def deeper(text: str, by: int) -> str:
    """Count the parents of `__file__` from where it is now."""
    if not by:
        return text
    text = re.sub(r"(?<!pathlib\.)Path\(__file__\)\.parents\[(\d+)\]", lambda m: f"Path(__file__).parents[{int(m[1]) + by}]", text)
    return re.sub(r"(?<!pathlib\.)Path\(__file__\)\.parent\b(?!s)", f"Path(__file__).parents[{by}]", text)


def main(root: Path, note: Callable[[str, str], None]) -> None:
    moves = plan(root, note)
    tests = root / "tests"
    texts: dict[Path, str] = {}
    for folder in ("tests", "benchmarks", "notebooks", "mc_sink"):
        for path in sorted((root / folder).rglob("*.py")):
            old = path.read_text()
            text = old
            new = path
            if path.parent == tests and path.stem in moves:
                new = tests / f"{moves[path.stem]}.py"
                text = deeper(text, moves[path.stem].count("/"))
            text = text_of(imports_of_modules(text, moves) if folder != "mc_sink" else text, moves)
            if path.name == "test_fault_table.py":
                text = text.replace(r"(test_\w+\.py)::", r"([\w/]*test_\w+\.py)::")
            if (new, text) != (path, old):
                texts[new] = text
                path.unlink()
    for pattern in ("docs/**/*.md", "*.md", "notebooks/*.ipynb", "Makefile", "pyproject.toml"):
        for path in root.glob(pattern):
            if path.name != "CHANGELOG.md" and (text := text_of(path.read_text(), moves)) != path.read_text():
                texts[path] = text
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in sorted({moved.rpartition("/")[0] for moved in moves.values()} - {""}):
        init = tests / folder / "__init__.py"
        if not init.exists():
            package = root / "mc_sink" / folder
            words = FOLDERS.get(folder, f"Tests of `mc_sink.{folder}`." if package.exists() else f"Tests of {folder}.")
            init.write_text(f'"""{words}"""\n')
    names = [path.name for path in tests.rglob("test_*.py")]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        note("A PERSON: two test files of one name", twice)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), lambda kind, text: print(f"{kind}: {text}"))
