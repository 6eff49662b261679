"""No cell, header, path or reply commands a terminal, forges a log's line or turns letters round; fields stay true."""

from __future__ import annotations

import io
import logging
import pickle
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mc_sink
from mc_sink import exceptions
from mc_sink._display import indented, labelled, lines, logger, printable
from mc_sink._runtime.progress import show_progress
from mc_sink.exceptions import SinkError, add_note
from mc_sink.receipt import CountedWarning, Verification
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body
from tests.support.command_line import Machine
from tests.support.connection_files import write_connection
from tests.support.small_deliveries import TINY, deliver

if TYPE_CHECKING:
    from collections.abc import Callable

FORGED = "INFO Run r delivered 1,000,000 rows"
KINDS = {
    "escape": "\x1b[2J",
    "title": "\x1b]0;x\x07",
    "return": f"\r{FORGED}",
    "line": f"\n{FORGED}",
    "C1": "\x9b2J",
    "next line": f"\x85{FORGED}",
    "line separator": f"\u2028{FORGED}",
    "paragraph separator": f"\u2029{FORGED}",
    "override": "\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "mark": "\u200f",
    "delete": "\x7f",
    "backspace": "x\x08",
    "zero width": "a\u200bb",
    "tag": "\U000e0041",
}
HOSTILE = "a" + "".join(KINDS.values()) + "b"


def raw(text: str) -> list[str]:
    """Name the characters of a text that a terminal would obey, and lines that pass for a log's."""
    obeyed = {
        hex(ord(one)) for one in text if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp", "Cs"} and one != "\n"
    }
    return sorted(obeyed) + [line for line in text.split("\n") if line.startswith(FORGED)]


@given(st.text())
def test_any_text_becomes_printable(text: str) -> None:
    """One line, without a character that isn't shown as itself; what was printable stays so, and is done once."""
    shown = printable(text)
    assert raw(shown) == []
    assert "\n" not in shown
    assert printable(shown) is shown
    assert shown == text or not text.isprintable()
    shown.encode()


def test_the_lines_of_messages_stay_lines() -> None:
    """Those that a text brings along don't; another library's are set in."""
    assert lines("a\nb", "c") == "a\\nb\nc"
    assert SinkError(lines("a\nb", "c")).message == "a\\nb\nc"
    assert SinkError("a\nb").message == "a\\nb"
    assert indented(f"a\n{FORGED}") == f"a\n  {FORGED}"


ERRORS = [one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, SinkError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_no_error_shows_them(kind: type[SinkError]) -> None:
    """Neither as text, as its repr, in its notes, nor after a pickle; and URLs in its fields are as they are."""
    error = kind(HOSTILE)
    error.add_note(HOSTILE)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  our own
        assert raw(str(one) + repr(one) + "".join(one.__notes__)) == []
    foreign = ValueError("x")
    add_note(foreign, HOSTILE)
    assert raw("".join(foreign.__notes__)) == []
    assert exceptions.CommitError("x", committed=[HOSTILE]).committed == (HOSTILE,)


def test_no_line_of_a_log_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    """Every reader of the records, however they are written."""
    with caplog.at_level(logging.INFO):
        logger("mc_sink.test").info("%s of %d: %s", HOSTILE, 3, ValueError(HOSTILE))
    (record,) = caplog.records
    assert raw(record.getMessage()) == []
    assert " of 3: " in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_receipt_shows_none_and_has_the_true_path(tmp_path: Path) -> None:
    """A folder, a partition and a column with such names: escaped in text, repr and a page; true in the fields."""
    name = HOSTILE.replace("/", "")
    folder = tmp_path / name
    folder.mkdir()
    receipt = mc_sink.sink_madconnect(pl.DataFrame({"x": ["=1"]}), f"{folder}/", progress=False, run_id="r")
    assert Path(receipt.files[0].path).is_file()
    assert name in receipt.files[0].path
    preview = mc_sink.preview(pl.DataFrame({name: ["=1"]}), f"{folder}/")
    shown = [receipt, preview, Verification(1, (receipt.files[0].path,), ()), CountedWarning("formula", HOSTILE, 1)]
    for one in shown:
        assert raw(str(one) + repr(one) + getattr(one, "_repr_html_", str)()) == []


def refusals(folder: str) -> dict[str, Callable[[], object]]:
    """Make deliveries that are refused for something hostile."""
    frame: Any = pl.DataFrame({"x": [HOSTILE], HOSTILE: [1]})
    sink: Any = mc_sink.sink_madconnect
    schema = pa.DataFrameSchema({"x": pa.Column(str, pa.Check.eq("a"))}, strict=False)
    return {
        "a cell": lambda: sink(frame, folder, schema=schema, progress=False),
        "a column": lambda: sink(frame, folder, partition_by=HOSTILE, name="x", progress=False),
        "a name": lambda: sink(frame, folder, name=HOSTILE, progress=False),
        "an option": lambda: sink(frame, folder, storage_options={HOSTILE: "x"}, progress=False),
        "a target": lambda: sink(frame, f"s3://{HOSTILE}/", progress=False),
        "a run id": lambda: sink(frame, folder, run_id=HOSTILE, progress=False),
        "a platform": lambda: sink(frame, folder, platform=HOSTILE, progress=False),
        "a partition": lambda: sink(frame, folder, partition_by="x", progress=False),
    }


@pytest.mark.parametrize("which", list(refusals("")))
def test_no_refusal_shows_them(tmp_path: Path, which: str) -> None:
    """Every kind of hostile text in it."""
    with pytest.raises(SinkError) as raised:
        refusals(f"{tmp_path}/")[which]()
    html = getattr(raised.value, "_repr_html_", str)()
    assert raw(str(raised.value) + repr(raised.value) + html) == []


def test_no_reply_of_a_store_shows_them() -> None:
    """A refusal whose message is hostile, as XML can have it."""
    words = "".join(
        one for one in HOSTILE if one in "\x85\u2028\u2029\u202e\u2066\u2069\u200f\x7f\x9b" or one.isprintable()
    )
    document = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>{words}</Message></Error>"
    )
    with FaultServer() as server:
        server.fault("*", Body(403, document.encode(), (("Content-Type", "application/xml"),)), times=FOREVER)
        with pytest.raises(SinkError, match=r"\\u202e") as raised:
            mc_sink.sink_madconnect(
                pl.DataFrame({"a": [1]}),
                f"s3://{server.bucket}/p/",
                storage_options=server.storage_options,
                progress=False,
            )
    assert raw(str(raised.value)) == []


def test_a_progress_bar_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its title is a target's name."""
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    with show_progress(HOSTILE, progress=True) as shown:
        shown.begin(lambda: 2)
        shown.advance(1, 1)
    assert "1/2" in said.getvalue().replace("1.00/2.00", "1/2")
    assert [one for one in raw(said.getvalue().replace("\r", "").replace("\x1b[A", "")) if one != "0x1b"] == []


def test_no_command_shows_them(tmp_path: Path) -> None:
    """Output for people, errors, tracebacks, logs, what hooks print: of a name, of cells and of an engine's message."""
    machine = Machine(tmp_path, tmp_path / "state")
    name = HOSTILE.replace("/", "")
    (tmp_path / name).mkdir()
    hook = '[hooks]\non_success = ["sh", "-c", "printf \'\\\\033[2J\\\\rhook\\\\n\'; printf \'\\\\302\\\\205x\' >&2"]'
    file = write_connection(tmp_path / name, "out/", hook, 'files = "bad.csv"')
    pl.DataFrame({"x": [HOSTILE, "b"], HOSTILE: ["c", "d"]}).write_csv(tmp_path / name / "bad.csv")
    broken = tmp_path / "broken.toml"
    broken.write_text('target = "out/"\n[source]\nfunction = "raising:rows"\n', "utf-8")
    (tmp_path / "raising.py").write_text(f"def rows():\n    raise ValueError({HOSTILE!r})\n", "utf-8")
    said = [
        machine.mc_sink("run", file, "--run-id", "r").said,
        machine.here("run", file, "--dry-run").said,
        machine.here("preview", file).said,
        machine.here("history").said,
        machine.here("show", "r").said,
        machine.here("verify", "r").said,
        machine.here("connections", "check", file).said,
        machine.mc_sink("run", file, "--set", HOSTILE, code=2).said,
        machine.mc_sink("run", tmp_path / name / HOSTILE.replace("/", ""), code=3).said,
        machine.mc_sink(HOSTILE, code=2).said,
        machine.mc_sink(f"--{HOSTILE}", code=2).said,
        machine.mc_sink("run", file, f"--{HOSTILE}", code=2).said,
        machine.mc_sink("run", file, HOSTILE, code=2).said,
        machine.mc_sink("run", broken, code=1).said,
        machine.mc_sink("run", broken, "--debug", code=1).said,
    ]
    assert [(number, raw(one)) for number, one in enumerate(said) if raw(one)] == []
    assert "\\x1b[2J\\rhook" in said[0]
    assert "\\x85x" in said[0]


@pytest.mark.parametrize("longest", range(1, 40))
def test_no_label_touches_its_value(longest: int) -> None:
    """The values stand in one column, and a longer label has one space behind it."""
    names = ["a" * length for length in range(1, longest + 1)]
    made = labelled([(name, f"value of {name}") for name in names], 11)
    assert [line.split(" ", 1)[0] for line in made] == names
    assert [line.index("value") for line in made] == [max(11, len(name) + 1) for name in names]


@pytest.mark.usefixtures("tiny")
def test_a_receipt_of_a_store_without_conditions_has_its_labels_apart() -> None:
    """`create-only` is as long as the column of labels is wide elsewhere."""
    with FaultServer(replace(TINY, if_none_match_on_put="ignored", if_none_match_on_complete="ignored")) as server:
        text = str(deliver(server))
    assert "create-only 3 of 3 files by a listing" in text
    assert "delivered  60 rows" in text
