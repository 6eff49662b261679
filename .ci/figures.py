"""Print how large the package's parts are, and how they hang together: `python .ci/figures.py [CHECKOUT …]`.

With several checkouts, a column for each: before and after. Only the standard library is used, and nothing is imported.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PACKAGE = "mc_sink"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Tree(NamedTuple):
    """The modules of a checkout by their dotted names: their texts, and those parsed."""

    texts: dict[str, str]
    parsed: dict[str, ast.Module]


def read(root: Path) -> Tree:
    """Read every module of the package."""
    texts = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        texts[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return Tree(texts, {name: ast.parse(text) for name, text in texts.items()})


def imports(tree: Tree, module: str) -> dict[str, tuple[str, str]]:
    """Return what a module imports of the package: local name → (module, name); the name is "" for a module itself."""
    found = {}
    for node in ast.walk(tree.parsed[module]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                meant = (whole, "") if whole in tree.texts else (str(node.module), alias.name)
                found[alias.asname or alias.name] = meant
    return found


def importers(tree: Tree, *, through: bool) -> Counter[str]:
    """Count for each module the others that import it; `through` looks through what only hands a name on."""
    table = {module: imports(tree, module) for module in tree.texts}
    used = {
        module: {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)}
        for module, parsed in tree.parsed.items()
    }
    pairs = set()
    for module, found in table.items():
        for local, (home, name) in found.items():
            if through and local not in used[module] and f'"{local}"' in tree.texts[module]:
                continue  # it is exported from here, and not used
            here, asked = home, name
            while through and asked and asked in table.get(here, {}):
                here, asked = table[here][asked]
            pairs.add((module, here))
    return Counter(home for module, home in pairs if home != module)


def of_one_user(tree: Tree, *, through: bool) -> list[str]:
    """Return the modules that exactly one other imports; looking through packages, they are not counted themselves."""
    counts = importers(tree, through=through)
    packages = {module.rpartition(".")[0] for module in tree.texts} if through else set()
    return sorted(module for module in tree.texts if counts[module] == 1 and module not in packages)


def used_once(tree: Tree) -> tuple[int, int]:
    """Return how many private functions at the top of a module are named once in it, and their total."""
    once = total = 0
    for parsed in tree.parsed.values():
        names = Counter(node.id for node in ast.walk(parsed) if isinstance(node, ast.Name))
        private = [node.name for node in parsed.body if isinstance(node, FUNCTIONS) and node.name.startswith("_")]
        once += sum(names[name] == 1 for name in private)
        total += len(private)
    return once, total


def bodies(tree: Tree) -> dict[str, int]:
    """Return the lines of every function's body, without its docstring."""
    found = {}
    for module, parsed in tree.parsed.items():
        for node in ast.walk(parsed):
            if isinstance(node, FUNCTIONS):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body:
                    found[f"{module}.{node.name}"] = (body[-1].end_lineno or 0) - body[0].lineno + 1
    return found


def figures(root: Path) -> dict[str, str]:
    """Return the figures of a checkout, by what they count."""
    tree = read(root)
    lengths = {module: len(text.splitlines()) for module, text in tree.texts.items()}
    inner = bodies(tree)
    once, total = used_once(tree)
    longest, largest = max(lengths, key=lengths.__getitem__), max(inner, key=inner.__getitem__)
    return {
        "files": str(len(lengths)),
        "lines": str(sum(lengths.values())),
        "lines in a file": str(sum(lengths.values()) // len(lengths)),
        "files that one other imports": str(len(of_one_user(tree, through=False))),
        "  looking through re-exports": str(len(of_one_user(tree, through=True))),
        "private functions": str(total),
        "  used once": f"{once} ({once / max(total, 1):.0%})",
        "largest file": f"{lengths[longest]} {longest.removeprefix(PACKAGE + '.')}",
        "largest body": f"{inner[largest]} {largest.removeprefix(PACKAGE + '.')}",
    }


def main(roots: list[Path]) -> None:
    """Print a table with a column for each checkout."""
    columns = [figures(root) for root in roots]
    for row in columns[0]:
        print(f"{row:30}", *(f"{column[row]:42}" for column in columns))


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]] or [Path(__file__).parents[1]])
