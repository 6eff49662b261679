"""Move the package to its new layout: `python3 move.py CHECKOUT` (see README.md beside this file)."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import attributes  # noqa: E402
import move_tests  # noqa: E402
import special  # noqa: E402
import table  # noqa: E402
from engine import (  # noqa: E402
    PACKAGE,
    Binding,
    Chunk,
    Finder,
    Module,
    Ref,
    Source,
    apply,
    bound_in,
    load,
    local_of,
    rename_edits,
    string_tokens,
)

NOTES: dict[str, list[str]] = defaultdict(list)  # what a person should look at, by kind
DOORLESS = table.DOORLESS
LONGEST = 335  # lines of a merged file, estimated; the bound is 350


def note(kind: str, text: str) -> None:
    if text not in NOTES[kind]:
        NOTES[kind].append(text)


@dataclass
class Page:
    """A module to be."""

    name: str
    docstring: str | None
    old: list[str]
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def is_package(self) -> bool:
        return self.name in PACKAGES


PACKAGES = {name for name in table.TABLE if name == "" or any(other.startswith(f"{name}.") for other in table.TABLE)}


def dotted(name: str) -> str:
    return f"{PACKAGE}.{name}" if name else PACKAGE


def undotted(name: str) -> str | None:
    """The short name of a module of ours; None for others'."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def folder_of(name: str) -> str:
    """The package that a new module is in; a package is in itself."""
    return name if name in PACKAGES else name.rpartition(".")[0]


class Move:
    def __init__(self, root: Path) -> None:
        self.root = root
        paths = sorted((root / PACKAGE).rglob("*.py"))
        loaded = [load(root, path) for path in paths]
        self.old: dict[str, Module] = {module.name: module for module in loaded}
        self.pages: dict[str, Page] = {}
        self.page_of: dict[str, str] = {}  # old module → new one, by default
        self.home: dict[tuple[str, str], tuple[str, str]] = {}  # (old module, name) → (new module, name)
        self.exports: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)  # package → name → (module, name)
        self.modules_out: dict[str, set[str]] = defaultdict(set)  # package → its modules that are used as such outside
        self.lazy: dict[str, str] = {}
        self.assign()

    # ------------------------------------------------------------ where everything goes

    def assign(self) -> None:
        self.follow(table.MOVES)
        self.follow(table.RENAMES)
        self.split()
        for name, (docstring, olds) in table.TABLE.items():
            found = [old for old in olds if old in self.old]
            for missing in set(olds) - set(found):
                note("in the table, not in the tree", missing)
            if found or not olds:
                self.pages[name] = Page(name, docstring, found)
            for old in found:
                self.page_of[old] = name
        for name, module in self.old.items():
            for lost in module.lost:
                note("comments between imports, left out", f"{name}: {lost.strip()}")
            if name not in self.page_of:
                self.guess(name, module)
        for old, page in self.page_of.items():
            for chunk in self.old[old].chunks:
                to = {table.MOVES.get(f"{old}.{one}", page) for one in chunk.names}
                if len(to) > 1:
                    note("one statement, several places", f"{old}: {chunk.names}")
                new = to.pop() if to else page
                for one in chunk.names:
                    self.home[old, one] = new, table.RENAMES.get(f"{old}.{one}", one)
        for key in [*table.MOVES, *table.RENAMES]:
            old, _, one = key.rpartition(".")
            if (old, one) not in self.home:
                note("in MOVES or RENAMES, not in the tree", key)
        self.fill()

    def follow(self, entries: dict[str, str]) -> None:
        """A definition that has gone to another file of its folder since the table was written is found there."""
        for key in [*entries]:
            old, _, one = key.rpartition(".")
            defined = old in self.old and self.old[old].bindings.get(one, Binding("")).kind == "def"
            folder = old.rpartition(".")[0]
            if defined or not folder:
                continue
            homes = [
                name
                for name, module in self.old.items()
                if name.rpartition(".")[0] == folder and module.bindings.get(one, Binding("")).kind == "def"
            ]
            if len(homes) == 1 and f"{homes[0]}.{one}" not in entries:
                note("followed to another file", f"{key} is in {homes[0]} now")
                entries[f"{homes[0]}.{one}"] = entries.pop(key)

    def split(self) -> None:
        """Keep apart what would be too long together."""
        for page, splits in table.SPLITS.items():
            for old, new in splits.items():
                docstring, olds = table.TABLE[page]
                found = [one for one in olds if one in self.old]
                lines = sum(len(self.old[one].source.lines) for one in found) - 12 * (len(found) - 1)
                if lines > LONGEST and old in found:
                    table.TABLE[page] = docstring, [one for one in olds if one != old]
                    table.TABLE[new] = None, [old]
                    note("kept apart, because it would be too long", f"{old} → {new}: {page} would have {lines} lines")

    def guess(self, name: str, module: Module) -> None:
        """A module that the table doesn't name: where its siblings are, under its own name."""
        parent, _, leaf = name.rpartition(".")
        folder = folder_of(self.page_of.get(parent, parent)) if parent else ""
        folder = self.nearest(name, module, folder) if folder and not module.is_package else folder
        page = ".".join(filter(None, [folder, leaf.lstrip("_") if folder else leaf]))
        while page in self.pages:
            page += "_too"
        if module.is_package:
            PACKAGES.add(page)
        note("NOT IN THE TABLE: placed by guess", f"{module.path.relative_to(self.root)} → {page.replace('.', '/')}.py")
        self.pages[page] = Page(page, None, [name])
        self.page_of[name] = page

    def nearest(self, name: str, module: Module, folder: str) -> str:
        """The folder in `folder` (or itself) that most of a module's siblings are in which it uses or which use it."""
        parent = name.rpartition(".")[0]
        near = [undotted(binding.module) for binding in module.bindings.values() if binding.kind == "name"]
        near += [
            other
            for other, one in self.old.items()
            if any(b.kind == "name" and undotted(b.module) == name for b in one.bindings.values())
        ]
        pages = [self.page_of[one] for one in near if one and one.rpartition(".")[0] == parent and one in self.page_of]
        inner = [folder_of(page) for page in pages if page.startswith(f"{folder}.")]
        inner = [one for one in inner if one != folder]
        return max(inner, key=inner.count) if len(inner) * 2 > len(pages) else folder

    def fill(self) -> None:
        """Put every statement on its page, in an order in which Python can run them."""
        for page in self.pages.values():
            own = [chunk for old in page.old for chunk in self.old[old].chunks if self.place(chunk) == page.name]
            heads = [chunk for chunk in own if chunk.is_head]
            moved = [
                chunk
                for old, module in self.old.items()
                if old not in page.old
                for chunk in module.chunks
                if self.place(chunk) == page.name
            ]
            rank = {key: index for index, key in enumerate(table.MOVES)}
            moved.sort(key=lambda chunk: rank[f"{chunk.module}.{chunk.names[0]}"])
            heads += [chunk for chunk in moved if chunk.is_head]
            olds = {chunk.module for chunk in own}
            for chunk in moved:  # what every module has for itself comes along
                for ref in chunk.refs:
                    if ref.name in table.COPIED and chunk.module not in olds:
                        olds.add(chunk.module)
                        heads += [one for one in self.old[chunk.module].chunks if ref.name in one.names]
            wanted = [*heads, *(c for c in own if not c.is_head), *(c for c in moved if not c.is_head)]
            page.chunks = self.runnable(self.deduped(page, wanted))

    def place(self, chunk: Chunk) -> str:
        return self.home[chunk.module, chunk.names[0]][0] if chunk.names else self.page_of[chunk.module]

    def text(self, chunk: Chunk) -> str:
        lines = self.old[chunk.module].source.lines[chunk.start : chunk.end]
        return "".join(lines)

    def deduped(self, page: Page, chunks: list[Chunk]) -> list[Chunk]:
        """Statements that were the same in two files stand once; different ones of one name are a collision."""
        kept: list[Chunk] = []
        by_name: dict[str, Chunk] = {}
        for chunk in chunks:
            news = [self.home[chunk.module, one][1] for one in chunk.names]
            met = next((by_name[one] for one in news if one in by_name), None)
            if met is None or (met.module == chunk.module):
                kept.append(chunk)
                by_name |= dict.fromkeys(news, chunk)
            elif ast.unparse(ast.Module(met.nodes, [])) == ast.unparse(ast.Module(chunk.nodes, [])):
                continue
            else:
                note("COLLISION", f"{page.name}: {news} of {met.module} and of {chunk.module}")
                kept.append(chunk)
        return kept

    def runnable(self, chunks: list[Chunk]) -> list[Chunk]:
        """Order statements so that what runs while the module loads finds what it needs; stable otherwise."""
        makers: dict[tuple[str, str], list[Chunk]] = defaultdict(list)
        for chunk in chunks:
            for one in chunk.names:
                makers[self.home[chunk.module, one]].append(chunk)

        def uses(chunk: Chunk, *, eager: bool) -> list[Chunk]:
            found = []
            for ref in chunk.refs:
                if ref.annotation or (eager and not ref.eager):
                    continue
                home = self.target(chunk.module, ref)
                found += [maker for maker in makers.get(home, []) if maker is not chunk] if home else []
            return found

        def needs(chunk: Chunk) -> list[Chunk]:
            """What a statement uses when it runs, and what that uses when it is called."""
            todo, seen = uses(chunk, eager=True), []
            while todo:
                one = todo.pop(0)
                if one in seen or one is chunk:
                    continue
                seen.append(one)
                todo += uses(one, eager=False)
            return seen

        placed: list[Chunk] = []
        order = {id(chunk): index for index, chunk in enumerate(chunks)}

        def put(chunk: Chunk, above: tuple[int, ...]) -> None:
            if chunk in placed or id(chunk) in above:
                return
            for need in sorted(needs(chunk), key=lambda one: order[id(one)]):
                later = set(need.names) & set(chunk.names) and need.module == chunk.module
                if later and order[id(need)] > order[id(chunk)]:
                    continue  # it changes what this one makes
                put(need, (*above, id(chunk)))
            placed.append(chunk)

        for chunk in chunks:
            put(chunk, ())
        return placed

    # ------------------------------------------------------------ what a name means

    def canonical(self, old: str, name: str, seen: tuple[tuple[str, str], ...] = ()) -> tuple[str, str] | None:
        """Where a name of an old module is defined: (old module, name); None if it isn't ours."""
        if (old, name) in seen or old not in self.old:
            return None
        binding = self.old[old].bindings.get(name)
        if binding is None:
            return None
        if binding.kind == "def":
            return old, name
        module = undotted(binding.module)
        if binding.kind == "name" and module is not None:
            return self.canonical(module, binding.attr, (*seen, (old, name)))
        return None

    def module_meant(self, binding: Binding) -> str | None:
        """The old module that an import binds as such, as in `from mc_sink import journal`."""
        if binding.kind == "name":
            whole = undotted(f"{binding.module}.{binding.attr}")
            module = undotted(binding.module)
            if whole in self.old and module is not None and self.canonical(module, binding.attr) is None:
                return whole
        return None

    def target(self, old: str, ref: Ref) -> tuple[str, str] | None:
        """The new home of what a use means; for a module used with an attribute, that of the attribute."""
        binding = self.old[old].bindings.get(ref.name)
        if binding is None:
            return None
        meant = self.module_meant(binding)
        if meant is not None:
            found = self.canonical(meant, ref.attribute.attr) if ref.attribute is not None else None
        else:
            found = self.canonical(old, ref.name)
        return self.home.get(found) if found else None

    # ------------------------------------------------------------ how a name is imported

    def through(self, importer: str, module: str) -> str:
        """The module to import from: the outermost package around the target that the importer is not in."""
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            package = ".".join(parts[:depth])
            inside = importer == package or importer.startswith(f"{package}.")
            if package in PACKAGES and not inside and package not in DOORLESS:
                return package
        return module

    def import_from(self, importer: str, module: str, name: str) -> str:
        """The module to import a name from, which is made to export it."""
        door = self.through(importer, module)
        self.export(door, module, name)
        return door

    def export(self, door: str, module: str, name: str) -> None:
        """Make a package export a name, and the packages between them, too."""
        if door not in PACKAGES or door == "":
            return
        seen = self.exports[door].setdefault(name, (module, name))
        if seen != (module, name):
            note("COLLISION", f"{door} would export {name} of {seen[0]} and of {module}")
        if door != module:
            inner = self.through(door + ".__inside__", module)
            if inner != door:
                self.export(inner, module, name)

    def module_from(self, importer: str, module: str) -> tuple[str, str]:
        """How to import a module itself: (package, leaf)."""
        package, _, leaf = module.rpartition(".")
        outside = not (importer == package or importer.startswith(f"{package}.")) if package else False
        if outside and package not in DOORLESS and module not in PACKAGES:
            self.modules_out[package].add(leaf)
        return package, leaf

    # ------------------------------------------------------------ writing a module

    def edits(self, page: Page, chunk: Chunk, needs: Needs) -> list[tuple[int, int, str]]:
        """Find the edits of one statement, and note what it needs imported."""
        module = self.old[chunk.module]
        edits: list[tuple[int, int, str]] = []
        for ref in chunk.refs:
            new = self.new_name(page.name, chunk.module, ref, needs)
            if new is None:
                continue
            edits += self.rename(module, ref, *new)
        for node in chunk.nodes:
            edits += self.definition_edits(module, node)
        return edits

    def new_name(self, page: str, old: str, ref: Ref, needs: Needs) -> tuple[str, str, bool] | None:
        """(old text, new text, whether an attribute is in it) of a use, or None where it stays; notes its import."""
        binding = self.old[old].bindings.get(ref.name)
        if binding is None:
            return None
        typing_only = binding.typing_only or (ref.annotation and binding.kind == "def")
        comment = binding.comment
        if binding.kind == "def":
            module, name = self.home[old, ref.name]
            if module != page and ref.name in table.COPIED:
                return None
            if module != page:
                if name.startswith("_"):
                    note("A PERSON: private, and used by another file now: add a RENAME", f"{module}.{name} in {page}")
                only = binding.typing_only or ref.annotation
                needs.name(self.import_from(page, module, name), name, name, typing_only=only, comment="")
            return self.checked(page, old, ref, name)
        meant = self.module_meant(binding)
        if meant is not None:
            return self.module_use(page, old, ref, meant, typing_only, comment, needs)
        found = self.canonical(old, ref.name)
        if found is None:
            if undotted(binding.module) is not None:
                note("UNRESOLVED", f"{old}: {ref.name} from {binding.module}")
            needs.external(binding, ref.name)
            return None
        module, name = self.home[found]
        if module != page and self.module_style(page, module, name):
            package, leaf = self.module_from(page, module)
            needs.name(package, leaf, leaf, typing_only=typing_only, comment=comment)
            self.checked(page, old, ref, leaf)
            return ref.name, f"{leaf}.{name}", False
        local = binding.local if binding.local and module != page and name == found[1] else name
        if module != page:
            needs.name(self.import_from(page, module, name), name, local, typing_only=typing_only, comment=comment)
        return self.checked(page, old, ref, local)

    def module_style(self, page: str, module: str, name: str) -> bool:
        """Whether a name is used with its module's: from other packages."""
        outside = not page.startswith(module.rpartition(".")[0])
        return outside and name in table.MODULE_STYLE.get(module, ())

    def module_use(
        self, page: str, old: str, ref: Ref, meant: str, typing_only: bool, comment: str, needs: Needs
    ) -> tuple[str, str, bool] | None:
        """`journal.find`, where `journal` is a module: it may have gone to another one, or to this very page."""
        binding = self.old[old].bindings[ref.name]
        if ref.attribute is None:
            note("a module used as a value", f"{old}: {ref.name} at line {ref.node.lineno}")
            package, leaf = self.module_from(page, self.page_of[meant])
            needs.name(package, leaf, leaf, typing_only=typing_only, comment=comment)
            return self.checked(page, old, ref, leaf)
        attr = ref.attribute.attr
        found = self.canonical(meant, attr)
        if found is None:
            note("UNRESOLVED", f"{old}: {ref.name}.{attr} of the module {meant}")
            module, name = self.page_of[meant], attr
        else:
            module, name = self.home[found]
        if module == page:
            return self.checked(page, old, ref, name, whole=True)
        # Of a package: stay with the package. Of a module: the one that the definition is in now.
        via = self.page_of[meant] if self.old[meant].is_package else module
        if via in PACKAGES:
            door = via if module == via or module.startswith(f"{via}.") else self.through(page, module)
            self.export(door, module, name)
            via = door if via in PACKAGES else via
        package, leaf = self.module_from(page, via)
        local = binding.local or leaf
        if not via:
            note("UNRESOLVED", f"{old}: {ref.name}.{attr} → the package itself")
        needs.name(package, leaf, local, typing_only=typing_only, comment=comment)
        checked = self.checked(page, old, ref, local)
        return (f"{ref.name}.{attr}", f"{checked[1] if checked else ref.name}.{name}", True)

    def checked(self, page: str, old: str, ref: Ref, new: str, *, whole: bool = False) -> tuple[str, str, bool] | None:
        if new != ref.name and new in ref.visible:
            note("SHADOWED", f"{page}: {new} (was {ref.name} in {old}, line {ref.node.lineno}) is a local name there")
        if whole:
            return f"{ref.name}.{ref.attribute.attr}", new, True
        return (ref.name, new, False) if new != ref.name else None

    def rename(self, module: Module, ref: Ref, old: str, new: str, whole: bool) -> list[tuple[int, int, str]]:
        return rename_edits(module.source, self.tokens(module), ref, old, new, whole)

    def tokens(self, module: Module) -> list[tuple[int, int, str]]:
        if not hasattr(module, "_tokens"):
            module._tokens = string_tokens(module.source)  # noqa: SLF001
        return module._tokens  # noqa: SLF001

    def definition_edits(self, module: Module, node: ast.stmt) -> list[tuple[int, int, str]]:
        """The name itself, after `def` or `class`, and in `global`."""
        edits = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            new = self.home[module.name, node.name][1]
            if new != node.name:
                start = module.source.offset(node.lineno, node.col_offset)
                match = re.compile(rf"((?:async\s+)?(?:def|class)\s+){re.escape(node.name)}\b").match(module.source.text, start)
                edits.append((match.end() - len(node.name), match.end(), new)) if new != node.name else None
            if (text := table.DOCSTRINGS.get(f"{module.name}.{node.name}")) and ast.get_docstring(node) is None:
                at = module.source.starts[node.body[0].lineno - 1]
                edits.append((at, at, f'    """{text}"""\n'))
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            text = table.DOCSTRINGS.get(f"{module.name}.{node.name}.{getattr(inner, 'name', '')}")
            if text and ast.get_docstring(inner) is None:
                at = module.source.starts[inner.body[0].lineno - 1]
                edits.append((at, at, f'        """{text}"""\n'))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                start, end = module.source.span(inner)
                names = [self.home.get((module.name, one), ("", one))[1] for one in inner.names]
                if names != inner.names:
                    edits.append((start, end, "global " + ", ".join(names)))
        return edits

    def body_of(self, page: Page, needs: Needs) -> str:
        parts = []
        for chunk in page.chunks:
            source = self.old[chunk.module].source
            edits = self.edits(page, chunk, needs)
            first, last = source.starts[chunk.start], source.starts[chunk.end]
            part = apply(source.text, edits, first, last).strip("\n")
            if chunk.typing_only:
                needs.types.append(self.in_comments(part))
            else:
                parts.append((chunk, part))
        text, before = "", None
        for chunk, part in parts:
            simple = not isinstance(chunk.nodes[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            gap = "\n\n\n"
            if before is not None and before[1] and simple:
                near = before[0].module == chunk.module and chunk.start - before[0].end < 1
                gap = "\n" if near or before[0].module != chunk.module else "\n\n"
            text += (gap if text else "") + part
            before = chunk, simple
        return text

    def docstring_of(self, page: Page) -> str:
        olds = [self.old[old].docstring for old in page.old if self.old[old].docstring]
        if page.docstring is None:
            text = olds[0] if olds else ""
            rest = olds[1:]
        else:
            text = page.docstring
            rest = olds
        for one in rest:  # what is said below the first paragraph is kept: measurements, bounds, diagrams
            _, _, below = one.partition("\n\n")
            if below.strip():
                text += f"\n\n{below.rstrip()}"
        text = self.in_words(text)
        prefix = "r" if "\\" in text else ""
        return f'{prefix}"""{text}"""' if "\n" not in text else f'{prefix}"""{text}\n"""'

    def in_words(self, text: str) -> str:
        """Names of ours in prose, comments and messages: dotted modules, paths, and types in backticks."""
        return words(self, text)

    def write_page(self, page: Page) -> str:
        needs = Needs()
        body = self.body_of(page, needs)
        body = self.in_comments(body)
        exported = self.exports[page.name] if page.is_package else {}
        names = set()
        if page.is_package:
            for name, (module, real) in sorted(exported.items()):
                if module != page.name:
                    source = self.through(f"{page.name}.__inside__", module)
                    needs.name(source, real, name, typing_only=False, comment="")
                names.add(name)
            for leaf in self.modules_out[page.name]:
                needs.name(page.name, leaf, leaf, typing_only=False, comment="")
                names.add(leaf)
        head = self.docstring_of(page)
        parts = [head]
        if body or needs.lines(typing_only=True):
            parts.append("from __future__ import annotations")
        if needs.lines(typing_only=True) or needs.types:
            needs.name_external("typing", "TYPE_CHECKING")
        if runtime := needs.lines(typing_only=False):
            parts.append("\n".join(runtime))
        if lazy := [*(f"    {line}" for line in needs.lines(typing_only=True)), *(["", *needs.types] if needs.types else [])]:
            parts.append("if TYPE_CHECKING:\n" + "\n".join(lazy))
        if names:
            parts.append("__all__ = [" + ", ".join(f'"{one}"' for one in sorted(names)) + "]")
        if body:
            parts.append(body)
        for clash in needs.clashes:
            note("COLLISION", f"{page.name}: {clash}")
        defined = {self.home[c.module, one][1]: c.module for c in page.chunks for one in c.names}
        for local in needs.locals & set(defined):
            note("COLLISION", f"{page.name}: {local} is imported and is defined (from {defined[local]})")
        return "\n\n".join(parts) + "\n"

    def in_comments(self, text: str) -> str:
        return words(self, text)

    # ------------------------------------------------------------ the whole

    def run(self) -> dict[str, str]:
        """Write all pages; twice, because packages export what others turn out to need."""
        self.read_exports()
        out = {}
        for _ in range(2):
            out = {page.name: self.write_page(page) for page in self.pages.values() if page.name != ""}
        return out

    def read_exports(self) -> None:
        """What is public is exported, whether it is used or not."""
        for package, names in table.PUBLIC.items():
            for name in names.split() if names != "all" else []:
                found = [(m, n) for m, n in self.home.values() if n == name and (m == package or m.startswith(f"{package}."))]
                if len(found) != 1:
                    note("UNRESOLVED", f"PUBLIC of {package}: {name} {found}")
                    continue
                self.export(package, *found[0])
        for old, module in self.old.items():
            if not module.is_package or old == "":
                continue
            page = self.page_of[old]
            package = page if page in PACKAGES else folder_of(page)
            public = table.PUBLIC.get(package, "").split()
            for name in module.exports if public == ["all"] else []:
                found = self.canonical(old, name)
                if found is None:
                    meant = self.module_meant(module.bindings[name]) if name in module.bindings else None
                    if meant is not None:
                        self.modules_out[package].add(self.page_of[meant].rpartition(".")[2])
                    else:
                        note("UNRESOLVED", f"{old}.__all__: {name}")
                    continue
                to, new = self.home[found]
                if to == package or to.startswith(f"{package}."):
                    self.export(package, to, new)
                else:
                    note("exported before by another package", f"{old}: {name} is in {to} now")


class Needs:
    """What a module imports, by the local name."""

    def __init__(self) -> None:
        self.wanted: dict[str, tuple[str, str, str]] = {}  # local → (kind, module, attr)
        self.at_runtime: dict[str, bool] = {}
        self.comments: dict[str, str] = {}
        self.dotted: set[tuple[str, bool]] = set()
        self.clashes: list[str] = []
        self.types: list[str] = []  # what is defined for type checkers alone

    @property
    def locals(self) -> set[str]:
        return set(self.wanted)

    def add(self, local: str, spec: tuple[str, str, str], *, typing_only: bool, comment: str) -> None:
        if self.wanted.setdefault(local, spec) != spec:
            self.clashes.append(f"{local} is imported as {self.wanted[local]} and as {spec}")
        self.at_runtime[local] = self.at_runtime.get(local, False) or not typing_only
        if comment:
            self.comments[local] = comment

    def name(self, module: str, attr: str, local: str, *, typing_only: bool, comment: str) -> None:
        self.add(local, ("from", dotted(module), attr), typing_only=typing_only, comment=comment)

    def name_external(self, module: str, attr: str) -> None:
        self.add(attr, ("from", module, attr), typing_only=False, comment="")

    def external(self, binding: Binding, local: str) -> None:
        if binding.kind == "module" and not binding.local and "." in binding.module:
            self.dotted.add((binding.module, binding.typing_only))
            return
        kind = "import" if binding.kind == "module" else "from"
        self.add(local, (kind, binding.module, binding.attr), typing_only=binding.typing_only, comment=binding.comment)

    def lines(self, *, typing_only: bool) -> list[str]:
        found = []
        for local, (kind, module, attr) in self.wanted.items():
            if self.at_runtime[local] == typing_only:
                continue
            comment = f"  {self.comments[local]}" if local in self.comments else ""
            if kind == "import":
                found.append(f"import {module}" + (f" as {local}" if local != module else "") + comment)
            else:
                found.append(f"from {module} import {attr}" + (f" as {local}" if local != attr else "") + comment)
        found += [f"import {module}" for module, typing in self.dotted if typing == typing_only]
        return sorted(set(found))


# ---------------------------------------------------------------- words


def old_dotted(move: Move) -> dict[str, str]:
    """Old dotted modules, and definitions in them, → new ones."""
    if not hasattr(move, "_dotted"):
        move._dotted = {dotted(old): dotted(page) for old, page in move.page_of.items() if old}  # noqa: SLF001
    return move._dotted  # noqa: SLF001


DOTTED = re.compile(rf"(?<![\w./]){PACKAGE}((?:\.\w+)+)")
PATHS = re.compile(rf"{PACKAGE}/([\w/]+?)(?:/__init__)?\.py\b")
EMBEDDED = re.compile(rf"from ({PACKAGE}(?:\.\w+)*) import ([\w, ]+?)(?=[\\;\n'\"]|$)")


def shown_door(move: Move, module: str, name: str) -> str:
    """The shortest package that exports a name, for prose and for code in strings."""
    if name in move.old[""].exports:
        return ""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        if move.exports.get(package, {}).get(name) == (module, name):
            return package
    return module


def words(move: Move, text: str) -> str:
    """Rewrite names of modules and files in prose and strings."""

    def dotted_name(match: re.Match[str]) -> str:
        parts = match[1].strip(".").split(".")
        for depth in range(len(parts), 0, -1):
            old = ".".join(parts[:depth])
            if old not in move.old or old == "":
                continue
            rest = parts[depth:]
            if not rest:
                return dotted(move.page_of[old])
            found = move.canonical(old, rest[0])
            if found is None:
                return ".".join([dotted(move.page_of[old]), *rest])
            module, name = move.home[found]
            return ".".join([dotted(shown_door(move, module, name)), name, *rest[1:]])
        return match[0]

    def path_name(match: re.Match[str]) -> str:
        old = match[1].replace("/", ".")
        if old not in move.page_of:
            return match[0]
        page = move.page_of[old]
        return f"{PACKAGE}/{page.replace('.', '/')}" + ("/__init__.py" if page in PACKAGES else ".py")

    def embedded(match: re.Match[str]) -> str:
        old = undotted(match[1])
        names = [one.strip() for one in match[2].split(",")]
        homes = {}
        for one in names:
            plain = one.partition(" ")[0]
            whole = ".".join(filter(None, [old, plain]))
            found = move.canonical(old, plain) if old in move.old else None
            if found and old:
                module, name = move.home[found]
                homes[one] = (shown_door(move, module, name), name)
            elif whole in move.page_of and not found:
                package, _, leaf = move.page_of[whole].rpartition(".")
                homes[one] = (package, leaf if " as " in one or leaf == plain else f"{leaf} as {plain}")
        if len(homes) != len(names):
            return match[0]
        by_module: dict[str, list[str]] = defaultdict(list)
        for one, (module, name) in homes.items():
            _, _, alias = one.partition(" ")
            by_module[module].append(f"{name} {alias}".strip())
        return "; ".join(f"from {dotted(module)} import {', '.join(names)}" for module, names in by_module.items())

    def file_name(match: re.Match[str]) -> str:
        """`_retries.py`, said without its folder: as long as there is one of that name."""
        homes = {move.page_of[old] for old in move.page_of if old.rpartition(".")[2] == match[1]}
        return f"`{homes.pop().rpartition('.')[2]}.py`" if len(homes) == 1 else match[0]

    text = re.sub(r"`(_\w+)\.py`", file_name, text)
    text = EMBEDDED.sub(embedded, text)
    text = PATHS.sub(path_name, text)
    text = DOTTED.sub(dotted_name, text)
    for key, new in table.RENAMES.items():
        one = key.rpartition(".")[2]
        if one[0].isupper() and one not in {"Shape", "Side"}:
            text = re.sub(rf"`{one}`", f"`{new}`", text)
    return text


# ---------------------------------------------------------------- other people's imports: tests, benchmarks, notebooks, the door


class Outside:
    """Rewrites, in place, a module that isn't moved itself and uses the package's."""

    def __init__(self, move: Move, path: Path, text: str, importer: str | None) -> None:
        self.move, self.path, self.importer = move, path, importer
        self.source = Source(text)
        self.tree = ast.parse(text)
        self.edits: list[tuple[int, int, str]] = []
        self.renames: dict[str, tuple[str, str]] = {}  # local name → ("name", new) or ("module", old module)
        self.bound = self.all_bound()
        self.extra: set[str] = set()  # imports that uses turn out to need

    def all_bound(self) -> set[str]:
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        names |= {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)}
        return names | bound_in(ast.Module(self.tree.body, []))

    def where(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(self.move.root)}:{node.lineno}"

    def door(self, old: str, module: str, name: str) -> str:
        """From where to import: as before, by the door or past it."""
        if self.importer is not None:
            return self.move.import_from(self.importer, module, name)
        door = self.move.through("", module)
        exported = self.move.exports.get(door, {}).get(name)
        return door if exported == (module, name) else module

    def imports(self) -> None:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.ImportFrom) or undotted(node.module or "") is None or node.level:
                continue
            old = undotted(node.module)
            inner = not any(node is one for one in self.tree.body) and not self.at_top(node)
            if old and old not in self.move.old:
                note("UNRESOLVED", f"{self.where(node)}: {node.module}")
                continue
            lines: dict[str, list[str]] = defaultdict(list)
            for alias in node.names:
                module, text = self.one(old, alias, node, inner=inner)
                lines[dotted(module)].append(text)
            start, end = self.source.span(node)
            indent = " " * node.col_offset
            new = f"\n{indent}".join(f"from {module} import {', '.join(sorted(names))}" for module, names in lines.items())
            self.edits.append((start, end, new))

    def at_top(self, node: ast.AST) -> bool:
        return any(isinstance(one, ast.If) and any(node is inner for inner in one.body) for one in self.tree.body)

    def one(self, old: str, alias: ast.alias, node: ast.AST, *, inner: bool) -> tuple[str, str]:
        move = self.move
        found = move.canonical(old, alias.name)
        local = alias.asname or alias.name
        if found is None:
            whole = ".".join(filter(None, [old, alias.name]))
            if whole in move.page_of and alias.name not in move.old[old].exports or (whole in move.page_of and old == ""):
                return self.module(whole, alias, local, inner=inner)
            if old != "":
                note("UNRESOLVED", f"{self.where(node)}: {alias.name} from {old}")
            return old, alias.name + (f" as {alias.asname}" if alias.asname else "")
        module, name = move.home[found]
        if old == "" and self.importer is None:
            return "", alias.name + (f" as {alias.asname}" if alias.asname else "")
        if alias.asname:
            return self.door(old, module, name), name + (f" as {alias.asname}" if alias.asname != name else "")
        if name == alias.name:
            return self.door(old, module, name), name
        if inner or name in self.bound:
            return self.door(old, module, name), f"{name} as {alias.name}"
        self.renames[local] = "name", name
        return self.door(old, module, name), name

    def module(self, whole: str, alias: ast.alias, local: str, *, inner: bool) -> tuple[str, str]:
        """A module is imported as such."""
        page = self.move.page_of[whole]
        if page == "":
            return "", alias.name
        package, leaf = page.rpartition(".")[::2]
        if page in PACKAGES or leaf in self.move.exports.get(package, {}):
            pass
        if leaf in self.move.exports.get(package, {}) and page not in PACKAGES:
            note("the package has a name like its module's", f"{self.path.name}: {dotted(page)}")
        new = alias.asname or (leaf if leaf not in self.bound and not inner else local)
        self.renames[local] = "module", f"{whole}|{new}"
        return package, leaf + (f" as {new}" if new != leaf else "")

    def uses(self) -> None:
        """Rename the uses of what is imported under another name now, and of attributes of modules."""
        finder, tokens = Finder(), string_tokens(self.source)
        refs = [ref for node in self.tree.body for ref in finder.statement(node)]
        for ref in refs:
            kind, new = self.renames.get(ref.name, ("", ""))
            if kind == "name":
                if new in ref.visible:
                    note("SHADOWED", f"{self.where(ref.node)}: {new}")
                self.edits += rename_edits(self.source, tokens, ref, ref.name, new, False)
            elif kind == "module":
                self.module_use(ref, *new.split("|"), tokens)
        self.chains(tokens)
        self.patches()

    def module_use(self, ref: Ref, whole: str, local: str, tokens: list) -> None:
        if ref.attribute is None:
            if local != ref.name:
                self.edits += rename_edits(self.source, tokens, ref, ref.name, local, False)
            return
        attr = ref.attribute.attr
        found = self.move.canonical(whole, attr)
        name = attr
        if found:
            module, name = self.move.home[found]
            page = self.move.page_of[whole]
            if module != page and page not in PACKAGES:
                leaf = module.rpartition(".")[2]
                if leaf in self.bound:
                    note("A PERSON: attribute went elsewhere", f"{self.where(ref.node)}: {ref.name}.{attr} is in {module} now")
                else:
                    self.extra.add(f"from {dotted(module.rpartition('.')[0])} import {leaf}")
                    local = leaf
            if page in PACKAGES:
                self.move.export(page, module, name) if module.startswith(f"{page}.") or module == page else note(
                    "A PERSON: attribute went elsewhere", f"{self.where(ref.node)}: {ref.name}.{attr} is in {module} now"
                )
        if (local, name) != (ref.name, attr):
            self.edits += rename_edits(self.source, tokens, ref, f"{ref.name}.{attr}", f"{local}.{name}", True)

    def chains(self, tokens: list) -> None:
        """`mc_sink.staged.IfExists` in code, and `import mc_sink._fork`."""
        done: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute) and id(node) not in done:
                text = ast.unparse(node)
                if text.startswith(f"{PACKAGE}.") and re.fullmatch(r"[\w.]+", text):
                    for inner in ast.walk(node):
                        done.add(id(inner))
                    parts = text.split(".")[1:]
                    if parts[0] in self.move.old and (new := DOTTED.sub(lambda m: words(self.move, m[0]), text)) != text:
                        start, end = self.source.span(node)
                        if self.source.text[start:end] == text:
                            self.edits.append((start, end, new))
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    old = undotted(alias.name)
                    if old and old in self.move.page_of:
                        start, end = self.source.span(alias)
                        self.edits.append((start, end, dotted(self.move.page_of[old]) + (f" as {alias.asname}" if alias.asname else "")))

    def patches(self) -> None:
        """`setattr(module, "NAME", …)`: the name as the module has it now."""
        for node in ast.walk(self.tree):
            if not (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"setattr", "delattr", "object"} and len(node.args) > 1):
                continue
            first, second = node.args[:2]
            if isinstance(first, ast.Name) and isinstance(second, ast.Constant) and self.renames.get(first.id, ("",))[0] == "module":
                whole = self.renames[first.id][1].partition("|")[0]
                found = self.move.canonical(whole, second.value)
                if found:
                    name = self.move.home[found][1]
                    start, end = self.source.span(second)
                    if name != second.value:
                        self.edits.append((start, end, f'"{name}"'))
                    if self.move.home[found][0] != self.move.page_of[whole] and self.move.old[whole].bindings[second.value].kind == "def":
                        note("A PERSON: attribute went elsewhere", f"{self.where(node)}: {whole}.{second.value}")

    def strings(self) -> None:
        """Names of modules in strings and comments."""
        taken = [(start, end) for start, end, _ in self.edits]
        import io
        import tokenize

        for token in tokenize.generate_tokens(io.StringIO(self.source.text).readline):
            if token.type in {tokenize.STRING, tokenize.COMMENT} and (new := words(self.move, token.string)) != token.string:
                start = self.source.starts[token.start[0] - 1] + token.start[1]
                end = self.source.starts[token.end[0] - 1] + token.end[1]
                if not any(first < end and start < last for first, last in taken):
                    self.edits.append((start, end, new))
                else:
                    note("A PERSON: two edits in one string", f"{self.path.name}:{token.start[0]}")

    def result(self) -> str:
        self.imports()
        self.uses()
        if self.extra:
            first = next(node for node in self.tree.body if isinstance(node, ast.ImportFrom) and node.module != "__future__")
            at = self.source.offset(first.lineno, 0)
            self.edits.append((at, at, "".join(f"{line}\n" for line in sorted(self.extra))))
        self.strings()
        return apply(self.source.text, self.edits)


def door_homes(move: Move, text: str) -> str:
    """The table of `__getattr__` in the package's `__init__`: new homes of all names."""
    tree = ast.parse(text)
    source = Source(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "attributes":
            homes: dict[str, list[str]] = defaultdict(list)
            for old, names in ast.literal_eval(node.args[0]).items():
                for one in names.split():
                    found = move.canonical(old, one)
                    if found is None:
                        note("UNRESOLVED", f"__init__: {old}.{one}")
                        continue
                    module, name = move.home[found]
                    if name != one:
                        note("A PERSON: a public name would change", f"{one} → {name}")
                    part = module.split(".")[0]
                    if part in PACKAGES:
                        move.export(part, module, name)
                    homes[part].append(name)
            for module in ("platforms", "connector", "testing"):
                homes.setdefault(module, [])
            body = "\n".join(f'"{home}": "{" ".join(sorted(names))}",' for home, names in sorted(homes.items()))
            start, end = source.span(node.args[0])
            return text[:start] + "{\n" + wrapped(body) + "\n}" + text[end:]
    note("UNRESOLVED", "__init__: no call of attributes({...})")
    return text


def wrapped(body: str) -> str:
    """Break strings that are longer than a line."""
    lines = []
    for line in body.split("\n"):
        if len(line) < 100:
            lines.append(line)
            continue
        home, _, names = line.partition(": ")
        words_, rows, row = names.strip('",').split(), [], ""
        for word in words_:
            if len(row) + len(word) > 90:
                rows.append(row)
                row = ""
            row += f"{word} "
        rows.append(row)
        lines.append(f"{home}: " + "\n".join(f'"{one if one is not rows[-1] else one.strip()}"' for one in rows) + ",")
    return "\n".join(lines)


# ---------------------------------------------------------------- files


def main(root: Path) -> None:
    move = Move(root)
    move.read_exports()
    door_path = root / PACKAGE / "__init__.py"
    door_text = door_homes(move, door_path.read_text())
    door_text = Outside(move, door_path, door_text, "").result()
    move.run()
    outsiders: dict[Path, str] = {}
    for folder in ("tests", "benchmarks", "notebooks"):
        for path in sorted((root / folder).rglob("*.py")):
            if path == root / "tests/test_floors.py":
                continue
            outsiders[path] = Outside(move, path, path.read_text(), None).result()
    pages = move.run()
    prose = {}
    for pattern in ("docs/**/*.md", "docs/**/*.json", "*.md", "notebooks/*.ipynb", "Makefile", "pyproject.toml", "schemas/*.yaml"):
        for path in sorted(root.glob(pattern)):
            text = path.read_text()
            if path.name == "CHANGELOG.md":
                continue
            new = words(move, text)
            if path.name == "pyproject.toml":
                new = new.replace('mc-sink = "mc_sink.cli:main"', 'mc-sink = "mc_sink.connector.cli:main"')
            if new != text:
                prose[path] = new
    for module in move.old.values():
        module.path.unlink()
    for name, text in {"": door_text, **pages}.items():
        path = root / PACKAGE / Path(*name.split(".")) if name else root / PACKAGE
        path = path / "__init__.py" if name in PACKAGES else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in sorted((root / PACKAGE).rglob("*"), reverse=True):
        if folder.is_dir() and not any(one.name != "__pycache__" for one in folder.iterdir()):
            subprocess.run(["rm", "-rf", folder], check=True)
    for path, text in {**outsiders, **prose}.items():
        path.write_text(text)
    floors = root / "tests/test_floors.py"
    floors.write_text(words(move, floors.read_text()))
    special.PAGE_OF.update(move.page_of)
    special.run(root, note)
    if "--keep-tests" not in sys.argv:
        move_tests.main(root, note)
    special.wrap(root)
    if "--bare" not in sys.argv:
        finish(root)
    report(root)


def cycles(root: Path) -> None:
    """Two files that need each other, because of what was merged."""
    from graphlib import CycleError, TopologicalSorter

    paths = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in (root / PACKAGE).rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                wholes = {f"{node.module}.{alias.name}" for alias in node.names}
                graph.setdefault(name, set()).update(one if one in paths else str(node.module) for one in wholes)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        note("CYCLE", " → ".join(error.args[1]))


SOURCES = ["mc_sink", "tests", "benchmarks", "notebooks"]


def finish(root: Path) -> None:
    """Sort imports, move those for types alone, format; then the fields, by what mypy says; and what is left to say."""

    def say(*command: str) -> str:
        ran = subprocess.run(["nice", *command], cwd=root, capture_output=True, text=True, check=False)
        return ran.stdout

    def tidy() -> None:
        say(".venv/bin/ruff", "check", "-q", "--fix", *SOURCES)
        say(".venv/bin/ruff", "check", "-q", "--fix", "--unsafe-fixes", "--select", "TC001,TC002,TC003,I001", *SOURCES)
        say(".venv/bin/ruff", "format", "-q", *SOURCES)

    subprocess.run(["rm", "-rf", root / ".mypy_cache"], check=True)  # it confuses old modules with new ones
    tidy()
    attributes.main(root)
    special.wrap(root)
    tidy()
    for line in say(".venv/bin/ruff", "check", "--output-format", "concise", *SOURCES).splitlines():
        note("RUFF", line)
    for line in say(".venv/bin/mypy").splitlines():
        note("MYPY", line)


def report(root: Path) -> None:
    """What a person should look at, and figures."""
    importers: dict[str, set[str]] = defaultdict(set)
    lengths = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        text = path.read_text()
        lengths[str(path.relative_to(root))] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and undotted(node.module or "") is not None:
                for alias in node.names:
                    importers[node.module].add(str(path))
                    importers[f"{node.module}.{alias.name}"].add(str(path))
    modules = {name: ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__") for name in lengths}
    once = [name for name, module in modules.items() if len(importers[module]) == 1]
    longest = sorted(lengths, key=lengths.__getitem__)[-5:]
    cycles(root)
    for name, length in lengths.items():
        if length > 350:
            note("TOO LONG", f"{name}: {length} lines")
    print(f"files {len(lengths)}, lines {sum(lengths.values())}, with one importer {len(once)}")
    print("with one importer:", *(name.removeprefix("mc_sink/") for name in once))
    print("longest:", *(f"{name} {lengths[name]}" for name in longest))
    (Path(__file__).parent / "notes.json").write_text(json.dumps(NOTES, indent=2))
    for kind, texts in sorted(NOTES.items()):
        print(f"\n== {kind} ({len(texts)})")
        for text in texts:
            print(f"   {text}")


if __name__ == "__main__":
    if "--figures" in sys.argv:
        report(Path(sys.argv[1]).resolve())
    else:
        main(Path(sys.argv[1]).resolve())
