"""How long a new user needs from `pip install` to the first visible object: `make first-delivery`.

Follows docs/first-delivery.md by its own commands, in an environment into which pip installs a wheel of this checkout,
and prints the seconds of each step. The S3 server is on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mc_sink.sandbox import embedded_server  # noqa: E402  the checkout is on the path from here on
from tests.docs.test_first_delivery import delivered, follow  # noqa: E402


def main() -> None:
    """Print the steps and their seconds, and the sum up to the first object."""
    with TemporaryDirectory() as made, embedded_server() as server:
        wheel, home, folder = _wheel(Path(made)), Path(made, "venv"), Path(made, "reader")
        folder.mkdir()
        began = last = time.monotonic()
        venv.create(home, with_pip=True)
        last = _print("python -m venv", last)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", ROOT / "constraints.txt", f"{wheel}[cli]"], check=True)
        last = _print("pip install", last)
        for block in follow(home, folder, server):
            if block.run_by:
                last = _print(next(line for line in block.code.splitlines() if line), last)
            if delivered(server):
                break
        print(f"{time.monotonic() - began:7.1f} s  from the first command to {delivered(server)[0]}")
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


def _wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def _print(step: str, since: float) -> float:
    now = time.monotonic()
    print(f"{now - since:7.1f} s  {step}", flush=True)
    return now


if __name__ == "__main__":
    main()
