"""Rename fields by table.ATTRIBUTES on a moved tree: `python3 attributes.py CHECKOUT`; mypy finds the uses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import table  # noqa: E402
from engine import Source, apply  # noqa: E402

ERROR = re.compile(r"^([\w/.]+\.py):(\d+):(\d+):(\d+):(\d+): error: (.*)$")
NO_ATTRIBUTE = re.compile(r'"(?:type\[)?(\w+)\]?" has no attribute "(\w+)"')
UNEXPECTED = re.compile(r'Unexpected keyword argument "(\w+)" for "(?:replace" of ")?(\w+)"')


def definitions(root: Path) -> int:
    """Rename in the classes themselves: fields, properties, and uses of `self`."""
    count = 0
    for path in (root / "mc_sink").rglob("*.py"):
        text = path.read_text()
        source, edits = Source(text), []
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ClassDef):
                continue
            names = {old: new for (owner, old), new in table.ATTRIBUTES.items() if owner == node.name}
            for inner in ast.walk(node) if names else ():
                if isinstance(inner, ast.AnnAssign) and inner in node.body and getattr(inner.target, "id", "") in names:
                    edits.append((*source.span(inner.target), names[inner.target.id]))
                elif isinstance(inner, ast.FunctionDef) and inner in node.body and inner.name in names:
                    at = source.text.index(inner.name, source.offset(inner.lineno, inner.col_offset) + 4)
                    edits.append((at, at + len(inner.name), names[inner.name]))
                elif isinstance(inner, ast.Attribute) and inner.attr in names and getattr(inner.value, "id", "") == "self":
                    end = source.span(inner)[1]
                    edits.append((end - len(inner.attr), end, names[inner.attr]))
            docstring = ast.get_docstring(node, clean=False)
            if names and docstring:
                start, end = source.span(node.body[0])
                new = text[start:end]
                for old, name in names.items():
                    new = new.replace(f"`{old}`", f"`{name}`")
                if new != text[start:end]:
                    edits.append((start, end, new))
        if edits:
            count += len(edits)
            path.write_text(apply(text, edits))
    return count


def uses(root: Path) -> int:
    """Rename where mypy says that the old name is not there any more."""
    mypy = [root / ".venv/bin/mypy", "--show-column-numbers", "--show-error-end", "--no-pretty", "--hide-error-context"]
    ran = subprocess.run(["nice", *mypy], cwd=root, capture_output=True, text=True, check=False)
    edits: dict[Path, list[tuple[int, int, str]]] = defaultdict(list)
    for line in ran.stdout.splitlines():
        if not (match := ERROR.match(line)):
            continue
        path, said = root / match[1], match[6]
        source = Source(path.read_text())
        # Columns of mypy begin at 1, and its ends are inclusive.
        start = source.offset(int(match[2]), int(match[3]) - 1)
        end = source.offset(int(match[4]), int(match[5]))
        if found := NO_ATTRIBUTE.search(said):
            new = table.ATTRIBUTES.get((found[1], found[2]))
            if new and source.text[start:end].endswith(f".{found[2]}"):
                edits[path].append((end - len(found[2]), end, new))
        elif found := UNEXPECTED.search(said):
            new = table.ATTRIBUTES.get((found[2], found[1]))
            inner = re.search(rf"\b{found[1]}(?==)", source.text[start:])
            if new and inner:
                edits[path].append((start + inner.start(), start + inner.end(), new))
    for path, ones in edits.items():
        path.write_text(apply(path.read_text(), ones))
    return sum(map(len, edits.values()))


def main(root: Path) -> None:
    print("definitions:", definitions(root))
    for _ in range(5):
        found = uses(root)
        print("uses:", found)
        if not found:
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
