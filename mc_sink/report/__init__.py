"""Write the report of a run, or of everything on this machine, as HTML pages that need nothing else.

    facts of a receipt or a record (a dictionary) ─► templates/run.html ─► one page
    facts of platforms, connections and runs      ─► templates/index.html ─► the page that links to them

A page has no script, loads nothing, and is read in a dark or a light browser and on paper. Values of rows don't reach
it: paths of partitions, which contain some, are cut to the target. Text from outside is escaped, control characters
included.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mc_sink._display import counted, printable, size
from mc_sink.exceptions import ConfigurationError
from mc_sink.report.receiver_page import CodeBlock, FactTable, ReceiverPage, Section

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = [
    "MOST_FILES",
    "CodeBlock",
    "FactTable",
    "ReceiverPage",
    "Section",
    "index_page",
    "receiver_html",
    "run_page",
    "write_page",
]

MARK = "<!-- A report of mc-sink -->"
MOST_FILES = 1_000  # in the table of files; the manifest lists all of them
_MOST_BARS = 30
_OF_RECORDS = ("status", "connection", "platform", "trigger", "error", "checks")  # facts that only a record has
_HEADLINES = {
    "delivered": "Delivered",
    "repeated": "Repeated: an earlier attempt had delivered everything",
    "skipped": "Skipped: no row was left to deliver",
    "failed": "Failed",
    "interrupted": "Interrupted",
    "missed": "Missed: no run served this time of the schedule",
    "running": "Running",
}
_KINDS = {"delivered": "good", "repeated": "good", "skipped": "warn", "running": "warn"}
_VISIBLE = {
    "nothing": "Nothing became visible.",
    "some": "Files of this run are visible.",
    "unknown": "It is not known whether anything became visible.",
}
_STAGES = {
    "prepare": "Look for files of the run, and compile the query",
    "rows": "Read, validate, encode and upload rows",
    "upload": "Upload the rest",
    "check": "Write the rejected rows, and check the files",
    "publish": "Make the files visible",
}
_INTEGRITY = {
    "crc32": "The store returned the CRC32 of the bytes that it holds, and it is that of the bytes sent.",
    "crc64": "The store returned the CRC64NVME of the bytes that it holds, and it is that of the bytes sent.",
    "sha256": "The store checked the SHA-256 of the bytes in every request.",
    "etag": "The store's ETag is the one that these bytes have.",
    "unproven": "Not proven: the store checks no checksum, and its ETags are not computed from the bytes.",
    None: "The store is not S3. The CRC32 is that of the bytes that were written.",
}
_CREATE_ONLY = {
    "condition": "The store itself refuses to replace an existing object.",
    "listing": "A listing right before the request showed that no object would be replaced.",
    "unproven": "Not proven: the listing was refused, and the store isn't known to keep If-None-Match.",
    None: "Replacing was allowed, or an earlier attempt had published the file.",
}


def run_page(facts: Mapping[str, Any], runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the report of a run.

    `facts` are those of `Receipt.to_dict()`. A record adds `status`, `connection`, `platform`, `trigger` and `error`.
    `runs` are the last runs of its connection, the oldest first: `run_id`, `status`, `started_at`, `num_rows` and
    `elapsed`.
    """
    facts = cast("dict[str, Any]", dict.fromkeys(_OF_RECORDS)) | dict(facts)
    delivered = "skipped" if facts["skipped"] else "repeated" if facts["repeated"] else "delivered"
    status = facts["status"] or delivered
    status = delivered if status == "delivered" else status
    files = [dict(file, role="rows") for file in facts["files"]]
    rejects = facts["rejects"] or {"num_rows": facts["num_rejected"] or 0, "files": [], "checks": []}
    files += [dict(file, role="rejects") for file in rejects["files"]]
    error = facts["error"]
    return _render(
        "run.html",
        facts=facts,
        status=status,
        kind=_KINDS.get(status, "bad"),
        headline=_HEADLINES[status],
        title=f"{_HEADLINES[status].partition(':')[0]}: run {facts['run_id']}",
        visible=_VISIBLE.get(error.get("visible")) if error else None,
        num_judged=_num_judged(facts, rejects["num_rows"]),
        num_rejected=rejects["num_rows"],
        checks=rejects["checks"] or facts["checks"] or [],
        files=[_masked(file, facts["target"]) for file in files[:MOST_FILES]],
        num_files=len(files),
        integrity=_sentences(files, "integrity", _INTEGRITY),
        create_only=_sentences(files, "create_only", _CREATE_ONLY),
        stages=[(_STAGES[stage["name"]], stage["seconds"]) for stage in facts["stages"]],
        runs=_bars(runs),
    )


def index_page(
    platforms: Sequence[Mapping[str, Any]], connections: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page that lists platforms, connections and runs.

    Each platform is a mapping of labels to values. A connection has `connection`, `target` and its last `runs`, the
    oldest first. A run has the facts of a bar, `connection`, and `page`, the name of its report beside this page.
    """
    listed = [dict(one, runs=_bars(one["runs"]), last=one["runs"][-1]) for one in connections]
    counts = Counter(run["status"] for run in runs)
    return _render(
        "index.html",
        title="Deliveries of this machine",
        platforms=platforms,
        connections=listed,
        runs=runs,
        counts=counts,
    )


def receiver_html(page: ReceiverPage) -> str:
    """Return the page for a receiver as HTML."""
    return _render("receiver.html", title=page.title, sections=page.sections)


def write_page(path: str | os.PathLike[str], page: str) -> Path:
    """Write a page to `path`, replacing only a report, and return the path. Raises `ConfigurationError`."""
    place = Path(path)
    try:
        if place.exists() and MARK not in place.read_bytes()[:200].decode("utf-8", "replace"):
            raise ConfigurationError(
                f"Cannot write the report to {place}: a file that is not a report is there, and stays. Choose another "
                "path."
            )
        place.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the report to {place}: {error.strerror}. Choose another path."
        ) from error
    return place


def _num_judged(facts: Mapping[str, Any], num_rejected: int) -> int:
    """Return the number of rows that came, unchanged ones included."""
    changes = facts["changes"]
    valid = changes["added"] + changes["changed"] + changes["unchanged"] if changes else facts["num_rows"]
    return int(valid + num_rejected)


def _masked(file: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Return the facts of a file without the values of its partition, which its path contains."""
    return dict(file) | ({"path": f"{target}…", "is_masked": True} if file["partition"] else {})


def _sentences(files: Sequence[Mapping[str, Any]], fact: str, sentences: Mapping[str | None, str]) -> list[str]:
    """Return a sentence for each way in which files were proven, with the number of files."""
    counts = Counter(file[fact] for file in files)
    return [f"{counted(number, 'file')}: {sentences[way]}" for way, number in counts.most_common()]


def _bars(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the last runs with the height of each bar, from 0 to 1, by its number of rows."""
    shown = runs[-_MOST_BARS:]
    most = max((run["num_rows"] or 0 for run in shown), default=0)
    return [
        dict(run, height=(run["num_rows"] or 0) / most if most else 0.0, kind=_KINDS.get(run["status"], "bad"))
        for run in shown
    ]


def _render(template: str, **values: Any) -> str:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(_environment().get_template(template).render(mark=MARK, made=made, **values))


@cache
def _environment() -> Any:
    """Return the templates. Every value is escaped, and its control characters are shown as escapes."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "A report needs the library jinja2. Install it: pip install 'mc-sink[report]'."
        ) from error
    environment = Environment(
        loader=PackageLoader(__name__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"counted": counted, "size": size, "day": _day}
    return environment


def _day(moment: str) -> str:
    """Return an ISO time as a person reads it, in UTC."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
