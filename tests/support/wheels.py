"""The wheel, built from this checkout and installed into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def needed_by(wheel: Distribution, *extras: str) -> Iterator[Distribution]:
    """Yield the distributions that a wheel needs with some extras, and those that they need."""
    seen: set[tuple[str, str]] = set()
    waiting = [(wheel, extra) for extra in ("", *extras)]
    while waiting:
        one, extra = waiting.pop()
        for text in one.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                for wanted in ("", *needed.extras):
                    if (needed.name, wanted) not in seen:
                        seen.add((needed.name, wanted))
                        found = distribution(needed.name)
                        waiting.append((found, wanted))
                        yield found


def installed_wheel(folder: Path, *extras: str) -> Path:
    """Build the wheel, and install it into an environment with links to what it needs with these extras, no others."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    wheel = next(folder.glob("*.whl"))
    home = folder / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    installed = Distribution.at(next(packages.glob("mc_sink-*.dist-info")))
    for one in needed_by(installed, *extras):
        for name in {file.parts[0] for file in one.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not (packages / name).exists():
                (packages / name).symlink_to(str(one.locate_file(name)))
        for program in [Path(str(file.locate())) for file in one.files or () if file.parent.name == "bin"]:
            if not (program.read_bytes()[:2] == b"#!" or (home / "bin" / program.name).exists()):
                (home / "bin" / program.name).symlink_to(program.resolve())
    return home
