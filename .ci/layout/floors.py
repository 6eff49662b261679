# From the door down, by the floor's number. A module imports only from lower floors, or from a step further down of its
# own floor; parts that share a step don't know each other.
FLOORS: dict[int, list[set[str]]] = {
    8: [{"mc_sink"}, {"_namespace"}],
    7: [{"connector", "engines"}, {"connector.cli"}, {"connector.connections"}, {"connector.history"}, {"connector.beside"}],
    6: [{"sink"}],
    5: [{"publishing"}],
    4: [{"platforms", "writing"}],
    3: [{"storage", "presets", "comparison"}],
    2: [{"validation", "testing", "formats", "keys", "staged"}],
    1: [{"target", "receipt", "object_options", "secret", "_frames"}, {"_runtime", "_arrow", "_s3_names"}],
    0: [{"exceptions"}, {"_display", "_lazy"}],
}
HEIGHT = {
    part: (number, -step) for number, steps in FLOORS.items() for step, parts in enumerate(steps) for part in parts
}
# Folders of folders, or of tools that have nothing to do with each other: they are entered by what is in them.
OPEN = {"connector", "_runtime"}
# What users may import besides what `mc_sink` itself exports (tests/test_public_api.py holds that list).
PUBLIC: dict[str, set[str]] = {}
# Public names that two modules may share, because nobody meets both at once.
SHARED = {"load": "platforms.load() and connector.load() are public, each in a package of its own"}
# Modules whose functions are always used with the module's name, as in `journal.write(...)`.
WITH_MODULE = {"mc_sink.publishing.journal", "mc_sink.storage.s3.uploads"}
ONLY_HOME: dict[str, str] = {}


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


def test_every_part_has_a_floor() -> None:
    """A new part must be given its place before it can be imported from."""
    homeless = {part_of(module) for module in MODULES} - set(HEIGHT)
    assert not homeless, f"give these a floor in FLOORS: {sorted(homeless)}"


def test_a_floor_imports_only_from_floors_below() -> None:
    """No import goes up, and none goes to a part on the same step."""
    wrong = [
        told(found)
        for found in OURS
        if part_of(found.importer) != part_of(found.imported)
        and HEIGHT[part_of(found.importer)] <= HEIGHT[part_of(found.imported)]
    ]
    assert not wrong, "imports that don't go down:\n  " + "\n  ".join(wrong)


def test_a_package_is_entered_by_its_init() -> None:
    """What a package doesn't export is its own affair."""
    wrong = [told(found) for found in OURS if passes_a_door(found)]
    assert not wrong, "imports past a package's `__init__`:\n  " + "\n  ".join(wrong)


def test_names_in_a_folder_have_no_underscore() -> None:
    """A folder's `__init__` says what is public, so no file in it needs to."""
    wrong = [str(path.relative_to(ROOT)) for path in FILES if path.parent != HOUSE and re.match(r"_[^_]", path.stem)]
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
    assert not [name for name in SHARED if len(homes.get(name, ())) < 2], "take what isn't shared any more out of SHARED"


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


@pytest.mark.parametrize(("name", "home"), ONLY_HOME.items())
def test_it_has_one_home(name: str, home: str) -> None:
    """A library, or an unstable call of one, is used in one place, so that a change of it is felt in one place."""
    wrong = []
    home = f"mc_sink.{home}"
    for path in FILES:
        if is_within(name_of(path), home):
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
    at_home = [path for path in FILES if is_within(name_of(path), home)]
    assert any(name in path.read_text(encoding="utf-8") for path in at_home), f"{name} isn't used in {home} any more"
