"""Make the pages of the site that have another source: the start page, the reference, and the navigation.

mkdocs calls `on_config`, `on_files` and `on_page_markdown`. A page that no section names is listed under "More".
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File

import mc_sink
from mc_sink.connector.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/madconnect/mc-sink"
ENGINES = ROOT / "mc_sink" / "engines"
BACKSPACE = "\b"  # click's mark before lines that it leaves as they are
COMMANDS = "reference/commands.md"
START = ["index", "first-delivery"]
FEEDS = sorted(f"schemas/{path.stem}" for path in (ROOT / "docs" / "schemas").glob("*.md"))
SECTIONS = {
    "What the receiver gets": [
        *("names", "partitions", "csv", "types", "manifest", "receivers", "loading", "handover", "changes"),
    ],
    "Rows": ["validation", "identity"],
    "Delivering": ["reruns", "report", "errors", "platforms", "stores", "environment", "performance"],
    "Unattended": ["cli", "json", "schedules", "operations", "hooks", "containers"],
    "Several machines": ["shares", "spark", "ray", "dask", "orchestrators"],
    "Reference": ["reference/python", "reference/options", "reference/modules", "reference/commands"],
    "Feeds": FEEDS,
    "The project": ["architecture", "faults", "contributing", "changelog", "security"],
}
TITLES = {"index": "mc_sink", "reference/commands": "Commands"}
# Pages made from a file beside docs/.
COPIES = {"index": "README", "contributing": "CONTRIBUTING", "changelog": "CHANGELOG", "security": "SECURITY"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Order the pages in sections, and list all others at the end."""
    present = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    present |= {*COPIES, *(name.removesuffix(".md") for name in reference())}
    listed = {section: [name for name in names if name in present] for section, names in SECTIONS.items()}
    listed["More"] = sorted(present - {*START} - {name for names in listed.values() for name in names})
    start = [entry(name) for name in START if name in present]
    config.nav = start + [{section: [entry(name) for name in names]} for section, names in listed.items() if names]
    return config


def entry(name: str) -> str | dict[str, str]:
    """Return the navigation's entry of a page, with a title where its heading isn't one."""
    return {TITLES[name]: f"{name}.md"} if name in TITLES else f"{name}.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for name, source in COPIES.items():
        text = (ROOT / f"{source}.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"{name}.md", content=text))
    for name, text in reference().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links of the pages beside docs/ to those of the site, and drop the notes for the tests."""
    markdown = re.sub(r"^<!-- (?:run by|not run).*? -->\n", "", markdown, flags=re.MULTILINE)
    markdown = markdown.replace("(docs/schemas)", f"({FEEDS[0]}.md)").replace("](docs/", "](")
    for page, source in COPIES.items():
        markdown = markdown.replace(f"]({source}.md)", f"]({page}.md)")
    return markdown.replace("](notebooks/", f"]({REPOSITORY}/blob/main/notebooks/")


def reference() -> dict[str, str]:
    """Return the pages of the reference by their names, with the directives that mkdocstrings replaces."""
    names = [name for name in mc_sink.__all__ if name != "platforms"]
    found = {name: getattr(mc_sink, name) for name in names}
    errors = [name for name in names if isinstance(found[name], type) and issubclass(found[name], Exception)]
    functions = [name for name in names if callable(found[name]) and not isinstance(found[name], type)]
    values = [name for name in names if name not in {*errors, *functions}]
    options = {"Csv", "Parquet", "ObjectOptions", "Secret", "Platform", "Preset", "Limit", "PRESETS"}
    modules = {name: sorted(listed) for name, listed in public_modules().items() if listed}
    modules |= {f"engines.{path.stem}": functions_of(path) for path in sorted(ENGINES.glob("[a-z]*.py"))}
    return {
        "reference/python.md": page(
            "mc_sink",
            {
                "Functions": functions,
                "Results": [name for name in values if name not in options],
                "Errors": sorted(errors, key=lambda name: len(found[name].__mro__)),
            },
        ),
        "reference/options.md": page("Options", {"Formats, objects, credentials and receivers": sorted(options)}),
        "reference/modules.md": "# Modules\n\n"
        + "\n\n".join(
            f"## mc_sink.{module}\n\n" + directives(f"mc_sink.{module}", names) for module, names in modules.items()
        ),
        COMMANDS: "# Commands\n\nAs `--help` shows them; [cli](../cli.md) has what they have in common.\n\n"
        + "\n".join(described(typer.main.get_command(app), "mc-sink")),
    }


def public_modules() -> dict[str, set[str]]:
    """Return the public modules with their names, as the test of the public names lists them."""
    tree = ast.parse((ROOT / "tests" / "test_floors.py").read_text(encoding="utf-8"))
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.AnnAssign) and named(node.target) == "PUBLIC"]
    found: dict[str, set[str]] = ast.literal_eval(listed or ast.Dict())
    return found


def named(node: ast.expr) -> str:
    """Return the name that a variable has."""
    return node.id if isinstance(node, ast.Name) else ""


def functions_of(path: Path) -> list[str]:
    """Return the public functions and classes of a module, without importing the engine that it loads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    listed = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node.name for node in listed if not node.name.startswith("_") and ast.get_docstring(node)]


def page(title: str, sections: dict[str, list[str]]) -> str:
    """Return a page with a section for each list of names of `mc_sink`."""
    shown = [f"## {section}\n\n{directives('mc_sink', names)}" for section, names in sections.items()]
    return f"# {title}\n\n" + "\n\n".join(shown) + "\n"


def directives(module: str, names: list[str]) -> str:
    """Return what mkdocstrings replaces by the documentation of these names."""
    return "\n\n".join(f"::: {module}.{name}" for name in names)


def described(command: Any, name: str) -> Iterator[str]:
    """Yield the text of a command, and of those below it."""
    where = command.context_class(command, info_name=name)
    yield f"## {name}\n"
    yield f"{(command.help or '').strip()}\n"
    yield f"```text\n{command.get_usage(where).removeprefix('Usage: ')}\n```\n"
    records = [record for one in command.get_params(where) if (record := one.get_help_record(where))]
    yield "\n".join(f"- `{spelling}`: {' '.join(text.split())}" for spelling, text in records) + "\n"
    if command.epilog:
        yield f"```text\n{command.epilog.replace(BACKSPACE, '').strip()}\n```\n"
    for word, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from described(one, f"{name} {word}")
