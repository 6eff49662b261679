"""The examples of docs/orchestrators.md run: a delivery, the same run again, and a share that fails for good.

`make test-engines` installs neither: `pip install dagster`, or `pip install prefect`, into its environment first.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "orchestrators.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that imports the example of one orchestrator, in a folder of its own."""

    def imported(name: str) -> Any:
        pytest.importorskip(name)
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        (code,) = [block for block in blocks if block.startswith(f"# {name}\n")]
        (tmp_path / f"{name}_example.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return import_module(f"{name}_example")

    return imported


def break_share(monkeypatch: pytest.MonkeyPatch, broken: int) -> None:
    """Let staging of one share fail each time."""
    stage = mc_sink.Delivery.stage

    def failing(delivery: mc_sink.Delivery, batches: Any, *, number: int) -> mc_sink.Share:
        if number == broken:
            raise mc_sink.UploadError("The network is gone.")
        return stage(delivery, batches, number=number)

    monkeypatch.setattr(mc_sink.Delivery, "stage", failing)


def delivered(folder: str, run_id: str) -> int:
    """Count the rows of a run that are visible."""
    files = sorted(Path(folder).glob(f"{run_id}-*.parquet"))
    return sum(pl.read_parquet(file).height for file in files)


def test_dagster(example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy after two runs; nothing after a share that fails, and all of it once it doesn't."""
    job = example("dagster").orders

    def run(date: str) -> bool:
        asked = {"ops": {"open_run": {"config": {"date": date}}}}
        return bool(job.execute_in_process(run_config=asked, raise_on_error=False).success)

    assert (run("20261127"), run("20261127"), delivered("dagster", "orders-20261127")) == (True, True, 100)
    with monkeypatch.context() as broken:
        break_share(broken, 1)
        assert (run("20261128"), delivered("dagster", "orders-20261128")) == (False, 0)
    assert (run("20261128"), delivered("dagster", "orders-20261128")) == (True, 100)


def test_prefect(example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One copy after two runs; nothing after a share that fails, and all of it once it doesn't."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    orders = example("prefect").orders
    assert (orders("20261127"), orders("20261127"), delivered("prefect", "orders-20261127")) == (100, None, 100)
    with monkeypatch.context() as broken:
        break_share(broken, 1)
        with pytest.raises(mc_sink.ConfigurationError, match="missing"):
            orders("20261128")
        assert delivered("prefect", "orders-20261128") == 0
    assert (orders("20261128"), delivered("prefect", "orders-20261128")) == (100, 100)
