"""The house: which floor may know which, what has one home, how long a page may be, and which words are not used."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "mc_sink"
FILES = sorted(HOUSE.rglob("*.py"))
# From the door down; a floor imports only from floors below it, and rooms that share one don't know each other.
FLOORS = [
    {"mc_sink"},
    {"cli"},
    {"engines"},
    {"_namespace"},
    {"connections"},
    {"history"},
    {"_sink", "_preview"},
    {"_earlier"},
    {"_rows"},
    {"_order"},
    {"presets"},
    {"delivery"},
    {"_files"},
    {"_fork", "_progress"},
    {"platforms"},
    {"validation", "changes"},
    {"_batches"},
    {"_plan"},
    {"_regroup"},
    {"_arrow", "_spill"},
    {"_owned"},
    {"_worker"},
    {"formats"},
    {"storage"},
    {"names", "partitions"},
    {"target"},
    {"journal", "manifest", "_aliases"},
    {"staged"},
    {"_arns", "object_options", "receipt", "secret"},
    {"changed"},
    {"exceptions", "_late", "_meant", "_beside", "_state"},
    {"_html"},
    {"_printable"},
]
HEIGHT = {room: -number for number, rooms in enumerate(FLOORS) for room in rooms}
ONLY_HOME = {
    "pandera": "validation",
    "s3fs": "storage",
    "fsspec": "storage",
    "botocore": "storage",
    "igzip_threaded": "formats",
    "sink_csv": "formats",
    "sink_parquet": "formats",
    "sink_batches": "_batches",
    "register_io_source": "_plan",
    "getLogger": "_printable",
}
FORBIDDEN = {"chunk", "flush", "manager", "handler", "helper", "util", "context", "payload", "process"}
# The method that engines call on a file; the feed that is called so; a method of the HTTP library's that we override;
# what an exception was raised in the midst of; an option that has S3's own name.
ALLOWED = {"flush", "payload", "_payload", "_build_verify_context", "__context__", "sse_kms_encryption_context"}
MAX_FILE = 350
MAX_BODY = 40


class Import(NamedTuple):
    """One import of a module by another, with the line that it stands on."""

    importer: str
    imported: str
    line: int
    in_function: bool


def name_of(path: Path) -> str:
    """Give the dotted name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(module: str) -> str:
    """Give the room that a module is in: the part after the package, or the door itself."""
    return module.split(".")[1] if "." in module else module


def imports_of(path: Path) -> Iterator[Import]:
    """Give every import of a file, those for type checkers and those inside functions too."""
    inside = {
        id(node)
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name_of(path), alias.name, node.lineno, id(node) in inside)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(
                    name_of(path), whole if whole in MODULES else str(node.module), node.lineno, id(node) in inside
                )


OURS = [found for path in FILES for found in imports_of(path) if found.imported.split(".")[0] == "mc_sink"]


def told(found: Import) -> str:
    """Say where an import stands and what it imports."""
    return f"{found.importer}:{found.line} imports {found.imported}"


def functions() -> Iterator[tuple[str, int]]:
    """Give each function that has a body, with the lines of that body; its docstring is not counted."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body:
                    yield f"{name_of(path)}.{node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_every_room_has_a_floor() -> None:
    """A new room must be given its place before it can be imported from."""
    homeless = {room_of(module) for module in MODULES} - set(HEIGHT)
    assert not homeless, f"give these rooms a floor in FLOORS: {sorted(homeless)}"


def test_a_floor_imports_only_from_floors_below() -> None:
    """No import goes up, and none goes to a room on the same floor."""
    wrong = [
        told(found)
        for found in OURS
        if room_of(found.importer) != room_of(found.imported)
        and HEIGHT[room_of(found.importer)] <= HEIGHT[room_of(found.imported)]
    ]
    assert not wrong, "imports that don't go down:\n  " + "\n  ".join(wrong)


def test_a_room_is_entered_by_its_door() -> None:
    """What another room keeps in a file with an underscore is its own affair."""
    wrong = [
        told(found)
        for found in OURS
        if room_of(found.importer) != room_of(found.imported)
        and any(part.startswith("_") for part in found.imported.split(".")[2:])
    ]
    assert not wrong, "imports past a room's door:\n  " + "\n  ".join(wrong)


def test_there_is_no_import_cycle() -> None:
    """Not between rooms, not within one, and not for type checkers alone."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        graph[found.importer].add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail("a cycle: " + " → ".join(cycle.args[1]))


def test_no_import_of_ours_hides_in_a_function() -> None:
    """Heavy libraries may load when first needed; our own modules stand at the top."""
    wrong = [told(found) for found in OURS if found.in_function]
    assert not wrong, "imports of our own inside a function:\n  " + "\n  ".join(wrong)


@pytest.mark.parametrize(("name", "home"), ONLY_HOME.items())
def test_it_has_one_home(name: str, home: str) -> None:
    """A library, or an unstable call of one, is used in one room, so that a change of it is felt in one place."""
    wrong = []
    for path in FILES:
        if room_of(name_of(path)) == home:
            continue
        wrong += [told(found) for found in imports_of(path) if name in found.imported.split(".")]
        for node in ast.walk(tree(path)):
            used = (
                (isinstance(node, ast.Attribute) and node.attr == name)
                or (isinstance(node, ast.Name) and node.id == name)
                or (isinstance(node, ast.alias) and name in node.name.split("."))
            )
            if used:
                wrong.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')} uses {name}")
    assert not wrong, f"{name} is at home in {home}:\n  " + "\n  ".join(wrong)
    at_home = [path for path in FILES if room_of(name_of(path)) == home]
    assert any(name in path.read_text(encoding="utf-8") for path in at_home), f"{name} isn't used in {home} any more"


def test_no_batch_is_pulled_by_what_hides_a_panic() -> None:
    """`collect_batches` ends as if all rows had come when the engine panics, so nothing here may use it."""
    used = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"collect_batches", "collect_async"}
    ]
    assert not used, f"pull with mc_sink._batches.pull: {used}"


def test_files_are_short() -> None:
    """No file is longer than a reader's patience."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {name: length for name, length in lengths.items() if length > MAX_FILE}
    assert not long, f"files above {MAX_FILE} lines: {long}"


def test_functions_are_short() -> None:
    """No body is above 40 lines."""
    long = [f"{name}: {lines}" for name, lines in functions() if lines > MAX_BODY]
    assert not long, f"bodies above {MAX_BODY} lines:\n  " + "\n  ".join(long)


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Give every name that a file itself gives, with its line; names that libraries gave are not ours to choose."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def words(identifier: str) -> set[str]:
    """Split a name into its words, in lower case and the singular."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", identifier)
    return {word.lower() for word in found} | {word.lower().removesuffix("s") for word in found}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_one_word_for_one_thing(path: Path) -> None:
    """Names use the words of the field, and none of those that say nothing."""
    named = [*identifiers(path), (path.stem, 1), (path.parent.name, 1)]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for name, line in named
        if words(name) & FORBIDDEN and name not in ALLOWED
    ]
    assert not wrong, "words that are not used here:\n  " + "\n  ".join(wrong)


def test_the_words_are_found() -> None:
    """The check sees a forbidden word at any place of a name, in any case and in the plural."""
    for name in ("chunk_size", "RowChunks", "_handlers", "HTTPHandler", "to_process", "utils"):
        assert words(name) & FORBIDDEN, name
    assert not words("processed_contextmanager") & FORBIDDEN
