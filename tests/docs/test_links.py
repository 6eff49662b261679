"""The links of the README and the docs lead somewhere, also from a package index, and the site's checker works."""

from __future__ import annotations

import re
import runpy
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from tests.support.doc_blocks import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = re.compile(
    r"https://(?:github\.com/madconnect/mc-sink/(?:blob|tree)|raw\.githubusercontent\.com/madconnect/mc-sink)/main/"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TEXTS = [*PAGES, *sorted((ROOT / "docs" / "schemas").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and the site make them from its headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [unicodedata.normalize("NFKD", line).lower() for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", line).strip().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    """Links to this repository are followed in this checkout, and those to other hosts are left alone."""
    wrong = []
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        base = ROOT if REPOSITORY.match(link) else page.parent
        path, _, anchor = REPOSITORY.sub("", link).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (base / path) if path else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            wrong.append(link)
    assert wrong == []


def test_the_readme_reads_on_a_package_index() -> None:
    """As it is in the metadata: its links and pictures are whole URLs of files that exist, and it begins with pip."""
    metadata = ProjectMetadata(str(ROOT), PluginManager())
    text = CODE.sub("", metadata.core.readme)
    links = LINK.findall(text)
    assert {bool(REPOSITORY.match(link)) for link in links} == {True}
    assert [link for link in links if not (ROOT / REPOSITORY.sub("", link).partition("#")[0]).exists()] == []
    assert "https://raw.githubusercontent.com/madconnect/mc-sink/main/docs/pictures/terminal.svg" in links
    assert metadata.core.readme.index("pip install mc-sink") < 300
    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} <= {*metadata.core.urls}


def test_the_checker_of_the_site_finds_what_is_broken(tmp_path: Path) -> None:
    """A missing page, a missing heading, and a script of another host; a whole site has no line."""
    broken_links = runpy.run_path(str(ROOT / ".ci" / "links.py"))["broken_links"]
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>', encoding="utf-8")
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="https://example.com/x">x</a>', "utf-8")
    assert broken_links(tmp_path) == []
    (tmp_path / "c.html").write_text(
        '<a href="d.html">d</a><a href="b.html#gone">b</a><script src="https://example.com/x.js"></script>', "utf-8"
    )
    assert [line.split(":")[0] for line in broken_links(tmp_path)] == ["c.html"] * 3
    assert broken_links(tmp_path / "empty") != []
