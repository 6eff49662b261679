"""Reads a report as a browser and a screen reader would, and checks what needs no eyes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

_VOID = {"meta", "br", "link", "img", "input", "hr", "rect"}  # and `rect` without a title in it, which ends itself
_LOADING = frozenset({"script", "link", "img", "iframe", "object", "embed", "audio", "video", "base", "form", "use"})
_ATTRIBUTES = {"src", "srcset", "xlink:href", "action", "poster", "data", "background", "ping"}
# Texts and what they stand on: the ratio that WCAG 2.2 AA wants of texts, and of graphics.
TEXT, GRAPHIC = 4.5, 3.0


class ReportPage(HTMLParser):
    """A page whose tags close in order, that loads and runs nothing, and that a screen reader can read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.texts: list[str] = []
        self.headings: list[int] = []
        self.links: list[str] = []
        self.titles_of_pictures: list[str] = []
        self.num_pictures = 0
        self.style = ""
        self.policy = ""
        self.feed(html)
        self.close()
        assert self.open == []
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check a tag that opens."""
        facts = dict(attrs)
        assert tag not in _LOADING
        assert not [name for name in facts if name in _ATTRIBUTES or name.startswith("on")]
        self.links += [facts["href"] or ""] if "href" in facts else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            assert facts["role"] == "img"
            self.num_pictures += 1
        if tag == "th":
            assert facts["scope"] in {"col", "row"}
        if tag == "html":
            assert facts["lang"] == "en"
        if facts.get("http-equiv") == "Content-Security-Policy":
            self.policy = facts["content"] or ""
        if facts.get("role") == "region":
            assert facts["aria-label"]
            assert facts["tabindex"] == "0"
        if tag not in _VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check a tag that closes itself."""
        self.handle_starttag(tag, attrs)
        if tag not in _VOID or tag == "rect":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect a text."""
        if self.open and self.open[-1] == "style":
            self.style += data
        elif data.strip():
            self.texts.append(data.strip())
            if self.open[-2:] == ["svg", "title"]:
                self.titles_of_pictures.append(data)

    @property
    def text(self) -> str:
        """All texts."""
        return "\n".join(self.texts)

    def _check(self) -> None:
        assert self.headings[0] == 1
        assert self.headings.count(1) == 1
        assert all(later <= earlier + 1 for earlier, later in pairwise(self.headings))
        assert len(self.titles_of_pictures) == self.num_pictures
        assert not re.search(r"@import|url\(|expression", self.style)
        assert self.policy.startswith("default-src 'none'")
        assert "://" not in "".join(self.links)
        assert not [link for link in self.links if link.startswith(("//", "javascript:", "data:"))]


def colours(style: str) -> dict[str, dict[str, str]]:
    """Return the colours of the style sheet, by name, in light, in dark and on paper."""
    found = re.findall(r"(--[a-z]+):\s*(#[0-9a-f]{6})", style)
    names = [name for name, _ in found]
    each = len(set(names))
    assert len(found) == 3 * each, "three sets of the same colours"
    parts = [dict(found[start : start + each]) for start in range(0, len(found), each)]
    return dict(zip(("light", "dark", "paper"), parts, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21. Source: WCAG 2.2, "contrast ratio" and "relative luminance"."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
