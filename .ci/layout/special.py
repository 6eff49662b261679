"""What is true of this tree alone: small changes of text after the move, each reported where it doesn't apply."""

import ast
import re
from pathlib import Path

# file → (old text, new text) pairs; a pair whose old text is not there is reported, unless it starts with "?".
TEXTS: dict[str, list[tuple[str, str]]] = {
    "mc_sink/_namespace.py": [('room("_sink")', 'room("sink")'), ('room("_preview")', 'room("sink")')],
    "mc_sink/platforms/saved.py": [
        ("?can't be saved in {platforms_folder()}: {error.strerror}. Make room, or name another folder in \"\n            \"MC_SINK_STATE_DIR.", "can't be saved in {platforms_folder()}: {error.strerror}. Make room, or name \"\n            \"another folder in MC_SINK_STATE_DIR."),
        ("import Place\n", "import Place  # noqa: TC001  pydantic reads it\n"),
    ],
    "mc_sink/publishing/recovery.py": [
        ("?{state_dir.journals_folder()}: its publishing didn't begin on this machine, or it \"\n        \"ended.", "{state_dir.journals_folder()}: its publishing didn't begin on this \"\n        \"machine, or it ended."),
    ],
    "mc_sink/storage/store.py": [
        ("?    def is_blind(self) -> bool: ...", '    def is_blind(self) -> bool:\n        """Return whether a listing was refused."""\n'),
    ],
    "tests/test_connections.py": [
        ("?arguments = {{folder = \"{tmp_path}\", num_rows = {num_rows}}}'", "'\n        source += f'arguments = {{folder = \"{tmp_path}\", num_rows = {num_rows}}}'"),
    ],
    "tests/test_public_api.py": [
        ("has no attribute 'sink'", "has no attribute 'sinks'"),
        ("        mc_sink.sink  # type", "        mc_sink.sinks  # type"),
    ],
}


def change(root: Path, texts: dict[str, list[tuple[str, str]]], note) -> None:
    for name, pairs in texts.items():
        path = root / name
        text = path.read_text() if path.exists() else ""
        for old, new in pairs:
            plain = old.removeprefix("?")
            if plain not in text and plain == old:
                note("A PERSON: text to change was not found", f"{name}: {old[:90]!r}")
            text = text.replace(plain, new)
        if text:
            path.write_text(text)


def run(root: Path, note) -> None:
    change(root, TEXTS, note)
    light(root / "tests/test_public_api.py", note)
    path = root / "tests/test_floors.py"
    text = path.read_text()
    path.write_text(floors(root, text, note))


def light(path: Path, note) -> None:
    """The list of what `import mc_sink` loads, in tests/test_public_api.py, by the new names."""
    text = path.read_text()
    match = re.search(r'f"mc_sink\.\{room\}"\s+for room in (\([^)]*\))', text)
    if match is None:
        note("A PERSON: text to change was not found", f"{path.name}: the modules that a light import loads")
        return
    pages = {PAGE_OF.get(one, one) for one in ast.literal_eval(match[1])}
    pages |= {page.rpartition(".")[0] for page in pages} - {""}
    names = ", ".join(f'"{page}"' for page in sorted(pages))
    path.write_text(text[: match.start(1)] + f"({names})" + text[match.end(1) :])


LIMIT = 120
RUN_AS = re.compile(r'^"""(.*): (`python -m [^`]+`)\.(?=\n|""")')


def wrap(root: Path) -> None:
    """Break lines of comments and docstrings that new names have made too long."""
    for folder in ("mc_sink", "tests", "benchmarks", "notebooks"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text()
            if len(text.split("\n", 1)[0]) > LIMIT:
                text = RUN_AS.sub(r'"""\1.\n\nRun it as \2.', text)
            if (new := wrapped(text)) != path.read_text():
                path.write_text(new)


def wrapped(text: str) -> str:
    in_docstring = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant):
            in_docstring |= set(range(body[0].lineno + 1, body[0].end_lineno + 1))
    out, carried = [], ""
    for number, line in enumerate(text.split("\n"), 1):
        is_comment = line.lstrip().startswith("# ")
        indent = re.match(r"\s*(?:# )?" if is_comment else r"\s*", line)[0]
        if carried:
            kept, words = carried
            if line.strip() and indent == kept and '"""' not in line:
                line = f"{indent}{words} {line[len(indent) :]}"
            else:
                out.append(kept + words)
            carried = ""
        if len(line) > LIMIT and (is_comment or number in in_docstring) and " " in line[len(indent) : LIMIT]:
            at = line.rindex(" ", 0, LIMIT + 1)
            carried, line = (indent, line[at + 1 :]), line[:at]
        out.append(line)
    return "\n".join(out)


GONE = {
    "room_of": "part_of",
    "test_every_room_has_a_floor": "test_every_part_has_a_floor",
    "test_a_room_is_entered_by_its_door": "test_a_package_is_entered_by_its_init",
}
HOMES = {"s3fs": "storage.s3", "botocore": "storage.s3"}  # finer than by the table


def pieces(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The statements of a file with the comments before them, by the name that they define."""
    lines, at, found = text.splitlines(keepends=True), 0, []
    for node in ast.parse(text).body:
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        found.append((name or "", "".join(lines[at : node.end_lineno])))
        at = node.end_lineno
    return lines, found


def floors(root: Path, text: str, note) -> str:
    """tests/test_floors.py with the new floors: what the template defines replaces what had its name."""
    _, new = pieces((Path(__file__).parent / "floors.py").read_text())
    _, old = pieces(text)
    by_name, out, done = dict(new), [], set()
    order = [name for name, _ in new]
    for name, piece in old:
        name = GONE.get(name, name)
        if name == "ONLY_HOME":
            continue
        if name not in by_name:
            out.append(piece)
            continue
        following = [name]
        for one in order[order.index(name) + 1 :]:  # what is new stands after what it stands after in the template
            if one in {GONE.get(other, other) for other, _ in old} - {"ONLY_HOME"}:
                break
            following.append(one)
        for one in following:
            if one not in done:
                done.add(one)
                out.append(by_name[one] if one != "ONLY_HOME" else only_home(old, by_name[one], note))
    for one in order:
        if one not in done:
            out.append(by_name[one] if one != "ONLY_HOME" else only_home(old, by_name[one], note))
    result = "".join(out).lstrip("\n")
    result = result.replace("PUBLIC: dict[str, set[str]] = {}", f"PUBLIC: dict[str, set[str]] = {public(root)}")
    result = result.replace("from functools import cache", "from collections import Counter\nfrom functools import cache")
    return with_unknown_parts(root, result, note)


def set_of(names: list[str]) -> str:
    return f"{{{', '.join(map(repr, names))}}}" if names else "set()"


def public(root: Path) -> str:
    """The names of the public modules, as tests/test_floors.py finds them."""
    found = {}
    for name in ("connector", "engines", "platforms", "testing"):
        path = next((one for one in (root / f"mc_sink/{name}/__init__.py", root / f"mc_sink/{name}.py") if one.exists()), None)
        if path is None:
            continue
        names = {getattr(node, "name", "_") for node in ast.parse(path.read_text()).body}
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = set(ast.literal_eval(node.value))
        found[name] = sorted(one for one in names if not one.startswith("_"))
    return "{" + ", ".join(f'"{name}": {set_of(names)}' for name, names in found.items()) + "}"


def only_home(old: list[tuple[str, str]], template: str, note) -> str:
    """The old homes under their new names."""
    homes = ast.literal_eval(ast.parse(next(piece for name, piece in old if name == "ONLY_HOME")).body[0].value)
    return "ONLY_HOME = " + repr({name: HOMES.get(name, PAGE_OF.get(home, home)) for name, home in homes.items()}) + "\n"


PAGE_OF: dict[str, str] = {}


def with_unknown_parts(root: Path, text: str, note) -> str:
    """Give parts that FLOORS doesn't name a step of their own, right below the lowest part that imports them."""
    assign = next(node for node in ast.parse(text).body if isinstance(node, ast.AnnAssign) and node.target.id == "FLOORS")
    steps: dict[int, list[set[str]]] = ast.literal_eval(assign.value)
    known = {part for rows in steps.values() for row in rows for part in row}
    uses: dict[str, set[str]] = {}
    for path in (root / "mc_sink").rglob("*.py"):
        parts = path.relative_to(root / "mc_sink").with_suffix("").parts
        part = part_of(".".join(parts[:-1] if parts[-1] == "__init__" else parts), known)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mc_sink":
                for alias in node.names:
                    whole = ".".join([*node.module.split(".")[1:], alias.name])
                    uses.setdefault(part, set()).add(part_of(whole, known))
    unknown = ({*uses, *(one for ones in uses.values() for one in ones)} - known) - {""}
    unknown = {one for one in unknown if (root / "mc_sink" / one).exists() or (root / f"mc_sink/{one}.py").exists()}
    while unknown:
        ready = [one for one in sorted(unknown) if not any(one in uses.get(other, ()) for other in unknown - {one})]
        for one in ready or sorted(unknown)[:1]:
            above = [(n, i) for n, rows in steps.items() for i, row in enumerate(rows) if any(one in uses.get(p, ()) for p in row)]
            number, index = min(above, key=lambda place: (place[0], -place[1])) if above else (8, 0)
            steps[number].insert(index + 1, {one})
            note("A PERSON: a part without a floor, placed by what imports it", f"{one}: floor {number}, step {index + 1}")
            unknown.discard(one)
    body = "{\n" + "".join(
        f"    {number}: [{', '.join('{' + ', '.join(repr(p) for p in sorted(row, key=str)) + '}' for row in rows)}],\n"
        for number, rows in steps.items()
    ) + "}"
    lines = text.splitlines(keepends=True)
    return "".join(lines[: assign.lineno - 1]) + f"FLOORS: dict[int, list[set[str]]] = {body}\n" + "".join(lines[assign.end_lineno :])


def part_of(module: str, known: set[str]) -> str:
    names = module.split(".")
    two = ".".join(names[:2])
    return two if two in known else (names[0] or "mc_sink")
