"""On the command line, all advice names commands, flags and keys of a connection file, and none of Python's words."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import Platform
from mc_sink.connector.cli.wording import FLAGS, VALUES, for_command
from mc_sink.connector.connections import Settings
from mc_sink.sink import SinkOptions
from tests.support.command_line import commands
from tests.support.connection_files import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {one.name for one in fields(Settings)}
ARGUMENTS = KEYS | {one.name for one in fields(SinkOptions)} | {one.name for one in fields(Platform)}
ARGUMENTS |= {"store", "leaving", "action", "credentials", "expire_days", "archive_days", "abort_days"}
# What only callers in Python pass: a frame, a progress bar.
ARGUMENTS -= {"progress", "name"}
PYTHON = re.compile(
    rf"(?<![\w.-])({'|'.join(sorted(ARGUMENTS))})=(?![=])|\bmc_sink\.\w+\(|\breceipt\.\w+\(|\bplatforms\.\w+\("
)
SET = re.compile(r"--set (?:'[^']*'|\S+)")  # what follows it is a key of a connection file
SAID_TO_CALLERS = "use mc_sink.verify(receipt, "


def messages() -> Iterator[tuple[str, str]]:
    """Yield every string of the library that names an argument or a call, with its place; X stands for a value."""
    for path in sorted((ROOT / "mc_sink").rglob("*.py")):
        if "connector" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | inside):
                text = node.value
            else:
                continue
            if PYTHON.search(text) and " " in text:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


MESSAGES = list(messages())


def test_messages_are_found() -> None:
    """The search sees the advice of several folders of the library."""
    assert len(MESSAGES) > 40
    assert {place.split("/")[1] for place, _ in MESSAGES} >= {"sink", "keys", "publishing", "platforms", "comparison"}


@pytest.mark.parametrize(
    "command", ["run", "preview", "schedule", "connections", "send", "verify", "recover", "platforms"]
)
def test_no_message_keeps_a_word_of_python(command: str) -> None:
    """Every argument and every call in a message of the library is translated, for each command."""
    left = [
        f"{place}: {translated}"
        for place, text in MESSAGES
        if SAID_TO_CALLERS not in text and PYTHON.search(SET.sub("", translated := for_command(text, command)))
    ]
    assert not left, "\n".join(left)


@pytest.mark.parametrize(("command", "text", "expected"), [
    ("run", 'Set if_exists="overwrite".', 'Set if_exists = "overwrite".'),
    ("send", 'Set if_exists="overwrite".', "Set --if-exists overwrite."),
    ("send", 'Set on_empty="skip".', """Set --set 'on_empty="skip"'."""),
    ("run", 'pass run_id="20261122"', "pass --run-id 20261122"),
    ("run", "pass include_key=True, or", "pass include_key = true, or"),
    ("send", "it needs a schema= to reject by", "it needs a --schema to reject by"),
    ("run", "add columns to keys= until", "add columns to keys until"),
    ("run", 'mc_sink.recover("r-1") publishes', "mc-sink recover r-1 publishes"),
    ("run", 'recover("r-1", action="discard") gives up', "mc-sink recover r-1 --discard gives up"),
    ("recover", "pass target=… to choose", "pass --target to choose"),
    ("run", "accept with storage_options={'use_ssl': False}.", "accept with storage_options.use_ssl = false."),
    ("run", 'pass object_options=ObjectOptions(sse="aws:kms")', 'pass object_options.sse = "aws:kms"'),
    ("platforms", 'replace it with if_exists="overwrite".', "replace it with --replace."),
    ("platforms", 'save with store="file": a file', "save with --store file: a file"),
    ("platforms", 'Run the check with leaving="an object".', "Run the check with --write-probe."),
    ("run", 'Save it with platforms.save(Platform(name="acme", …)).', "Save it with mc-sink platforms add acme."),
    ("run", "s3://bucket/keys=1/x.csv is taken", "s3://bucket/keys=1/x.csv is taken"),
])  # fmt: skip
def test_advice_has_the_words_of_the_command(command: str, text: str, expected: str) -> None:
    """A flag where the command has one, else the key of a connection file; paths stay as they are."""
    assert for_command(text, command) == expected


def options_of(command: Any) -> set[str]:
    """Return the flags of a command."""
    return {flag for one in command.params for flag in one.opts}


def test_every_flag_exists() -> None:
    """The table names only flags that the command, or a command of the group, has."""
    for group, flags in FLAGS.items():
        known = set().union(*(options_of(one) for name, one in commands().items() if name.split()[0] == group))
        named = {flag for text in flags.values() for flag in re.findall(r"--[\w-]+", text)}
        named |= {flag for (command, _, _), flag in VALUES.items() if command == group}
        unknown = (
            named - known - {"--access-key-id", "--secret-access-key", "--session-token", "--last-check", "--name"}
        )
        assert not unknown, f"{group} has no {unknown}"


def test_a_key_can_be_typed_as_it_is_shown() -> None:
    """What a message shows for a file is TOML, and what it shows for `send` is one argument of a shell."""
    shown = for_command('if_exists="overwrite"', "run")
    assert tomllib.loads(shown) == {"if_exists": "overwrite"}
    flag, value = shlex.split(for_command('on_empty="skip"', "send"))
    assert (flag, tomllib.loads(value)) == ("--set", {"on_empty": "skip"})
