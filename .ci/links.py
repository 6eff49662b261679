"""Check the links of a built site, without a network: `python .ci/links.py site`.

Every link and picture within the site leads to a page, and to a heading of it if it names one. No page loads a script,
a style or a picture from another host.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}


class Page(HTMLParser):
    """The ids of a page, where its links lead, and the URLs that a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found and found.get("rel") not in NOT_LOADED:
            self.loaded.append(found[LOADED[tag]])
        if "mermaid" in found.get("class", "").split():
            self.loaded.append("https://unpkg.com/mermaid")  # the theme's script loads it from there


def broken_links(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere, and for each URL of another host that a page loads."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = [] if pages else [f"{site}: no pages"]
    for path, page in pages.items():
        shown = path.relative_to(site.resolve())
        wrong += [f"{shown}: loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":  # whose links begin at the host's root
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not file.is_file():
                wrong.append(f"{shown}: {link}: there isn't such a file")
            elif anchor and file in pages and anchor not in pages[file].ids:
                wrong.append(f"{shown}: {link}: the page has no such heading")
    for style in site.rglob("*.css"):
        urls = re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", style.read_text(encoding="utf-8"))
        wrong += [f"{style.relative_to(site)}: loads {url}" for url in urls]
    return wrong


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[1]))
    sys.exit("\n".join(found) or None)
