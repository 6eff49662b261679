"""Print the version of the package, which stands in mc_sink/__init__.py, without importing it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mc_sink" / "__init__.py"


def version() -> str:
    """Return the value of `__version__`."""
    for node in ast.parse(PACKAGE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise SystemExit(f"{PACKAGE} has no __version__.")


if __name__ == "__main__":
    sys.stdout.write(f"{version()}\n")
