"""Pandera's internals have one home, so that a new version of it is felt in one file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mc_sink"
HOME = PACKAGE / "validation" / "pandera_backend.py"
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if path != HOME]
# Modules that Pandera documents for users.
PUBLIC = {"pandera.polars", "pandera.errors", "pandera.config"}
# Attributes of Pandera's classes that its documentation for users doesn't have.
PRIVATE = {
    "REGISTERED_CUSTOM_CHECKS",
    "_check_fn",
    "_check_kwargs",
    "coerce_dtype",
    "collect_column_info",
    "collect_schema_components",
    "get_backend",
    "get_builtin_check_fn",
    "is_builtin_check",
    "register_backend",
    "run_check",
    "selector",
    "set_default",
    "strict_filter_columns",
}


def internals(path: Path) -> list[str]:
    """Return the lines of a file that name a private module or attribute of Pandera's."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pandera":
            found += [f"{node.lineno}: {node.module}"] if node.module not in PUBLIC else []
        elif isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
            found += [f"{node.lineno}: {name}" for name in modules - PUBLIC if name.split(".")[0] == "pandera"]
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            found.append(f"{node.lineno}: {node.attr}")
    return found


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_file_names_panderas_internals(path: Path) -> None:
    """Neither its private modules nor the attributes of its backends."""
    assert not internals(path)


def test_every_private_attribute_of_the_list_is_used_at_home() -> None:
    """A name that is not used any more leaves the list, and one that starts with an underscore is in it."""
    nodes = list(ast.walk(ast.parse(HOME.read_text("utf-8"))))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert used | defined >= PRIVATE
    assert {name for name in used if name.startswith("_") and not name.endswith("__")} <= PRIVATE
