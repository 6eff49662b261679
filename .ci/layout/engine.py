"""The machinery of move.py: reads modules as statements, resolves names by scope, and writes modules anew from a table."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "mc_sink"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


# ---------------------------------------------------------------- positions


class Source:
    """A text with the offsets of its lines; `ast` counts columns in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        raw = self.lines[line - 1]
        return self.starts[line - 1] + (column if raw.isascii() else len(raw.encode()[:column].decode()))

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)


def apply(text: str, edits: list[tuple[int, int, str]], start: int = 0, end: int | None = None) -> str:
    """Apply edits that lie in a part of a text; edits must not overlap."""
    end = len(text) if end is None else end
    out, at = [], start
    for first, last, new in sorted(set(edits)):
        if first < start or last > end:
            continue
        assert first >= at, f"edits overlap at {text[first - 20 : last + 20]!r} {new!r}"
        out += [text[at:first], new]
        at = last
    return "".join([*out, text[at:end]])


# ---------------------------------------------------------------- scopes


def bound_in(node: ast.AST) -> set[str]:
    """The names that a function, comprehension or class binds itself."""
    names: set[str] = set()
    globals_: set[str] = set()
    if isinstance(node, FUNCTIONS):
        args = node.args
        names |= {a.arg for a in [*args.posonlyargs, *args.args, *args.kwonlyargs]}
        names |= {a.arg for a in (args.vararg, args.kwarg) if a}
    is_comprehension = isinstance(node, COMPREHENSIONS)

    def look(child: ast.AST) -> None:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(child.name)
            return
        if isinstance(child, ast.Lambda):
            return
        if isinstance(child, COMPREHENSIONS):  # a walrus in it binds outside
            for inner in ast.walk(child):
                if isinstance(inner, ast.NamedExpr):
                    names.add(inner.target.id)
            return
        if isinstance(child, ast.Global):
            globals_.update(child.names)
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store | ast.Del):
            names.add(child.id)
        elif isinstance(child, ast.Import | ast.ImportFrom):
            names.update((a.asname or a.name.split(".")[0]) for a in child.names)
        elif isinstance(child, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and child.name:
            names.add(child.name)
        elif isinstance(child, ast.MatchMapping) and child.rest:
            names.add(child.rest)
        elif is_comprehension and isinstance(child, ast.NamedExpr):
            look(child.value)
            return
        for grand in ast.iter_child_nodes(child):
            look(grand)

    if is_comprehension:
        for generator in node.generators:
            look(generator.target)
    else:
        body = node.body if isinstance(node.body, list) else [node.body]
        for child in body:
            look(child)
    return names - globals_


@dataclass
class Ref:
    """A use of a module's global name; `attribute` is what is asked of it, `visible` the local names around."""

    name: str
    node: ast.AST
    eager: bool
    annotation: bool
    visible: frozenset[str]
    attribute: ast.Attribute | None = None
    joined: ast.JoinedStr | None = None
    quoted: ast.Constant | None = None
    store: bool = False


class Finder:
    """Finds every use of a global name in a statement of a module."""

    def __init__(self, typing_names: frozenset[str] = frozenset()) -> None:
        self.refs: list[Ref] = []
        self.typing_names = typing_names  # what only type checkers know: a string that names it is a type

    def statement(self, node: ast.stmt) -> list[Ref]:
        self.refs = []
        self.visit(node, scopes=(), eager=True, annotation=False, joined=None, quoted=None)
        return self.refs

    def is_global(self, name: str, scopes: tuple[tuple[str, set[str]], ...]) -> bool:
        for depth, (kind, names) in enumerate(reversed(scopes)):
            if kind == "class" and depth:
                continue
            if name in names:
                return False
        return True

    def visit(self, node: ast.AST, *, attribute: ast.Attribute | None = None, **state) -> None:
        scopes = state["scopes"]
        if isinstance(node, ast.Name):
            if self.is_global(node.id, scopes):
                visible = frozenset().union(*(names for kind, names in scopes if kind != "class"))
                self.refs.append(
                    Ref(
                        node.id,
                        node,
                        state["eager"],
                        state["annotation"],
                        visible,
                        attribute,
                        state["joined"],
                        state["quoted"],
                        not isinstance(node.ctx, ast.Load),
                    )
                )
            return
        if isinstance(node, ast.Attribute):
            self.visit(node.value, attribute=node, **state)
            return
        if isinstance(node, ast.JoinedStr):
            state = {**state, "joined": state["joined"] or node}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not state["quoted"]:
            if state["annotation"] or self.names_a_type(node.value):
                self.quoted(node, state)
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"cast", "TypeVar"}:
            self.visit(node.func, **state)
            for index, arg in enumerate(node.args):
                as_type = isinstance(arg, ast.Constant) and node.func.id == "cast" and index == 0
                (self.quoted if as_type else self.visit)(arg, **({"state": state} if as_type else state))
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and keyword.arg == "bound":
                    self.quoted(keyword.value, state)
                else:
                    self.visit(keyword.value, **state)
            return
        if isinstance(node, FUNCTIONS):
            self.function(node, state)
            return
        if isinstance(node, ast.ClassDef):
            for child in [*node.decorator_list, *node.bases, *node.keywords]:
                self.visit(child, **state)
            inner = {**state, "scopes": (*scopes, ("class", bound_in(node)))}
            for child in node.body:
                self.visit(child, **inner)
            return
        if isinstance(node, COMPREHENSIONS):
            inner = {**state, "scopes": (*scopes, ("function", bound_in(node)))}
            self.visit(node.generators[0].iter, **state)
            for index, generator in enumerate(node.generators):
                self.visit(generator.target, **inner)
                if index:
                    self.visit(generator.iter, **inner)
                for test in generator.ifs:
                    self.visit(test, **inner)
            for name in ("elt", "key", "value"):
                if hasattr(node, name):
                    self.visit(getattr(node, name), **inner)
            return
        if isinstance(node, ast.AnnAssign):
            self.visit(node.target, **state)
            self.visit(node.annotation, **{**state, "annotation": True, "eager": False})
            if node.value:
                self.visit(node.value, **state)
            return
        for child in ast.iter_child_nodes(node):
            self.visit(child, **state)

    def names_a_type(self, text: str) -> bool:
        try:
            inner = ast.parse(text, mode="eval")
        except (SyntaxError, ValueError):
            return False
        names = {node.id for node in ast.walk(inner) if isinstance(node, ast.Name)}
        return bool(names & self.typing_names) and isinstance(inner.body, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp)

    def quoted(self, node: ast.Constant, state: dict) -> None:
        """A type that is written as a string."""
        try:
            inner = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return
        self.visit(inner, **{**state, "quoted": node, "annotation": True, "eager": False})

    def function(self, node: ast.AST, state: dict) -> None:
        args = node.args
        for default in [*args.defaults, *filter(None, args.kw_defaults)]:
            self.visit(default, **state)
        if not isinstance(node, ast.Lambda):
            for decorator in node.decorator_list:
                self.visit(decorator, **state)
            notes = [a.annotation for a in [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg] if a]
            for note in filter(None, [*notes, node.returns]):
                self.visit(note, **{**state, "annotation": True, "eager": False})
        inner = {**state, "scopes": (*state["scopes"], ("function", bound_in(node))), "eager": False}
        for child in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(child, **inner)


# ---------------------------------------------------------------- modules


@dataclass
class Binding:
    """What a global name of a module is: a definition, or an import."""

    kind: str  # "def", "name" (from x import y), "module" (import x / from package import module)
    module: str = ""  # imported module, whole
    attr: str = ""  # imported name, for "name"
    local: str = ""
    typing_only: bool = False
    comment: str = ""


@dataclass
class Chunk:
    """A statement of a module, or several that define one name, with the comments before it."""

    module: str
    nodes: list[ast.stmt]
    start: int
    end: int
    names: list[str]
    is_head: bool = False
    typing_only: bool = False
    refs: list[Ref] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int]:
        return self.module, self.start


@dataclass
class Module:
    name: str  # without the package: "_files._rows"; "" for the package itself
    path: Path
    source: Source
    tree: ast.Module
    chunks: list[Chunk] = field(default_factory=list)
    bindings: dict[str, Binding] = field(default_factory=dict)
    exports: list[str] = field(default_factory=list)
    docstring: str = ""
    has_future: bool = False
    lost: list[str] = field(default_factory=list)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    wrapper = ast.Module(body=[node], type_ignores=[])
    return sorted(bound_in(wrapper))


def imports_in(node: ast.stmt, source: Source, *, typing_only: bool) -> list[Binding]:
    line = source.lines[node.end_lineno - 1]
    column = source.offset(node.end_lineno, node.end_col_offset) - source.starts[node.end_lineno - 1]
    comment = line[column:].strip()
    found = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            found.append(Binding("module", alias.name, "", alias.asname or "", typing_only, comment))
    else:
        for alias in node.names:
            found.append(Binding("name", node.module or "", alias.name, alias.asname or "", typing_only, comment))
    return found


def local_of(binding: Binding) -> str:
    if binding.local:
        return binding.local
    return binding.attr if binding.kind == "name" else binding.module.split(".")[0]


def load(root: Path, path: Path) -> Module:
    """Read a module of the package as statements."""
    parts = path.relative_to(root / PACKAGE).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    source = Source(path.read_text(encoding="utf-8"))
    module = Module(name, path, source, ast.parse(source.text, str(path)))
    body = list(module.tree.body)
    at = 0
    if body and ast.get_docstring(module.tree, clean=False) is not None:
        module.docstring = ast.get_docstring(module.tree)
        at = body[0].end_lineno
        body = body[1:]
    head = True
    for node in body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        before = [line for line in source.lines[at : first - 1] if line.strip()]
        start, at = at, node.end_lineno
        if isinstance(node, ast.Import | ast.ImportFrom):
            module.lost += before
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                module.has_future = True
                continue
            for binding in imports_in(node, source, typing_only=False):
                module.bindings[local_of(binding)] = binding
            continue
        rest = [node]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            rest = []
            for inner in node.body:
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for binding in imports_in(inner, source, typing_only=True):
                        module.bindings[local_of(binding)] = binding
                else:
                    rest.append(inner)
            module.lost += before
            inner_at = first
            for inner in node.body:
                if inner in rest:
                    begin = inner.lineno - 1
                    while begin > inner_at and source.lines[begin - 1].strip().startswith("#"):
                        begin -= 1
                    names = names_of(inner)
                    module.chunks.append(Chunk(name, [inner], begin, inner.end_lineno, names, typing_only=True))
                    module.bindings |= {one: Binding("def", typing_only=True) for one in names}
                inner_at = inner.end_lineno
            continue
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            module.exports = list(ast.literal_eval(node.value))
            module.lost += before
            continue
        names = names_of(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            head = False
        while start < first - 1 and not source.lines[start].strip():
            start += 1
        before_chunk = module.chunks[-1] if module.chunks else None
        if before_chunk and before_chunk.names == names and len(names) == 1 and isinstance(node, ast.FunctionDef):
            before_chunk.nodes.append(node)  # overloads, and what they are of
            before_chunk.end = node.end_lineno
        else:
            module.chunks.append(
                Chunk(name, [node], start, node.end_lineno, names, is_head=head and isinstance(node, ast.Assign | ast.AnnAssign))
            )
        for one in names:
            module.bindings[one] = Binding("def")
    tail = [line for line in source.lines[at:] if line.strip()]
    if tail and module.chunks:
        module.chunks[-1].end = len(source.lines)
    finder = Finder(frozenset(one for one, binding in module.bindings.items() if binding.typing_only))
    for chunk in module.chunks:
        chunk.refs = [ref for node in chunk.nodes for ref in finder.statement(node)]
        for ref in chunk.refs:
            ref.annotation |= chunk.typing_only
    return module


def fstring_fields(text: str) -> list[tuple[int, int]]:
    """The parts of a text of an f-string that are code: between braces that aren't doubled."""
    spans, depth, start, index = [], 0, 0, 0
    while index < len(text):
        two = text[index : index + 2]
        if depth == 0 and two in {"{{", "}}"}:
            index += 2
            continue
        if text[index] == "{":
            depth += 1
            if depth == 1:
                start = index + 1
        elif text[index] == "}" and depth:
            depth -= 1
            if depth == 0:
                spans.append((start, index))
        index += 1
    return spans


def string_tokens(source: Source) -> list[tuple[int, int, str]]:
    """Every string token with its span; an f-string is one token before Python 3.12."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.STRING:
            first = source.starts[token.start[0] - 1] + token.start[1]
            last = source.starts[token.end[0] - 1] + token.end[1]
            found.append((first, last, token.string))
    return found


def rename_in_fstring(source: Source, tokens: list[tuple[int, int, str]], node: ast.JoinedStr, old: str, new: str) -> list[tuple[int, int, str]]:
    """Edits that rename a name in the code of an f-string (`old` may be dotted)."""
    first, last = source.span(node)
    edits = []
    pattern = re.compile(rf"(?<![\w.'\"]){re.escape(old)}(?![\w'\"])(?!\s*=[^=])")
    for start, end, text in tokens:
        if start < first or end > last or "f" not in re.match(r"\w*", text)[0].lower():
            continue
        for begin, stop in fstring_fields(text):
            for match in pattern.finditer(text, begin, stop):
                edits.append((start + match.start(), start + match.end(), new))
    return edits


def rename_edits(source: Source, tokens: list, ref: Ref, old: str, new: str, whole: bool) -> list[tuple[int, int, str]]:
    """The edits that rename one use, in code, in a type that is a string, or in an f-string."""
    if ref.quoted is not None:
        start, end = source.span(ref.quoted)
        text = source.text[start:end]
        return [(start, end, re.sub(rf"(?<![\w.]){re.escape(old)}(?!\w)", new, text))]
    if ref.joined is not None:
        return rename_in_fstring(source, tokens, ref.joined, old, new)
    start, end = source.span(ref.attribute if whole else ref.node)
    assert source.text[start:end] == old, (source.text[start:end], old)
    return [(start, end, new)]
