"""The layout of the package: which floor imports which, what has one home, the size of files, and words not used."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mc_sink"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the door down, by the floor's number. A module imports only from lower floors, or from a step further down of its
# own floor; parts that share a step don't import each other.
FLOORS: dict[int, list[set[str]]] = {
    8: [{"mc_sink"}],
    7: [
        {"connector", "engines"},
        {"connector.cli"},
        {"connector.connections", "connector.metrics"},
        {"connector.history"},
        {"connector.beside"},
    ],
    6: [{"sink"}],
    5: [{"publishing"}],
    4: [{"platforms", "writing"}, {"delivery_spec"}],
    3: [{"comparison", "presets", "storage"}],
    2: [{"encryption", "formats", "identity", "keys", "records", "staged", "testing", "validation"}, {"scrub"}],
    1: [
        {"_frames", "object_options", "receipt", "sandbox", "secret", "target"},
        {"_argument_kinds", "_arrow", "_runtime", "_s3_names", "loading", "report", "sweep"},
        {"content"},
        {"encrypted"},
    ],
    0: [{"_hints", "_nested", "exceptions"}, {"_display", "_dtype_text", "_lazy", "_polars"}],
}
HEIGHT = {
    part: (number, -step) for number, steps in FLOORS.items() for step, parts in enumerate(steps) for part in parts
}
# Folders of folders, or of tools that have nothing to do with each other: they are entered by what is in them.
OPEN = {"connector", "engines", "_runtime"}
# What users may import besides what `mc_sink` itself exports (tests/test_public_api.py holds that list).
PUBLIC: dict[str, set[str]] = {
    "connector": {"Connection", "Run", "Scheduler", "deliver", "find_run", "list_runs", "load", "rehearse"},
    "engines": set(),  # its modules are imported by name: each loads its engine
    "identity": {
        "city",
        "country",
        "date_of_birth",
        "email",
        "first_name",
        "gender",
        "last_name",
        "phone",
        "postal_code",
        "sha256",
        "state",
        "street",
    },
    "platforms": {
        "ArchiveClass",
        "CheckReport",
        "CheckRow",
        "Checked",
        "Listed",
        "Platform",
        "Status",
        "bucket_policy",
        "check",
        "configure",
        "describe",
        "lifecycle",
        "list",
        "load",
        "new_external_id",
        "policy",
        "remove",
        "save",
        "trust",
    },
    "sandbox": {"Admin", "Cable", "Sandbox", "Writer", "embedded_server"},
    "testing": {"sample", "violations"},
}
# Public names that two modules may share, because no reader meets both at once.
SHARED = {
    "Writer": "a file that storage writes; in the sandbox, a user with a write-only key",
    "sink_madconnect": "that of an engine has the name of the function that it stands for",
    "load": "platforms.load() and connector.load() are public, each in a package of its own",
}
# Modules whose functions are always used with the module's name, as in `journal.write(...)`.
WITH_MODULE = {"mc_sink.publishing.journal"}
ONLY_HOME = {
    "pandera": "validation",
    "s3fs": "storage.s3",
    "fsspec": "storage",
    "botocore": "storage.s3",
    "igzip_threaded": "formats",
    "sink_csv": "formats",
    "sink_parquet": "formats",
    "sink_batches": "_runtime.batches",
    "register_io_source": "_frames",
    "getLogger": "_display",
    "jinja2": "report",
}
# The sandbox is the receiver's side: a client of the bucket's owner, which delivers nothing, and a server's own log.
ALSO_USED = {("botocore", "sandbox.admin"), ("getLogger", "sandbox.moto_server")}
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
    """Return the dotted name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def part_of(module: str) -> str:
    """Return the part of the package that has a floor: the first name, or two where a folder has several floors."""
    names = module.split(".")[1:]
    if not names:
        return module
    two = ".".join(names[:2])
    return two if two in HEIGHT else names[0]


def is_within(module: str, package: str) -> bool:
    """Return whether a module is a package or lies in it."""
    return module == package or module.startswith(f"{package}.")


@cache
def exported(package: str) -> set[str]:
    """Return the names in the `__all__` of a package."""
    for node in tree(MODULES[package]).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def public_names(module: str) -> set[str]:
    """Return what a module exports; without an `__all__`, the names without an underscore that it defines."""
    defined = {getattr(node, "name", "_") for node in tree(MODULES[module]).body}
    return exported(module) or {name for name in defined if not name.startswith("_")}


def passes_a_door(found: Import) -> bool:
    """Return whether an import passes by the `__init__` of a package that the importer is not in."""
    parts = found.imported.split(".")
    for depth in range(2, len(parts)):
        package = ".".join(parts[:depth])
        if package.removeprefix("mc_sink.") in OPEN or is_within(found.importer, package):
            continue
        return not (depth == len(parts) - 1 and parts[-1] in exported(package))
    return False


def is_command(path: Path) -> bool:
    """Return whether a file holds commands, whose functions are called like the commands."""
    return path.parent.name == "cli" and path.stem.endswith("_commands")


def imports_of(path: Path) -> Iterator[Import]:
    """Yield every import of a file, those for type checkers, those inside functions and those on first use too."""
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


def first_uses_of(path: Path) -> Iterator[Import]:
    """Yield what a file loads when it is first needed, by `load_part("…")` and `attributes({"…": …})`."""
    for node in ast.walk(tree(path)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"load_part", "attributes"}):
            continue
        first = node.args[0]
        for name in first.keys if isinstance(first, ast.Dict) else [first]:
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(name_of(path), f"mc_sink.{name.value}", node.lineno, in_function=False)


OURS = [
    found
    for path in FILES
    for found in (*imports_of(path), *first_uses_of(path))
    if found.imported.split(".")[0] == "mc_sink"
]


def described(found: Import) -> str:
    """Return where an import stands and what it imports."""
    return f"{found.importer}:{found.line} imports {found.imported}"


def functions() -> Iterator[tuple[str, int]]:
    """Yield each function that has a body, with the lines of that body; its docstring is not counted."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body:
                    yield f"{name_of(path)}.{node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_every_part_has_a_floor() -> None:
    """A new part must be given its place before it can be imported from."""
    homeless = {part_of(module) for module in MODULES} - set(HEIGHT)
    assert not homeless, f"give these a floor in FLOORS: {sorted(homeless)}"


def test_a_floor_imports_only_from_floors_below() -> None:
    """No import goes up, and none goes to a part on the same step."""
    wrong = [
        described(found)
        for found in OURS
        if part_of(found.importer) != part_of(found.imported)
        and HEIGHT[part_of(found.importer)] <= HEIGHT[part_of(found.imported)]
    ]
    assert not wrong, "imports that don't go down:\n  " + "\n  ".join(wrong)


def test_a_package_is_entered_by_its_init() -> None:
    """What a package doesn't export is its own affair."""
    wrong = [described(found) for found in OURS if passes_a_door(found)]
    assert not wrong, "imports past a package's `__init__`:\n  " + "\n  ".join(wrong)


def test_names_in_a_folder_have_no_underscore() -> None:
    """A folder's `__init__` says what is public, so no file in it needs to."""
    wrong = [str(path.relative_to(ROOT)) for path in FILES if path.parent != PACKAGE and re.match(r"_[^_]", path.stem)]
    assert not wrong, f"files with an underscore in a folder: {wrong}"


def test_no_two_files_have_the_same_name() -> None:
    """A file is found by its name alone."""
    names = Counter(path.name for path in FILES if path.name != "__init__.py")
    assert not [name for name, times in names.items() if times > 1]


def test_no_export_has_the_name_of_a_module_beside_it() -> None:
    """Or `package.name` would mean the one or the other, by what was imported first."""
    wrong = []
    for package, path in MODULES.items():
        if path.name != "__init__.py" or package == "mc_sink":
            continue
        froms = [node for node in tree(path).body if isinstance(node, ast.ImportFrom) and node.module == package]
        modules = {alias.name for node in froms for alias in node.names}  # exported as the modules that they are
        wrong += [f"{package}.{one}" for one in exported(package) - modules if f"{package}.{one}" in MODULES]
    assert not wrong, f"exports called like a module: {wrong}"


def test_no_two_public_things_have_the_same_name() -> None:
    """Of classes and functions at the top of a module; a search for one finds one."""
    homes: dict[str, set[str]] = {}
    for path in FILES:
        for node in tree(path).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not (node.name.startswith("_") or is_command(path) or name_of(path) in WITH_MODULE):
                homes.setdefault(node.name, set()).add(name_of(path))
    twice = {name: sorted(modules) for name, modules in homes.items() if len(modules) > 1 and name not in SHARED}
    assert not twice, f"public names that are not unique: {twice}"
    assert not [name for name in SHARED if len(homes.get(name, ())) < 2], (
        "take what isn't shared any more out of SHARED"
    )


def test_what_is_public_is_listed() -> None:
    """A name becomes public, or stops to be, only on purpose."""
    assert {module: public_names(f"mc_sink.{module}") for module in PUBLIC} == PUBLIC


def test_documents_name_only_public_modules() -> None:
    """What README and docs show is what may be imported."""
    wrong = []
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        names = set(re.findall(r"\bmc_sink\.(\w+)", path.read_text(encoding="utf-8"))) - {*PUBLIC}
        wrong += [f"{path.relative_to(ROOT)}: mc_sink.{name}" for name in names if f"mc_sink.{name}" in MODULES]
    assert not wrong, f"documents name modules that are not public: {sorted(wrong)}"


def test_there_is_no_import_cycle() -> None:
    """Neither between folders, nor within one, nor for type checkers alone."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OURS:
        graph[found.importer].add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail("a cycle: " + " → ".join(cycle.args[1]))


def test_no_import_of_the_package_hides_in_a_function() -> None:
    """Heavy libraries may load when first needed; our own modules stand at the top."""
    wrong = [described(found) for found in OURS if found.in_function]
    assert not wrong, "imports of our own inside a function:\n  " + "\n  ".join(wrong)


@pytest.mark.parametrize(("name", "home"), ONLY_HOME.items())
def test_it_has_one_home(name: str, home: str) -> None:
    """A library, or an unstable call of one, is used in one place, so that a change of it is felt in one place."""
    wrong = []
    home = f"mc_sink.{home}"
    for path in FILES:
        if is_within(name_of(path), home) or (name, name_of(path).removeprefix("mc_sink.")) in ALSO_USED:
            continue
        wrong += [described(found) for found in imports_of(path) if name in found.imported.split(".")]
        for node in ast.walk(tree(path)):
            used = (
                (isinstance(node, ast.Attribute) and node.attr == name)
                or (isinstance(node, ast.Name) and node.id == name)
                or (isinstance(node, ast.alias) and name in node.name.split("."))
            )
            if used:
                wrong.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')} uses {name}")
    assert not wrong, f"{name} is at home in {home}:\n  " + "\n  ".join(wrong)
    at_home = [path for path in FILES if is_within(name_of(path), home)]
    assert any(name in path.read_text(encoding="utf-8") for path in at_home), f"{name} isn't used in {home} any more"


def test_no_batch_is_pulled_by_what_hides_a_panic() -> None:
    """`collect_batches` ends as if all rows had come when the engine panics, so nothing here may use it."""
    used = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"collect_batches", "collect_async"}
    ]
    assert not used, f"pull with mc_sink._runtime.batches.pull: {used}"


def test_files_are_short() -> None:
    """No file is longer than 350 lines."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {name: length for name, length in lengths.items() if length > MAX_FILE}
    assert not long, f"files above {MAX_FILE} lines: {long}"


def test_functions_are_short() -> None:
    """No body is above 40 lines."""
    long = [f"{name}: {lines}" for name, lines in functions() if lines > MAX_BODY]
    assert not long, f"bodies above {MAX_BODY} lines:\n  " + "\n  ".join(long)


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every name that a file defines, with its line; names that libraries define are not checked."""
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
    """Names use the terms of the field, and no words without meaning."""
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
