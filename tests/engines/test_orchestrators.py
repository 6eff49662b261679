"""The examples of docs/orchestrators.md run: a delivery, the same run again, and a share that fails for good.

`make test-engines` runs them in an environment of their own, without the engines and the libraries of the other tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "orchestrators.md"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep journals out of the user's own folder, also where the tests' common fixtures are left out."""
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path / "state"))


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


def test_airflow(example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One copy after two runs; nothing after a share that fails, and all of it once it doesn't."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    pytest.importorskip("airflow")
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    dag = example("airflow").orders()
    dag.task_dict["stage"].partial_kwargs["retry_delay"] = timedelta(0)

    def run(date: str) -> dict[str, set[str]]:
        """Run the tasks in this process; return the states of each."""
        states: dict[str, set[str]] = {}
        for task in dag.test(run_conf={"date": date}).get_task_instances():
            states.setdefault(task.task_id, set()).add(str(task.state))
        return states

    assert run("20261127")["publish"] == {"success"}
    assert run("20261127")["publish"] == {"skipped"}
    assert delivered("airflow", "orders-20261127") == 100
    with monkeypatch.context() as broken:
        break_share(broken, 1)
        states = run("20261128")
    assert (states["publish"], states["discard"]) == ({"upstream_failed"}, {"success"})
    assert delivered("airflow", "orders-20261128") == 0
    assert run("20261128")["publish"] == {"success"}
    assert delivered("airflow", "orders-20261128") == 100
