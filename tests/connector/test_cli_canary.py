"""No credential of a platform is in anything that a command prints, writes, passes on or shows in `ps`; every command.

The commands are those that the application has: one without a case here fails. The store knows unmistakable keys, and
repeats them in its refusals. Children run with umask 0, so that every file that isn't closed to others is open to them.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.sandbox.admin import Credentials
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Reset
from tests.servers.rules import GRANTED, Rules
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN, echo, found_in, logged
from tests.support.command_line import Machine, commands
from tests.support.connection_files import wait_until, write_connection

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

GIVEN = f"{KEY}\n{SECRET}\n{TOKEN}\n"
# A hook writes down all that it gets: its words, its standard input and its environment.
HOOKS = """
[hooks]
on_success = ["sh", "-c", "cat > $MC_SINK_RUN_ID.hook; env >> $MC_SINK_RUN_ID.hook; cat /proc/$$/cmdline"]
on_failure = ["sh", "-c", "cat > $MC_SINK_RUN_ID.hook; env >> $MC_SINK_RUN_ID.hook"]
[storage_options.config_kwargs]
read_timeout = 5
"""
# The URL of a webhook is a secret, by which anybody can post. The first is refused, and the second isn't a URL.
WEBHOOKS = """
[hooks]
on_success = { url_env = "REFUSED_WEBHOOK", form = "slack" }
on_failure = { url_env = "BROKEN_WEBHOOK", form = "teams" }
"""


# What libraries repeat of a database's URI that they couldn't use, here of a variable with a name of its own.
QUOTING = """
import os
from urllib.parse import unquote, urlsplit

URI = os.environ["WAREHOUSE"]


def whole():
    raise ConnectionError(f"could not translate {URI}")


def password():
    raise ConnectionError(f"login failed with {urlsplit(URI).password}")


def decoded():
    raise ConnectionError(f"login failed with {unquote(urlsplit(URI).password)}")


def chained():
    try:
        whole()
    except ConnectionError as error:
        raise LookupError("no rows") from error
"""


@dataclass
class Told:
    """The output of a series of commands, by the command, and the machine that they ran on."""

    machine: Machine
    server: FaultServer
    by_command: dict[str, list[str]] = field(default_factory=dict)

    def run(self, *words: object, code: int = 0, debug: bool = True) -> str:
        """Run a command in this interpreter with all logs on, and keep its output and the logs."""
        with logged() as said:
            ended = self.machine.here(*words, *(["--debug"] if debug else []), code=code)
        self.keep(words, ended.said + said.getvalue())
        return ended.said

    def child(self, *words: object, typed: str | None = None, code: int = 0) -> str:
        """Run a command in a child, look at it as `ps` does while it runs, and keep all of it."""
        child = self.machine.start(*words, typed=typed is not None)
        seen = seen_by_others(child)
        out, err = child.communicate(typed, timeout=120)
        assert child.returncode == code, (words, out, err)
        self.keep(words, seen + out + err)
        return out

    def keep(self, words: tuple[object, ...], said: str) -> None:
        """Keep an output with the command that printed it."""
        line = " ".join(map(str, words))
        name = max((name for name in commands() if f"{line} ".startswith(f"{name} ")), key=len)
        self.by_command.setdefault(name, []).append(f"{line}\n{said}")


def seen_by_others(child: subprocess.Popen[str]) -> str:
    """Give the words of a running child, which everybody on a machine can read."""
    path = Path(f"/proc/{child.pid}/cmdline")
    wait_until(lambda: b"mc_sink.connector.cli" in path.read_bytes(), child)
    return path.read_text("utf-8")


def add_platforms(ended_text: Told) -> None:
    """Add by standard input, from a file, from the environment, and by hand at a terminal; and in vain."""
    stored = ("--endpoint", ended_text.server.url, "--store", "file")
    ended_text.child("platforms", "add", "acme", *stored, "--from", "-", typed=GIVEN)
    (ended_text.machine.folder / "key.txt").write_text(GIVEN, "utf-8")
    ended_text.run("platforms", "add", "from-file", *stored, "--from", ended_text.machine.folder / "key.txt")
    ended_text.run("platforms", "add", "acme", *stored, "--from", ended_text.machine.folder / "key.txt", code=3)
    (ended_text.machine.folder / "key.txt").write_text(GIVEN * 2, "utf-8")
    ended_text.run("platforms", "add", "wrong", *stored, "--from", ended_text.machine.folder / "key.txt", code=3)
    (ended_text.machine.folder / "key.txt").unlink()
    answers = {"Access Key ID": KEY, "Secret Access Key": SECRET, "Session Token (none)": TOKEN}
    shown = ended_text.machine.at_a_terminal("platforms", "add", "typed", *stored, answers=answers)
    ended_text.keep(("platforms", "add"), shown)


def check_platforms(ended_text: Told) -> None:
    """Check well, and where every refusal repeats the key."""
    ended_text.run("platforms", "check", "acme", "s3://bucket/p/", code=1)  # not AWS, and not tried: Unverified
    ended_text.run("platforms", "check", "acme", "s3://bucket/p/", "--json", "--write-probe")
    ended_text.run("platforms", "check", "missing", "s3://bucket/p/", code=3)
    for op, code in (("*", "InvalidAccessKeyId"), ("Part", "AccessDenied")):
        ended_text.server.fault(op, echo(403, code), times=FOREVER)
        ended_text.run("platforms", "check", "from-file", "s3://bucket/p/", code=1)
        ended_text.run("platforms", "check", "from-file", "s3://bucket/p/", "--json", code=1)
        ended_text.server.heal()


def run_connections(ended_text: Told) -> None:
    """Run well in a child, and badly in every way: a denied key, no bucket, invalid rows, no platform, a lost reply."""
    file = connection(ended_text)
    ended_text.child("run", file, "--run-id", "r-1", "--json")
    ended_text.run("run", file, "--dry-run")
    ended_text.run("run", file, "--run-id", "r-2")
    ended_text.server.fault("*", echo(403, "AccessDenied"), times=FOREVER)
    ended_text.child("run", file, "--run-id", "r-3", "--debug", code=5)
    ended_text.run("run", file, "--run-id", "r-4", debug=False, code=5)
    ended_text.server.heal()
    ended_text.run("run", connection(ended_text, "s3://none/p/"), "--run-id", "r-5", code=3)
    ended_text.run("run", connection(ended_text, more='schema = "audience"'), "--run-id", "r-6", code=4)
    ended_text.run("run", connection(ended_text, platform="missing"), "--run-id", "r-7", code=3)
    ended_text.server.fault("Complete", Reset("head"), n=2, times=FOREVER)
    ended_text.run("run", connection(ended_text, more="max_rows_per_file = 20"), "--run-id", "r-8", code=7)
    ended_text.server.heal()
    (ended_text.machine.folder / "quoting.py").write_text(QUOTING, "utf-8")
    for number, name in enumerate(("whole", "password", "decoded", "chained")):
        quoting = connection(ended_text, source=f'function = "quoting:{name}"')
        ended_text.run("run", quoting, "--run-id", f"r-9{number}", code=1)


def call_webhooks(ended_text: Told) -> None:
    """Run well and badly with webhooks that fail."""
    file = write_connection(ended_text.machine.folder, "s3://bucket/hooked/", f'platform = "acme"\n{WEBHOOKS}')
    said = ended_text.run("run", file, "--run-id", "hooked-1", "--json")
    assert "REFUSED_WEBHOOK" in ended_text.by_command["run"][-1], said
    ended_text.run("run", file, "--run-id", "hooked-2", "--min-rows", "99999999", code=4)
    assert "BROKEN_WEBHOOK" in ended_text.by_command["run"][-1]


def send_files(ended_text: Told) -> None:
    """Send well, with words that are wrong, and with a key where none may be."""
    folder = ended_text.machine.folder
    write_connection(folder, "unused/")
    source = folder / "data" / "*.parquet"
    ended_text.run("send", source, "s3://bucket/p/", "--platform", "acme")
    ended_text.run(
        "send", source, "s3://bucket/p/", "--platform", "acme", "--endpoint-url", ended_text.server.url, code=3
    )
    ended_text.run("send", source, "s3://bucket/p/", "--platform", "acme", "--set", "storage_options.key='x'", code=3)


def schedule_runs(ended_text: Told) -> None:
    """Let a scheduler start a run, and look at that one's words too."""
    file = connection(ended_text, more='[schedule]\nevery = "1s"', source='function = "sources_of_tests:endless"')
    with ended_text.machine.running("schedule", file, "--json") as child:
        wait_until((file.parent / "started").exists, child)
        tasks = Path(f"/proc/{child.pid}/task").glob("*/children")
        running = [pid for task in tasks for pid in task.read_text("ascii").split()]
        seen = "".join(Path(f"/proc/{pid}/cmdline").read_text("utf-8") for pid in running)
        child.terminate()
        ended_text.keep(("schedule", file), seen + "".join(child.communicate(timeout=60)))
    assert "--trigger" in seen


def come_back(ended_text: Told) -> None:
    """Look at what ran, verify it, and recover what was cut short: in vain at first."""
    ended_text.run("history")
    ended_text.run("history", "--json")
    for run_id in ("r-1", "r-3", "r-6", "r-8"):
        ended_text.run("show", run_id)
        ended_text.run("show", run_id, "--json")
    for words in (("r-1",), ("r-6",)):
        page = ended_text.machine.folder / f"{words[0]}.html"
        ended_text.run("report", *words, "--output", page)
        ended_text.keep(("report", *words), page.read_text("utf-8"))
    ended_text.run("report", "--all", "--output", ended_text.machine.folder / "reports")
    for page in (ended_text.machine.folder / "reports").rglob("*.html"):
        ended_text.keep(("report", "--all"), page.read_text("utf-8"))
    ended_text.run("verify", "r-1")
    ended_text.run("recover")
    ended_text.server.fault("*", echo(403, "AccessDenied"), times=FOREVER)
    ended_text.run("verify", "r-1", "--json", code=5)
    ended_text.run("recover", "r-8", code=5)
    ended_text.server.heal()
    left_over = [path.read_bytes() for path in (ended_text.machine.state / "journals").iterdir()]
    assert left_over  # a journal is read too while it exists
    assert not [text for text in left_over if found_in(text)]
    ended_text.run("recover", "r-8", "--json")


def look_at_platforms(ended_text: Told) -> None:
    """List, show and export what was added, and remove one."""
    ended_text.run("platforms", "list")
    ended_text.run("platforms", "list", "--json")
    ended_text.run("platforms", "show", "acme")
    ended_text.run("platforms", "show", "acme", "--json")
    ended_text.run("platforms", "export", "acme")
    ended_text.run("platforms", "remove", "typed", "--yes")
    ended_text.run("platforms", "remove", "typed", "--yes", code=3)


def print_the_rest(ended_text: Told) -> None:
    """Preview, check and resume a connection, print a policy, a lifecycle and metrics."""
    ended_text.run("preview", connection(ended_text), "--json")
    ended_text.run("connections", "check", connection(ended_text))
    ended_text.run("connections", "check", connection(ended_text, more=f'storage_options.secret = "{SECRET}"'), code=3)
    ended_text.run("connections", "schema")
    (ended_text.machine.folder / "new.csv").write_text("x\n1\n", "utf-8")
    new = ("connections", "new", ended_text.machine.folder / "new", "--yes", "--source", "new.csv", "--target")
    ended_text.run(*new, "s3://bucket/p/", "--platform", "acme")
    ended_text.run("policy", "s3://bucket/p/")
    ended_text.run("lifecycle", "s3://bucket/p/")
    ended_text.run("handover", "s3://bucket/p/", "--platform", "acme", "--preset", "redshift")
    ended_text.run("handover", connection(ended_text), "--output", ended_text.machine.folder / "handover.html")
    ended_text.run("resume", connection(ended_text))
    ended_text.run("demo", "--rows", 1_000)
    ended_text.run("metrics")
    ended_text.run("metrics", str(ended_text.machine.folder / "mc_sink.prom"))


CASES: dict[Callable[[Told], None], list[str]] = {
    add_platforms: ["platforms add"],
    check_platforms: ["platforms check"],
    run_connections: ["run"],
    call_webhooks: [],
    send_files: ["send"],
    schedule_runs: ["schedule"],
    come_back: ["history", "show", "verify", "recover", "report"],
    look_at_platforms: ["platforms list", "platforms show", "platforms export", "platforms remove"],
    print_the_rest: [
        "preview",
        "connections check",
        "connections new",
        "connections schema",
        "policy",
        "lifecycle",
        "handover",
        "resume",
        "metrics",
        "demo",
    ],
}


def connection(
    ended_text: Told, target: str = "s3://bucket/p/", *, more: str = "", platform: str = "acme", **given: Any
) -> Path:
    """Write a connection on the platform, with hooks."""
    return write_connection(ended_text.machine.folder, target, f'platform = "{platform}"\n{more}{HOOKS}', **given)


@pytest.fixture(scope="module")
def ended_text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Run every case, on a machine whose state is made by the first of them."""
    folder = tmp_path_factory.mktemp("machine")
    secrets = {"FEED_TOKEN": TOKEN, "DATABASE_URL": f"postgresql://user:{SECRET}@host/db"}
    secrets["WAREHOUSE"] = f"snowflake://user:%40{SECRET}@account/db"
    machine = Machine(folder, folder / "deep" / "state", secrets)
    with FaultServer(Rules(credentials=(Credentials(KEY, SECRET),), granted=GRANTED | {"Abort"})) as server:
        secrets |= {"REFUSED_WEBHOOK": f"{server.url}/services/{SECRET}", "BROKEN_WEBHOOK": f"https://[{SECRET}"}
        ended_text = Told(machine, server)
        for case in CASES:
            case(ended_text)
        yield ended_text


def test_every_command_has_a_case(ended_text: Told) -> None:
    """Those that the application has, and each was run."""
    assert sorted(name for names in CASES.values() for name in names) == sorted(commands())
    assert sorted(ended_text.by_command) == sorted(commands())


@pytest.mark.parametrize("command", commands())
def test_nothing_that_is_said_has_a_credential(ended_text: Told, command: str) -> None:
    """Neither output, errors with their tracebacks, logs from DEBUG on, JSON, the help, nor the words in `ps`."""
    help_page = ended_text.machine.here(*command.split(), "--help").said
    said = [*ended_text.by_command[command], help_page]
    assert {text.splitlines()[0]: found_in(text.encode()) for text in said if found_in(text.encode())} == {}


def test_nothing_that_is_written_has_a_credential(ended_text: Told) -> None:
    """Neither history, journals, locks, delivered objects, nor what a hook got: the files of secrets have it alone."""
    holding = {path for path in ended_text.machine.folder.rglob("*") if path.is_file() and found_in(path.read_bytes())}
    platforms = ended_text.machine.state / "platforms"
    assert holding - {ended_text.machine.folder / "nightly.toml"} == {
        platforms / "acme.secrets",
        platforms / "from-file.secrets",
    }
    assert found_in((platforms / "acme.secrets").read_bytes()) == [*CANARIES]
    assert (ended_text.machine.state / "history.sqlite3").stat().st_size > 0
    assert not [key for key in ended_text.server.listing("bucket") if found_in(ended_text.server.read("bucket", key))]


def test_hooks_get_no_credential(ended_text: Told) -> None:
    """The hook of every end was called, and neither its input nor its environment has a secret of the command's."""
    hooks = {path.stem: path.read_bytes() for path in ended_text.machine.folder.glob("*.hook")}
    assert {"r-1", "r-3", "r-6", "r-8"} <= set(hooks)
    assert all(b"MC_SINK_STATUS=" in text and b'"run_id"' in text for text in hooks.values())
    assert {name: found_in(text) for name, text in hooks.items() if found_in(text)} == {}


def open_to_others(state: Path) -> dict[str, str]:
    """Give every file and folder of the state that isn't its owner's alone, with its mode."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (state, *state.rglob("*"))}
    return {path.name: f"{mode:o}" for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)}


def test_what_is_remembered_is_for_its_owner_alone(ended_text: Told) -> None:
    """Every file has mode 0600 and every folder 0700, the outermost too, with umask 0."""
    assert open_to_others(ended_text.machine.state) == {}
    assert {path.name for path in ended_text.machine.state.iterdir()} >= {
        "history.sqlite3",
        "journals",
        "platforms",
        "locks",
    }


def test_what_is_told_is_told_all_the_same(ended_text: Told) -> None:
    """The refusals that repeat the key are shown, without it; and the ends of its id."""
    assert "The key … with … is not the one." in "".join(ended_text.by_command["run"])
    assert "AKIA…0001" in "".join(ended_text.by_command["platforms show"])
    assert "Traceback" in "".join(ended_text.by_command["run"])


@pytest.mark.parametrize("secret", CANARIES)
def test_the_search_would_find_it(tmp_path: Path, secret: str) -> None:
    """A command that says a credential, shows it in its words, or leaves it where others can read it, is caught."""
    machine = Machine(tmp_path, tmp_path / "state")
    with FaultServer() as server:
        leaking = Told(machine, server)
        leaking.child("show", secret, code=3)
        assert secret in found_in("".join(leaking.by_command["show"]).encode())
        leaking.run("history", "--connection", secret)
    assert open_to_others(machine.state) == {}
    (machine.state / "left").write_text(secret, "utf-8")
    (machine.state / "left").chmod(0o640)
    assert open_to_others(machine.state) == {"left": "640"}
    assert found_in((machine.state / "left").read_bytes()) == [secret]
