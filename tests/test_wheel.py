"""The wheel, installed beside the core dependencies alone: deliveries work, and the command says what to install."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.wheels import installed_wheel

ROOT = Path(__file__).parents[1]
EXTRA = ("typer", "rich", "keyring", "apscheduler", "jinja2")
DELIVER = """
import sys
from importlib.util import find_spec

import polars as pl

import mc_sink
from mc_sink import testing

assert "site-packages" in mc_sink.__file__, mc_sink.__file__
assert not [name for name in sys.argv[2:] if find_spec(name)]
folder = sys.argv[1]
frame = testing.sample("audience", 50)
for name in ("rows.csv", "rows.csv.gz", "rows.parquet"):
    receipt = mc_sink.sink_madconnect(frame, f"{folder}/{name}", schema="audience", progress=False)
    assert receipt.validated and receipt.num_rows == 50, receipt
    assert receipt.verify().ok
assert pl.read_parquet(f"{folder}/rows.parquet").height == pl.read_csv(f"{folder}/rows.csv").height == 50
"""
REPORT = """
import mc_sink
from mc_sink.testing import sample

receipt = mc_sink.sink_madconnect(sample("audience", 5), "rows.csv", progress=False)
try:
    receipt.report("run.html")
except mc_sink.ConfigurationError as error:
    print(error.message)
"""
SANDBOX = """
import os

os.environ["PATH"] = os.defpath
from mc_sink import ConfigurationError
from mc_sink.sandbox import Sandbox

try:
    Sandbox()
except ConfigurationError as error:
    print(error.message)
"""
SAVE = """
import sys
from pathlib import Path

from mc_sink import ConfigurationError, Platform, platforms

a_platform = Platform(name="acme", access_key_id="AKIAEXAMPLEEXAMPLE00", secret_access_key="never-shown")
platforms.save(a_platform)
assert platforms.describe("acme").secrets == "file"
assert platforms.load("acme").secret_access_key.reveal() == "never-shown"
try:
    platforms.save(a_platform, if_exists="overwrite", store="keyring")
except ConfigurationError as error:
    print(error)
assert platforms.load("acme").region is None
saved = Path(sys.argv[1], "platforms", "acme.json")
saved.write_text(saved.read_text().replace('"secrets": "file"', '"secrets": "keyring"'))
for use in (platforms.load, platforms.remove):
    try:
        use("acme")
    except ConfigurationError as error:
        print(error)
"""
SCHEDULED = """
from mc_sink import ConfigurationError
from mc_sink.connector import deliver, load
run = deliver(load("plain.toml"), progress=False)
print(run.status)
try:
    load("scheduled.toml")
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel beside its core dependencies, and no others."""
    return installed_wheel(tmp_path_factory.mktemp("wheel"))


def run(clean: Path, folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
    """Run a program of the environment in a folder, and return its output and errors."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS_"))}
    env["MC_SINK_STATE_DIR"] = str(folder / "state")
    line = [str(clean / "bin" / words[0]), *words[1:]]
    ended = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout, ended.stderr


def test_the_core_has_none_of_what_the_command_needs(clean: Path) -> None:
    """The core dependencies do not bring the libraries of the command, or the tests here would prove nothing."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(clean)}))
    assert (packages / "polars").exists()
    assert [name for name in EXTRA if (packages / name).exists()] == []


def test_a_delivery_with_a_shipped_schema_runs(clean: Path, tmp_path: Path) -> None:
    """CSV, compressed CSV and Parquet are delivered, validated and verified without the libraries of the command."""
    run(clean, tmp_path, "python", "-c", DELIVER, str(tmp_path), *EXTRA)


@pytest.mark.parametrize(
    "words", [("mc-sink",), ("mc-sink", "run", "x.toml"), ("python", "-m", "mc_sink.connector.cli")]
)
def test_the_command_says_what_to_install(clean: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line on standard error, exit code 2, and no traceback."""
    out, err = run(clean, tmp_path, *words, code=2)
    assert (out, err) == ("", "mc-sink needs more than the library: pip install 'mc-sink[cli]'\n")


def test_platforms_work_without_a_keyring(clean: Path, tmp_path: Path) -> None:
    """Secrets go to the private file. A platform whose secrets are in a keyring says what to install."""
    out, _ = run(clean, tmp_path, "python", "-c", SAVE, str(tmp_path / "state"))
    refused = out.splitlines()
    assert len(refused) == 3
    for line in refused:
        assert re.search(r"keyring is not installed\. Install it \(pip install 'mc-sink\[cli\]'\)", line)
        assert "never-shown" not in line


def test_the_wheel_has_the_templates_of_reports(clean: Path, tmp_path: Path) -> None:
    """They are there for when the library that reads them is; without it, the error names the extra."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(clean)}))
    stored = {path.name for path in (ROOT / "mc_sink" / "report" / "templates").iterdir()}
    assert {path.name for path in (packages / "mc_sink" / "report" / "templates").iterdir()} == stored
    out, _ = run(clean, tmp_path, "python", "-c", REPORT)
    assert out == "A report needs the library jinja2. Install it: pip install 'mc-sink[report]'.\n"


def test_the_sandbox_says_what_to_install(clean: Path, tmp_path: Path) -> None:
    """Its servers come with an extra."""
    out, _ = run(clean, tmp_path, "python", "-c", SANDBOX)
    assert out == 'The sandbox needs an S3 server, and none is installed. Install one: pip install "mc-sink[demo]".\n'


def test_connections_work_from_python(clean: Path, tmp_path: Path) -> None:
    """A connection is delivered without the command; only a schedule needs its library, and the error names it."""
    (tmp_path / "rows.csv").write_text("n\n1\n", encoding="utf-8")
    plain = 'target = "out/"\n[source]\nfiles = "rows.csv"\n'
    (tmp_path / "plain.toml").write_text(plain, encoding="utf-8")
    (tmp_path / "scheduled.toml").write_text(f'{plain}[schedule]\ncron = "0 3 * * *"\n', encoding="utf-8")
    out, _ = run(clean, tmp_path, "python", "-c", SCHEDULED)
    status, refused = out.splitlines()
    assert status == "delivered"
    assert "needs the library apscheduler. Install it: pip install 'mc-sink[cli]'" in refused
