"""The table of docs/stores.md, a row for each profile: made of its rules and of what a check of it says.

To write the table again after a profile or the client has changed:

    MC_SINK_UPDATE_PAGES=1 python -m pytest tests/storage/test_stores.py -k "check_says or page"
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mc_sink.storage import UNKEPT
from tests.servers.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mc_sink.platforms import CheckReport
    from tests.servers.profiles import Profile

PAGE: Final = Path(__file__).parents[2] / "docs" / "stores.md"
UPDATE: Final = "MC_SINK_UPDATE_PAGES"
HOW: Final = f"docs/stores.md is not what the profiles say: see {Path(__file__).name} for how to write it"
_SENT: Final = {
    "CRC32 of each body, and": "CRC32",
    "CRC32 of each body;": "CRC32 of the parts",
    "SHA-256 of each body": "SHA-256",
    "CRC64NVME of each body": "CRC64NVME",
    "none,": "no checksum, signed bodies",
}
_GAPS: Final[Mapping[str, str]] = {
    UNKEPT["condition"]: "no object is replaced: a window of one request remains",
    UNKEPT["sums"]: "the bytes are those sent: no checksum is compared",
    UNKEPT["etags"]: "a lost reply is settled: by size only, a rerun ends it",
}
_OPTIONS: Final = {
    "x-amz-acl": "`acl`",
    "x-amz-tagging": "`tags`",
    "x-amz-server-side-encryption": "`sse`",
    "x-amz-server-side-encryption-aws-kms-key-id": "`sse_kms_key_id`",
}
_BEGIN, _END = "<!-- stores: begin -->", "<!-- stores: end -->"


def row(profile: Profile, report: CheckReport, helps: Iterable[str]) -> str:
    """Return a store's line: `helps` are the options that its deliveries need, which is none where they are whole."""
    options = [*(f"`{option}`" for option in helps), *_limits(profile)]
    gaps = [_GAPS[sentence] for sentence in dict.fromkeys(one.unkept for one in report.rows if one.unkept)]
    known = f"{profile.known}{f'; guessed: {profile.guessed}' if profile.guessed else ''}"
    works = f"yes ({_sent(report)})" if report.ok else "no"
    cells = (profile.title, works, "; ".join(options) or "–", "; ".join(gaps) or "none", known)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def check_row(made: str) -> None:
    """Fail unless the page has a store's line; where pages are to be updated, write it."""
    text = PAGE.read_text(encoding="utf-8")
    if made in lines_of(text):
        return
    assert os.environ.get(UPDATE), f"{HOW}. It should have:\n{made}"
    kept = {title_of(line): line for line in (*lines_of(text), made)}
    ordered = [kept[one.title] for one in PROFILES if one.title in kept]
    head, rest = text.split(_BEGIN, 1)
    titles = rest.split("\n")[1:3]
    table = "\n".join([_BEGIN, *titles, *ordered, _END])
    PAGE.write_text(head + table + text.split(_END, 1)[1], encoding="utf-8")


def lines_of(text: str) -> list[str]:
    """Return the lines of the stores in a page."""
    (table,) = re.findall(f"{_BEGIN}\n(.*?){_END}", text, re.DOTALL)
    return [line for line in table.splitlines()[2:] if line]


def title_of(line: str) -> str:
    """Return the store that a line is of."""
    return line.removeprefix("| ").partition(" | ")[0]


def _sent(report: CheckReport) -> str:
    found = report["checksum sent"].found
    return next(short for words, short in _SENT.items() if found.startswith(words))


def _limits(profile: Profile) -> Iterable[str]:
    """Yield what the rules of a store ask of options."""
    refused = {one.header: one for one in profile.rules.refusals if one.header in _OPTIONS}
    some = [_OPTIONS[header] for header, one in refused.items() if one.value != ".*"]
    if never := [_OPTIONS[header] for header, one in refused.items() if one.value == ".*"]:
        yield f"without {', '.join(never)}"
    if some:
        yield f"{', '.join(some)} only with the value of the bucket"
    if profile.rules.equal_parts:
        yield "`default_block_size` for a file of more than 156 GiB"
