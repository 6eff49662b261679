"""The page first-delivery.md, followed by a program: the wheel, a user with its policy, and each of its commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from mc_sink.sandbox import embedded_server
from tests.support.doc_blocks import ROOT, Block, blocks_of
from tests.support.wheels import installed_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin

PAGE = ROOT / "docs" / "first-delivery.md"
BUCKET = "feeds"


def plain(text: str) -> str:
    """Return a text with single spaces, without the ends of columns and of what differs from run to run."""
    return re.sub(r"\s+", " ", text)


def run(block: Block, home: Path, folder: Path, server: Admin) -> str:
    """Run a block as a reader of the page does, in the environment of the wheel, and return all that it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON", "MC_SINK_"))}
    env |= {
        "PATH": f"{home / 'bin'}:{os.defpath}",
        "HOME": str(folder),
        "AWS_ENDPOINT_URL_S3": server.url,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "COLUMNS": "200",
    }
    lines = re.findall(r"^\$ (.*)$", block.code, re.MULTILINE)
    printed = ""
    for words in [["sh", "-c", line] for line in lines] or [["python", "-c", block.code]]:
        expected = re.search(r"# exit code (\d+)", words[-1])
        ended = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == int(expected[1] if expected else 0), shlex.join(words) + ended.stdout + ended.stderr
        printed += ended.stdout + ended.stderr
    return plain(printed)


APART = """
import sys
from importlib.util import find_spec
from pathlib import Path

import mc_sink

assert Path(mc_sink.__file__).is_relative_to(sys.prefix), mc_sink.__file__
assert [name for name in ("tests", "notebooks", "benchmarks") if find_spec(name)] == []
assert [place for place in sys.path if Path(place, "pyproject.toml").exists()] == []
"""


def follow(home: Path, folder: Path, server: Admin) -> Iterator[Block]:
    """Run the blocks of the page in their order; yield each, once it has printed the lines that the page shows."""
    server.create_bucket(BUCKET)
    printed = ""
    for block in blocks_of(PAGE):
        if block.run_by:
            printed = run(block, home, folder, server)
        if "create-access-key" in block.code:
            key = server.create_user("acme-deliver", json.loads((folder / "policy.json").read_text()))
            reply = {"AccessKey": {"AccessKeyId": key.key, "SecretAccessKey": key.secret}}
            (folder / "key.json").write_text(json.dumps(reply))
        if block.language == "text":
            missing = [line for line in block.code.splitlines() if plain(line).strip() not in printed]
            assert not missing, f"{block.place}: {missing} isn't in {printed}"
        yield block


def delivered(server: Admin) -> list[str]:
    """Return the objects of the page's deliveries, without that of the check of the platform."""
    return sorted(one for one in server.listing(BUCKET) if "mc-sink-check" not in one)


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """Each block runs in its order and prints the lines that the page shows; the last file is in the bucket."""
    home, folder = installed_wheel(tmp_path, "demo"), tmp_path / "reader"
    folder.mkdir()
    subprocess.run([home / "bin" / "python", "-c", APART], cwd=folder, env={}, check=True)
    with embedded_server() as server:
        assert len([*follow(home, folder, server)]) > 1
        assert "<h1" in (folder / "report-first.html").read_text(encoding="utf-8")
        assert delivered(server) == ["acme/first.csv.gz", "acme/third.csv"]
