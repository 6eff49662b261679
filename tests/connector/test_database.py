"""A database's URI is repeated nowhere, in any form of the URI and any message of the library that couldn't use it."""

from __future__ import annotations

import sqlite3
import sys
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest

from mc_sink import ConfigurationError, SinkError
from mc_sink.connector.connections import load
from mc_sink.connector.connections.queries import read_database
from mc_sink.connector.connections.settings import Source
from mc_sink.records import failure_of
from mc_sink.scrub import masked, without_uri
from mc_sink.secret import Secret
from tests.support.command_line import Machine

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "cAnArYdbPASS"
ODD = "pä:ss'wo%rd\"$(x)`Σ!&canary7"
SOUND = {
    "a password": f"postgresql://user:{PASSWORD}@127.0.0.1:1/db",
    "no user": f"postgresql://:{PASSWORD}@127.0.0.1:1/db",
    "in the query": f"postgresql://127.0.0.1:1/db?user=u&password={PASSWORD}",
    "percent-encoded": f"mysql://user:{quote(ODD, safe='')}@127.0.0.1:1/db",
    "as it is": f"mssql://user:{PASSWORD}$!*()@127.0.0.1:1/db?trusted_connection=no",
    "an unknown scheme": f"bogus://u:{PASSWORD}@h/x",
    "a token": f"snowflake://user@account/db?token={PASSWORD}&warehouse=w",
    "a short one": "postgresql://user:q7@127.0.0.1:1/db",
    "a file's name": f"sqlite:////tmp/{PASSWORD}.db",
}
WRONG = {
    "libpq's words": f"host=127.0.0.1 user=u password={PASSWORD} dbname=d",
    "libpq's words and a URL": f"password={PASSWORD} host=postgresql://x",
    "ODBC's words": f"Driver={{x}};UID=u;PWD={PASSWORD};",
    "JSON": f'{{"password": "{PASSWORD}"}}',
    "a slash": f"postgresql://user:x/{PASSWORD}@127.0.0.1:1/db",
    "a slash after a number": f"postgresql://user:1/{PASSWORD}@127.0.0.1:1/db",
    "a hash": f"postgresql://user:x#{PASSWORD}@127.0.0.1:1/db",
    "a hash after a number": f"postgresql://user:1#{PASSWORD}@127.0.0.1:1/db",
    "a question mark": f"postgresql://user:1?{PASSWORD}@127.0.0.1:1/db",
    "a space": f"postgresql://user:x {PASSWORD}@127.0.0.1:1/db",
    "the end of a line": f"postgresql://user:{PASSWORD}@127.0.0.1:1/db\n",
    "no port": f"postgresql://user:{PASSWORD}@127.0.0.1:notaport/db",
    "a bracket": f"postgresql://user:{PASSWORD}@[::1",
    "the password as the scheme": f"{PASSWORD}:x@127.0.0.1",
    "the password as the port": f"postgresql://127.0.0.1:{PASSWORD}/db",
}
ECHOES = {
    "whole": lambda uri: uri,
    "decoded": unquote,
    "as a repr": repr,
    "cut": lambda uri: f"invalid dsn near {uri[20:34]!r}",
    "in capitals": lambda uri: uri.upper(),
    "escaped": lambda uri: unquote(uri).encode("unicode_escape").decode(),
    "in words": lambda uri: "no such: " + " ".join(uri.replace(":", " ").replace("@", " ").split("/")),
}


class Panic(BaseException):
    """What connectorx raises where Rust panics."""


@pytest.fixture(params=["RuntimeError", "Panic", "ImportError", "KeyboardInterrupt"])
def echoing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a connectorx that refuses every query, and repeats the URI as `echo` has it."""
    library: Any = ModuleType("connectorx")
    library.__version__ = "0.4.6"
    library.kind = {"Panic": Panic}.get(request.param) or getattr(__import__("builtins"), request.param)

    def read_sql(conn: str, **_options: object) -> None:
        raise library.kind(library.echo(conn))

    library.read_sql = read_sql
    monkeypatch.setitem(sys.modules, "connectorx", library)
    return library


def shown(error: BaseException) -> str:
    """Show an error in every way, with the locals of every frame but those of the tests, and what caused it."""
    output = [repr(error), str(error), failure_of(error).text, failure_of(error).kind]
    seen: BaseException | None = error
    while seen is not None:
        stack = traceback.TracebackException.from_exception(seen, capture_locals=True)
        output += [str(frame.locals) for frame in stack.stack if "tests" not in frame.filename]
        output += [repr(seen), *getattr(seen, "__notes__", [])]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(output)


def secrets_of(uri: str) -> set[str]:
    """Give what may be found nowhere, in small letters."""
    odd = {ODD, quote(ODD, safe=""), "canary7", "ss'wo", "q7"}
    return {one.lower() for one in {PASSWORD, uri, *odd} if one.lower() in uri.lower() or one in unquote(uri)}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("which", SOUND)
def test_no_word_of_it_is_repeated(echoing: Any, monkeypatch: pytest.MonkeyPatch, which: str, echo: str) -> None:
    """Neither the message, the chain, the frames' variables nor the record has the password, however it is repeated."""
    uri = SOUND[which]
    echoing.echo = ECHOES[echo]
    monkeypatch.setenv("DATABASE_URL", uri)
    with pytest.raises(BaseException) as raised:  # noqa: PT011  a panic is not an Exception
        read_database(Source(query="select 1", uri_env="DATABASE_URL"))
    assert isinstance(raised.value, SinkError) == (echoing.kind is not KeyboardInterrupt)  # which goes on as it is
    assert raised.value.__context__ is None
    said = shown(raised.value).lower()
    assert [secret for secret in secrets_of(uri) if secret in said] == []


@pytest.mark.parametrize("which", WRONG)
def test_one_that_can_be_read_in_two_ways_is_refused(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """Before any library sees it, and without a word of it."""
    monkeypatch.setenv("DATABASE_URL", WRONG[which])
    with pytest.raises(ConfigurationError, match="in the variable DATABASE_URL is invalid") as raised:
        read_database(Source(query="select 1", uri_env="DATABASE_URL"))
    assert PASSWORD.lower() not in shown(raised.value).lower()


@pytest.mark.parametrize("which", WRONG)
def test_a_variable_has_a_name(tmp_path: Path, which: str) -> None:
    """A URI where the name of its variable belongs is refused when the file is read, and not repeated."""
    file = tmp_path / "c.toml"
    value = WRONG[which].strip().replace("\\", "\\\\").replace('"', '\\"')
    file.write_text(f'target = "out/"\n[source]\nquery = "select 1"\nuri_env = "{value}"\n', "utf-8")
    with pytest.raises(ConfigurationError) as raised:
        load(file)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("key", ["uri", "uri_env"])
@pytest.mark.parametrize("which", ["libpq's words", "ODBC's words"])
def test_a_file_may_not_hold_it(tmp_path: Path, key: str, which: str) -> None:
    """A password among libpq's words is one, too."""
    file = tmp_path / "c.toml"
    file.write_text(f"target = 'out/'\n[source]\nquery = 'select 1'\n{key} = '{WRONG[which]}'\n", "utf-8")
    with pytest.raises(ConfigurationError, match="seems to have a credential") as raised:
        load(file)
    assert PASSWORD not in str(raised.value)


def test_what_is_no_part_of_it_is_repeated(echoing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong query fails with the database's message, without the words of the address."""
    if echoing.kind is not RuntimeError:
        pytest.skip("only an error of the database's has a message")
    echoing.echo = lambda _uri: 'ERROR: column "nosuch" does not exist in warehouse7 for alice9'
    monkeypatch.setenv("DATABASE_URL", "postgresql://alice9:Zx81_Q@db.example.com:5432/warehouse7")
    with pytest.raises(SinkError, match=r'column "nosuch" does not exist in … for …') as raised:
        read_database(Source(query="select nosuch from t", uri_env="DATABASE_URL"))
    assert "postgresql: database" in str(raised.value)


@pytest.mark.parametrize(
    "which", ["a password", "percent-encoded", "a file's name", "libpq's words", "a hash after a number", "no port"]
)
def test_no_command_says_it(tmp_path: Path, which: str) -> None:
    """Neither the error with its traceback, the log, a hook's input, nor what is remembered."""
    uri = {**SOUND, **WRONG}[which]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "connectorx.py").write_text(
        "__version__ = '0.4.6'\n\n\ndef read_sql(conn, **_options):\n    raise RuntimeError(f'no: {conn}')\n", "utf-8"
    )
    machine = Machine(tmp_path, tmp_path / "state", {"DATABASE_URL": uri})
    machine.more["PYTHONPATH"] = f"{machine.environment['PYTHONPATH']}:{tmp_path / 'site'}"  # type: ignore[index]
    (tmp_path / "c.toml").write_text(
        'target = "out/"\n[source]\nquery = "select 1"\nuri_env = "DATABASE_URL"\n'
        '[hooks]\non_failure = ["sh", "-c", "cat > hook.json; env >> hook.json"]\n',
        "utf-8",
    )
    code = 3 if which in WRONG else 1
    said = machine.mc_sink("run", "c.toml", "--debug", code=code).said + machine.mc_sink("history", "--json").said
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert [secret for secret in secrets_of(uri) if len(secret) > 3 and secret in said.lower()] == []
    assert kept == []
    assert "DATABASE_URL" not in (tmp_path / "hook.json").read_text("utf-8").replace("variable DATABASE_URL", "")


def test_a_database_that_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows arrive, where the library is installed."""
    pytest.importorskip("connectorx")
    with sqlite3.connect(tmp_path / "some.db") as database:
        database.execute("create table audience as select 7 as id")
    database.close()
    monkeypatch.setenv("AUDIENCE_DB", f"sqlite://{tmp_path}/some.db")
    assert read_database(Source(query="select * from audience", uri_env="AUDIENCE_DB"))["id"].to_list() == [7]


NAMED = {
    "libpq": "host=127.0.0.1 user=u password=CANARY4711 dbname=d",
    "libpq, quoted": r"host=h password = 'CANARY 4711 \' x' dbname=d",
    "ODBC": "Driver=x;Server=h;UID=u;PWD={CANARY4711;};Database=d",
    "a query": "postgresql://h/d?user=u&password=CANARY4711&sslmode=require",
    "a token": "snowflake://h/d?token=CANARY4711",
}


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_a_credential_by_its_name_is_masked(text: str) -> None:
    """As a source of Python may repeat the address of its database; the rest stays."""
    shown = masked(f"connection to {text} failed: timeout")
    assert "4711" not in shown
    assert shown.endswith("failed: timeout")
    assert "4711" not in (without_uri(f"connection to {text} failed", Secret(text)) or "")
