"""docs/containers.md: the file for an image is read and its commands run outside a container. No image is built."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from mc_sink.connector.connections.hooks import LEAVING_SECONDS
from tests.support.connection_files import ROOT, wait_until

PAGE = ROOT / "docs" / "containers.md"
TEXT = PAGE.read_text(encoding="utf-8")
STATE = "/var/lib/mc-sink"
COMMAND = [sys.executable, "-m", "mc_sink.connector.cli"]


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    (text,) = blocks("dockerfile")
    joined = text.replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_image_runs_as_another_user_with_its_state_in_a_volume() -> None:
    """A number as user, so that Kubernetes sees that it isn't root, who owns the one folder that is written."""
    given = instructions()
    words = [word for word, _ in given]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "COPY", "RUN", "ENV", "VOLUME", "WORKDIR", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    one = dict(given)
    assert one["USER"] == "10001:10001"
    assert words.index("USER") > words.index("RUN")
    assert one["VOLUME"] == STATE
    assert f"MC_SINK_STATE_DIR={STATE}" in one["ENV"].split()
    assert f"--owner 10001 --group 10001 --mode 0700 {STATE}" in one["RUN"]
    assert one["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(one["ENTRYPOINT"]) == ["mc-sink"]  # the exec form: a shell would not pass the signal on
    assert one["FROM"].partition(":")[2].startswith("3.")
    assert not re.search(r"(KEY|SECRET|TOKEN|PASSWORD)", one["ENV"])


def test_every_package_that_it_installs_is_pinned() -> None:
    """Those of the extras too, by the constraints that the page copies."""
    install = shlex.split(dict(instructions())["RUN"].partition("&&")[0])
    assert install[:2] == ["pip", "install"]
    assert install[install.index("--constraint") + 1] == "/opt/mc-sink/constraints.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = Requirement(install[-1]).extras
    assert extras == {"cli", "metrics"}
    wanted = [Requirement(text) for text in project["dependencies"]]
    wanted += [Requirement(text) for name in (*extras, "report") for text in project["optional-dependencies"][name]]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert not {re.sub(r"[-_.]+", "-", one.name).lower() for one in wanted if one.name != "mc-sink"} - names


def test_its_scheduler_answers_the_check_and_ends_on_sigterm(tmp_path: Path) -> None:
    """In a folder of its own, with the environment of the image alone; the check fails once the file is old."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "rows.csv").write_text("id\n1\n", "utf-8")
    connection = 'target = "out/"\n[source]\nfiles = "rows.csv"\n[schedule]\nevery = "6h"\n'
    (tmp_path / "nightly.toml").write_text(connection, "utf-8")
    values = dict(text.split("=") for text in dict(instructions())["ENV"].split())
    environment = {name: value.replace(STATE, str(state)) for name, value in values.items()}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    (docker,) = blocks("console")
    words = shlex.split(docker.replace(STATE, str(state)))
    given = words[words.index("IMAGE") + 1 :]
    check = words[words.index("--health-cmd") + 1]
    scheduler = subprocess.Popen([*COMMAND, *given], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        metrics = state / "mc_sink.prom"
        wait_until(metrics.exists)
        assert subprocess.run(["sh", "-c", check], check=False).returncode == 0  # noqa: S607
        os.utime(metrics, (0, 0))
        assert subprocess.run(["sh", "-c", check], check=False).returncode != 0  # noqa: S607
        scheduler.send_signal(signal.SIGTERM)
        grace = int(words[words.index("--stop-timeout") + 1])
        assert grace > LEAVING_SECONDS
        assert scheduler.wait(grace) == 0
    finally:
        scheduler.kill()
        scheduler.communicate()


@pytest.mark.long
@pytest.mark.parametrize("day", ["2026-11-22"])
def test_a_job_of_kubernetes_or_ecs_delivers_a_day_once(tmp_path: Path, day: str) -> None:
    """Their command is run twice by a shell in a clean folder, as a retry does, with the date of one day."""
    (cron,) = (yaml.safe_load(text) for text in blocks("yaml"))
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (task,) = (json.loads(text) for text in blocks("json"))
    (ecs,) = task["containerDefinitions"]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["command"] == [*ecs["entryPoint"], *ecs["command"]]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {STATE, "/tmp"}  # noqa: S108
    assert pod["terminationGracePeriodSeconds"] == ecs["stopTimeout"] == 30
    (tmp_path / "rows.csv").write_text("id\n1\n", "utf-8")
    (tmp_path / "nightly.toml").write_text('target = "out/"\n[source]\nfiles = "rows.csv"\n', "utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mc-sink").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (programs / "date").write_text(f'#!/bin/sh\nexec /bin/date --date={day} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    environment["MC_SINK_STATE_DIR"] = str(tmp_path / "state")
    for _ in range(2):
        subprocess.run(container["command"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [path.name for path in Path(tmp_path / "out").glob("*.csv")] == [f"nightly-{day}.csv"]
