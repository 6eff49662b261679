"""The pictures of the README are whole, legible to programs, without traces of a machine, and up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mc_sink.sandbox.seaweed import weed_binary
from tests.support.versions import without_sizes

pytestmark = pytest.mark.skipif(weed_binary() is None, reason="the pictures show the answers of SeaweedFS")
ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs" / "pictures"
EXPECTED = {
    "terminal": [
        "mc-sink platforms check partner s3://their-bucket/exports/",
        "s3:PutObjectAcl",
        "Configured",
        "mc-sink run nightly.toml --run-id nightly-2026-11-22",
        "100,000 rows",
        "mc-sink verify nightly-2026-11-22",
        "1 of 1 file is there",
    ],
    "notebook": [
        "audience.sink_madconnect(",
        "delivered",
        "20261122T101530Z-4f2a9c.parquet",
        "1 of 1 file is there",
        "1 row failed 1 check of schema 'audience'.",
        "row 77,777: null",
        "Nothing became visible.",
    ],
}
# Traces of the machine, the time or a person: an address, a port, a path, a whole key id, a key, another day.
OUT_OF_PLACE = re.compile(r"127\.0\.0\.1|localhost|/tmp|/home|/root|/Users|AKIA\w{5}|secret_access_key=|202[7-9]-")


def texts(picture: Path) -> list[str]:
    """Return the text that a reader sees, line by line; the picture may neither load nor run anything."""
    root = ET.fromstring(picture.read_bytes())  # noqa: S314  our own
    tags = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()}
    assert tags <= {"svg", "style", "defs", "clipPath", "rect", "circle", "g", "text"}
    assert not re.search(r"href|@import|@font-face|url\((?!#)", picture.read_text(encoding="utf-8"))
    lines: dict[str, list[str]] = {}
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        lines.setdefault(element.attrib.get("y", ""), []).append(element.text or "")
    return ["".join(line).replace("\N{NO-BREAK SPACE}", " ") for line in lines.values()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the script into a folder of our own, once for each picture, at the same time."""
    folder = tmp_path_factory.mktemp("pictures")
    words = [sys.executable, "-m", "notebooks.pictures", str(folder)]
    runs = [subprocess.Popen([*words, name], cwd=ROOT, stderr=subprocess.PIPE, text=True) for name in EXPECTED]
    ended = [(run.communicate()[1], run.returncode) for run in runs]
    assert [output for output, code in ended if code] == []
    return folder


@pytest.mark.parametrize("name", EXPECTED)
def test_a_picture_shows_what_it_should_and_nothing_of_the_machine(name: str, made: Path) -> None:
    """It is plain SVG, holds the words, and no path, address, key or time of its making; the stored one too."""
    for picture in (made / f"{name}.svg", STORED / f"{name}.svg"):
        output = "\n".join(texts(picture))
        assert [words for words in EXPECTED[name] if words not in output] == []
        assert OUT_OF_PLACE.findall(output) == []
        assert str(ROOT) not in output
        assert str(Path.home()) not in output


@pytest.mark.parametrize("name", EXPECTED)
def test_the_stored_pictures_are_those_of_today(name: str, made: Path) -> None:
    """Where this fails, what is shown has changed: `make pictures`."""
    stored, today = (list(map(without_sizes, texts(folder / f"{name}.svg"))) for folder in (STORED, made))
    assert stored == today
