"""Stores of one process share nothing that a delivery has learnt or left behind, except for the clients."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mc_sink.storage
from mc_sink.storage.s3.http import http_session
from tests.support.versions import AIOBOTOCORE_SHARES_CERTIFICATES

FILES = sorted(Path(mc_sink.storage.__file__).parent.rglob("*.py"))
# botocore's descriptions of services: read-only files of the installed package. And the connections to stores, found by
# all that decides how they behave (test_shared_clients.py).
CACHED = {"_descriptions", "CLIENTS: Final = SharedClients()"}


def state_of(path: Path) -> list[str]:
    """Return what can hold state in a module: empty containers, caches, globals that are assigned, and instances."""
    tree = ast.parse(path.read_text("utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    stateful = {one.name for one in classes if any(getattr(part, "name", "") == "__init__" for part in one.body)}
    found = [name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names]
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        made = ast.unparse(value) if value else ""
        is_instance = isinstance(value, ast.Call) and ast.unparse(value.func) in stateful
        if (
            is_instance
            or made in {"{}", "[]", "set()", "dict()", "list()"}
            or "Weak" in made
            or made.startswith(("deque(", "Lock("))
        ):
            found.append(ast.unparse(node))
    for inner in ast.walk(tree):
        if isinstance(inner, ast.FunctionDef):
            decorators = {ast.unparse(one) for one in inner.decorator_list}
            found += [inner.name] if any("cache" in one for one in decorators - {"cached_property"}) else []
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_module_holds_state(path: Path) -> None:
    """An object with a clear life owns everything that changes."""
    assert set(state_of(path)) <= CACHED


def test_the_check_finds_state(tmp_path: Path) -> None:
    """Containers, caches, globals and instances are found."""
    path = tmp_path / "m.py"
    text = "a: dict[str, str] = {}\nb = set()\n@cache\ndef c():\n    global d\n    d = 1\n"
    path.write_text(f"{text}class E:\n    def __init__(self): ...\nf = E()\n", "utf-8")
    assert state_of(path) == ["d", "a: dict[str, str] = {}", "b = set()", "f = E()", "c"]


@pytest.mark.skipif(not AIOBOTOCORE_SHARES_CERTIFICATES, reason="each client of this aiobotocore reads them again")
def test_certificates_are_read_once_for_a_store_and_again_for_the_next() -> None:
    """A program that runs for long sees new certificates with its next client."""
    one, other = http_session(), http_session()
    contexts = [made()._build_verify_context() for made in (one, one, other)]  # noqa: SLF001  aiobotocore's hook
    assert contexts[0] is contexts[1]
    assert contexts[0] is not contexts[2]
