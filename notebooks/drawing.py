"""Cells of a notebook as an SVG of plain shapes and texts, which every page shows that shows an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from pygments.lexers import PythonLexer
from pygments.token import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH, MARGIN, GUTTER = 1060.0, 20.0, 52.0
LEFT = MARGIN + GUTTER
CODE_SIZE, CODE_WIDTH, CODE_LINE = 13, 7.8, 19.0
CELL_SIZE, CELL_WIDTH, CELL_LINE, CELL_PAD = 12, 6.9, 24.0, 14.0
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
INK, GREY, RULE, BLUE = "#24292f", "#57606a", "#d0d7de", "#307fc1"
# In the order in which they are looked for; a token is of the first kind that it belongs to.
COLOURS = (
    (Token.Comment, "#6a737d"),
    (Token.Keyword.Constant, "#0550ae"),
    (Token.Keyword, "#8250df"),
    (Token.Operator.Word, "#8250df"),
    (Token.Literal.String, "#0a7d34"),
    (Token.Literal.Number, "#0550ae"),
    (Token.Operator, GREY),
)


@dataclass(slots=True)
class Cell:
    """A text in a table, as its tags say that it stands."""

    text: str = ""
    strong: bool = False
    number: bool = False


@dataclass(slots=True)
class Block:
    """A table, or, with one cell in one row, a line of text."""

    rows: list[list[Cell]] = field(default_factory=list)
    is_table: bool = True


class Blocks(HTMLParser):
    """Reads the tables and lines of an output."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Block] = []
        self._in: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, a row, a cell or a line."""
        if tag in {"table", "p"}:
            self.found.append(Block([] if tag == "table" else [[Cell()]], is_table=tag == "table"))
        elif tag == "tr":
            self.found[-1].rows.append([])
        elif tag in {"th", "td"}:
            self.found[-1].rows[-1].append(Cell(strong=tag == "th", number=("class", "number") in attrs))
        elif tag == "b":
            self.found[-1].rows[-1][-1].strong = True
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag; what stands between cells is nothing."""
        self._in = None if tag in {"style", "th", "td", "p"} else self._in

    def handle_data(self, data: str) -> None:
        """Add a text to the cell or line that is open."""
        if self._in in {"th", "td", "p", "b"}:
            self.found[-1].rows[-1][-1].text += data


class Sheet:
    """A page that grows downwards; `y` is where the next thing goes."""

    def __init__(self) -> None:
        self.y = MARGIN
        self._shapes: list[str] = []

    def text(self, x: float, text: str, kind: str, *, fill: str = INK, width: float | None = None) -> None:
        """Write a text on the line at `y`; `width` has it take that much, whatever the font."""
        takes = f' textLength="{width:.1f}"' if width else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{self.y:.1f}" class="{kind}" fill="{fill}"{takes}>{escape(text)}</text>'
        )

    def box(self, height: float) -> None:
        """Draw the box of an input, from `y` down."""
        self._shapes.append(
            f'<rect x="{LEFT}" y="{self.y:.1f}" width="{WIDTH - LEFT - MARGIN}" height="{height:.1f}" rx="3" '
            f'fill="#f6f8fa" stroke="{RULE}"/>'
        )

    def stripe(self, width: float) -> None:
        """Draw the background of every other row."""
        self._shapes.append(
            f'<rect x="{LEFT}" y="{self.y:.1f}" width="{width:.1f}" height="{CELL_LINE}" fill="#f6f8fa"/>'
        )

    def svg(self) -> str:
        """Give the page, as high as it has become."""
        height = self.y + MARGIN - 8
        style = (
            f"text{{white-space:pre}}.code{{font:{CODE_SIZE}px {MONO}}}.cell{{font:{CELL_SIZE}px {SANS}}}"
            f".strong{{font:600 {CELL_SIZE}px {SANS}}}.number{{font:{CELL_SIZE}px {SANS};text-anchor:end}}"
        )
        size = f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}" height="{height:.0f}"'
        page = f'width="{WIDTH - 1}" height="{height - 1:.1f}" rx="8" fill="#fff" stroke="{RULE}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<style>{style}</style>",
            f'<rect x="0.5" y="0.5" {page}/>',
            *self._shapes,
            "</svg>\n",
        ]
        return "\n".join(lines)


def draw(cells: Iterable[tuple[str, str]]) -> str:
    """Draw cells, each the source and the HTML that came of it."""
    sheet = Sheet()
    for number, (source, html) in enumerate(cells, start=1):
        _source(sheet, source, number)
        for block in Blocks(html).found:
            _block(sheet, block)
        sheet.y += 14
    return sheet.svg()


def _source(sheet: Sheet, source: str, number: int) -> None:
    lines = list(_coloured(source))
    sheet.box(len(lines) * CODE_LINE + 16)
    sheet.y += 8 + CODE_LINE - 5
    sheet.text(MARGIN, f"[{number}]:", "code", fill=BLUE)
    for line in lines:
        column = 0
        for text, colour in line:
            if text.strip():
                x = LEFT + 12 + column * CODE_WIDTH
                sheet.text(x, text, "code", fill=colour, width=len(text) * CODE_WIDTH)
            column += len(text)
        sheet.y += CODE_LINE
    sheet.y += 8


def _coloured(source: str) -> Iterator[list[tuple[str, str]]]:
    """Give each line as texts with their colours."""
    line: list[tuple[str, str]] = []
    for kind, text in PythonLexer(ensurenl=False).get_tokens(source):
        colour = next((colour for family, colour in COLOURS if kind in family), INK)
        for number, part in enumerate(text.split("\n")):
            if number:
                yield line
                line = []
            if part:
                line.append((part, colour))
    if line:
        yield line


def _block(sheet: Sheet, block: Block) -> None:
    if not block.is_table:
        (cell,) = block.rows[0]
        sheet.y += 18
        sheet.text(LEFT + 8, cell.text, "strong" if cell.strong else "cell")
        sheet.y += 8
        return
    widths = [max(len(row[at].text) for row in block.rows) for at in range(len(block.rows[0]))]
    columns = [width * CELL_WIDTH + CELL_PAD for width in widths]
    sheet.y += 8
    for number, row in enumerate(block.rows):
        if number % 2:
            sheet.stripe(sum(columns))
        sheet.y += CELL_LINE - 8
        x = LEFT + 8
        for cell, width in zip(row, columns, strict=True):
            kind = "number" if cell.number else "strong" if cell.strong else "cell"
            sheet.text(x + width - CELL_PAD if cell.number else x, cell.text, kind)
            x += width
        sheet.y += 8
