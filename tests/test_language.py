"""The language of code, messages and docs: docstrings begin with a plain verb, and riddles stay out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CODE = sorted((ROOT / "mc_sink").rglob("*.py"))
# What the tests share. A test's own docstring states what holds, and a fixture's what it is.
SHARED = [path for folder in ("servers", "support") for path in sorted((ROOT / "tests" / folder).glob("*.py"))]
SHARED = [path for path in SHARED if not path.name.startswith("test_")]
TEXTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_CODE = [
    path
    for folder in ("tests", "benchmarks", "notebooks", ".ci")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]

# Docstrings of functions begin with one of these. Add a verb where it is an ordinary one.
VERBS = frozenset(
    """
    Abort Accept Add Adopt Append Apply Ask Begin Bind Bound Break Build Cache Cast Check Choose Clean Clear
    Close Collect Combine Compare Compile Complete Compress Compute Configure Connect Convert Copy Correct Count
    Create Cut Decide Decode Delete Deliver Derive Describe Detach Discard Divide Draw Drop Encode End Ensure
    Enter Escape Estimate Evaluate Exclude Execute Exit Expand Explain Export Extend Extract Fail Fill Filter
    Find Finish Fit Follow Forbid Fork Format Free Generate Group Hash Hold Ignore Import Include Inform Insert Inspect
    Install Issue Iterate Join Judge Keep Kill Leave Limit List Load Lock Log Look Make Map Mark Mask Match Measure
    Merge Move Name Normalise Note Notify Number Obtain Omit Open Order Parse Pass Pause Peek Pick Plan Point
    Prepare Preview Print Prove Publish Pull Push Put Quote Raise Read Rebuild Receive Recognise Record Recover
    Redact Refuse Register Reject Release Remember Remove Rename Render Repeat Replace Report Request Reset
    Resolve Restore Resume Retry Return Rewrite Round Run Save Scan Seal Search Select Send Serialise Serve Set Show
    Shut Sign Silence Skip Sort Split Stage Start Stop Store Stream Strip Sum Sweep Test Time Trace Track
    Translate Treat Truncate Turn Undo Unlock Update Upload Use Validate Verify Visit Wait Wake Warn Watch Wrap
    Write Yield
    """.split()  # noqa: SIM905  a list of words is read most easily as text
)
# Each with what to write instead.
BANNED = {
    r"\bnobody\b|\bno one\b": "name the actor",
    r"\bsomebody(?!\w)": "name the actor",
    r"\bwhoever\b|\bwhatever\b(?! the)": "name the actor or the thing",
    r"\banew\b": "again",
    r"\bmilliards?\b": "10^9",
    r"\bmend(?:s|ed|ing)?\b": "fix, correct",
    r"\btold\b|\bsaid\b": "reported, stated; or name the thing",
    r"\bours\b|\btheirs\b": "name the thing",
    r"\bthere (?:are|is)\b(?!n't)": "say what exists",
    r"\b(?:is|are|was|were) no (?!longer\b|more\b|less\b)\w": "is not a …",
    r"\bas (?:was|is) meant\b": "as intended",
    r"\b(?:a|an|the|this|that|another|each|every|earlier|later|first|second|last|next|other|of) try\b": "attempt",
    r"\btries\b(?! to\b)": "attempts",
    r"\b(?:house|room|rooms)\b": "package, folder, space",
    r"\b[a-z]{3,}\(s\)": "the right number: 1 file, 2 files",
    r"\bwon't do\b": "say what is wrong",
}
IDENTIFIERS = frozenset({"told", "said", "whoever", "somebody", "nobody", "tries"})
_BANNED = re.compile("|".join(f"(?:{pattern})" for pattern in BANNED), re.IGNORECASE)
_FIELD = re.compile(r"(?<!\{)\{[^{}]*\}")


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments and strings of a file, without the expressions in them."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type == tokenize.COMMENT or "STRING" in tokenize.tok_name[token.type]:
            for number, line in enumerate(token.string.splitlines()):
                yield token.start[0] + number, _FIELD.sub("", line)


def banned(path: Path) -> list[str]:
    """Return the lines of a file that use a banned word."""
    lines = words(path) if path.suffix == ".py" else enumerate(path.read_text("utf-8").splitlines(), 1)
    return [
        f"{path.relative_to(ROOT)}:{number}: {found.group(0)!r} in {line.strip()[:110]}"
        for number, line in lines
        if (found := _BANNED.search(line))
    ]


def docstrings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the docstrings of functions: line, name and text."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            decorators = {ast.unparse(one).split(".")[-1] for one in node.decorator_list}
            if not decorators & {"property", "cached_property", "setter"}:
                yield node.lineno, node.name, text


@pytest.mark.parametrize("path", [*CODE, *TEXTS, *OTHER_CODE], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_banned_word_is_used(path: Path) -> None:
    """Neither comments, docstrings and messages nor pages use the words that hide the actor or the thing."""
    assert not banned(path), "\n".join(banned(path))


@pytest.mark.parametrize("path", [*CODE, *SHARED], ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_of_functions_begin_with_a_verb(path: Path) -> None:
    """A reader knows from the first word what a function does. A property's names what it is."""
    odd = [
        f"{path.relative_to(ROOT)}:{line}: {name}: {text.splitlines()[0][:100]}"
        for line, name, text in docstrings(path)
        if text.split()[0].rstrip(",.;:") not in VERBS
    ]
    assert not odd, "\n".join(odd)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_no_riddles(path: Path) -> None:
    """Variables are called after what they hold."""
    tree = ast.parse(path.read_text("utf-8"))
    odd = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & IDENTIFIERS)
    assert not odd, odd
