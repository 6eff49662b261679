"""What the package promises by name: exports, defaults, docstrings, a light import, and one call in two forms."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import connector, testing
from mc_sink.sink import Options, SinkOptions, preview

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAME = pl.DataFrame({"n": [1, 2, 3]})
EXPORTED = [
    *("sink_madconnect", "stage", "publish", "discard", "recover", "verify"),
    *("open_delivery", "Delivery", "Share", "Sweep", "AlreadyDelivered"),
    *("list_schemas", "load_schema", "list_journals"),
    *("Csv", "Parquet", "ObjectOptions", "SinkMadConnect", "Secret", "Preview", "preview", "handover"),
    *("Preset", "PRESETS", "Limit", "LimitError", "Age", "Pgp", "Encryption", "ClearBytes"),
    *("Platform", "CheckReport", "CheckRow", "platforms", "configure", "policy", "lifecycle"),
    *(
        "Receipt",
        "Rejects",
        "CountedWarning",
        "Changes",
        "Verification",
        "WrittenFile",
        "Staged",
        "StagedFile",
        "Journal",
    ),
    *("SinkError", "TargetError", "ConfigurationError", "ValidationError", "AlreadyExistsError", "PermissionDenied"),
    *("QueryError", "UploadError", "CommitError", "CommitUnknown"),
]
DEFAULTS = {
    "format": None,
    "preset": None,
    "schema": None,
    "on_invalid": "fail",
    "rejects": None,
    "max_rejects": None,
    "min_rows": None,
    "on_empty": "deliver",
    "if_exists": "fail",
    "stale": "fail",
    "name": None,
    "partition_by": None,
    "include_key": None,
    "previous": None,
    "keys": None,
    "changes": "files",
    "action_column": None,
    "max_rows_per_file": None,
    "max_bytes_per_file": None,
    "row_group_size": None,
    "manifest": None,
    "success_marker": False,
    "run_id": None,
    "platform": None,
    "encrypt": None,
    "object_options": None,
    "storage_options": None,
    "progress": None,
}
FACTS = {
    "Receipt": "run_id target files num_rows num_bytes rejects validated manifest started_at elapsed warnings "
    "success_marker changes skipped stale closing sweep content stages",
    "WrittenFile": "path num_rows num_bytes etag version_id checksum partition from_prior_attempt "
    "create_only integrity etag_is_computed clear",
}


def test_exactly_these_names_are_exported() -> None:
    """`__all__` is sorted, holds the promised names and no others, and each of them exists."""
    assert sorted(EXPORTED) == sorted(mc_sink.__all__)
    assert all(hasattr(mc_sink, name) for name in mc_sink.__all__)


def test_names_load_their_rooms_when_they_are_asked_for() -> None:
    """The import alone loads the door; every name is there all the same, listed and for `import *`, and no other is."""
    ours = {module for module in loaded_by("import mc_sink") if module.startswith("mc_sink.")}
    assert ours == {
        f"mc_sink.{name}"
        for name in "_display _lazy _polars _runtime _runtime.fork_guard _runtime.state_dir exceptions secret".split()  # noqa: SIM905
    }
    assert dir(mc_sink) == sorted(EXPORTED)
    names: dict[str, Any] = {}
    exec("from mc_sink import *", names)  # noqa: S102  the one way to try it within a function
    assert {*EXPORTED} <= {*names}
    with pytest.raises(AttributeError, match="module 'mc_sink' has no attribute 'sinks'"):
        mc_sink.sinks  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", sorted({*EXPORTED} - {"PRESETS", "platforms"}))
def test_every_public_name_says_what_it_promises(name: str) -> None:
    """Each export, and every public method and property of it, has a docstring of its own that is a sentence."""
    thing = getattr(mc_sink, name)
    members = vars(thing).items() if inspect.isclass(thing) else ()
    public = [
        member
        for member_name, member in members
        if not member_name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    ]
    for documented in (thing, *public):
        first = (documented.__doc__ or "").strip().split("\n")[0]
        assert first, f"{name}: {documented} has no docstring"
        assert not first.startswith(f"{name}("), f"{name}: the docstring is the one that dataclasses make"


@pytest.mark.parametrize("call", [mc_sink.sink_madconnect, mc_sink.stage, preview])
def test_a_delivery_takes_a_frame_a_target_and_named_options(call: Callable[..., Any]) -> None:
    """Two positional arguments, then names alone, with the defaults that are promised."""
    parameters = inspect.signature(call).parameters
    assert list(parameters)[:2] == ["frame", "target"]
    named = {name: p.default for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert named == DEFAULTS
    assert len(parameters) == 2 + len(DEFAULTS)


def test_a_type_checker_sees_the_options_that_there_are() -> None:
    """By the same names and types, in the same order."""
    assert Options.__annotations__.keys() == DEFAULTS.keys()
    types = {field.name: field.type for field in fields(SinkOptions) if field.name != "target"}
    types["max_bytes_per_file"] = "int | str | None"  # a size as text is read before it is kept
    assert types == {name: hint.__forward_arg__ for name, hint in Options.__annotations__.items()}


@pytest.mark.parametrize("call", [mc_sink.sink_madconnect, mc_sink.stage, preview, mc_sink.SinkMadConnect(FRAME)])
def test_an_unknown_option_is_refused(call: Callable[..., Any], tmp_path: Path) -> None:
    """As Python refuses it, with the name that may have been meant, and with nothing written."""
    is_method = isinstance(call, mc_sink.SinkMadConnect)
    place, name = ((f"{tmp_path}/",), "sink_madconnect") if is_method else ((FRAME, f"{tmp_path}/"), call.__name__)
    with pytest.raises(
        TypeError, match=rf"{name}\(\) got an unexpected option 'max_rows'\. Did you mean 'max_rows_per_file'\?"
    ):
        call(*place, max_rows=5, storage_options={"key": "x", "secret": "never-shown"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [mc_sink.publish, mc_sink.discard, mc_sink.verify])
def test_what_follows_a_staging_takes_one_thing_and_storage_options(call: Callable[..., Any]) -> None:
    """Credentials are passed again, by name, because staged deliveries hold none."""
    first, *options = inspect.signature(call).parameters.values()
    assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {one.name: (one.kind, one.default) for one in options} == dict.fromkeys(
        ("platform", "storage_options"), (inspect.Parameter.KEYWORD_ONLY, None)
    )


@pytest.mark.parametrize(("name", "promised"), FACTS.items())
def test_facts_have_the_promised_fields(name: str, promised: str) -> None:
    """Public fields, in their order."""
    assert [f.name for f in fields(getattr(mc_sink, name)) if not f.name.startswith("_")] == promised.split()


@pytest.mark.parametrize("name", ["Csv", "Parquet", "ObjectOptions"])
def test_options_are_given_by_name(name: str) -> None:
    """No option can be confused with another by its place."""
    with pytest.raises(TypeError, match="positional"):
        getattr(mc_sink, name)("gzip")


@pytest.mark.parametrize("name", [name for name in EXPORTED if is_dataclass(getattr(mc_sink, name))])
def test_values_and_facts_are_frozen_and_slotted(name: str) -> None:
    """None of them can be changed, or given an attribute that isn't there."""
    thing = getattr(mc_sink, name)
    assert thing.__dataclass_params__.frozen
    assert "__slots__" in vars(thing)


def test_both_kinds_of_frame_have_the_namespace() -> None:
    """Importing the package is enough for both."""
    for frame in (FRAME, FRAME.lazy()):
        assert isinstance(frame.sink_madconnect, mc_sink.SinkMadConnect)  # type: ignore[union-attr]


@pytest.mark.parametrize("frame", [FRAME, FRAME.lazy()], ids=["eager", "lazy"])
def test_the_namespace_shows_the_options_as_the_function_does(frame: pl.DataFrame | pl.LazyFrame) -> None:
    """By name, type and default, with the text about each: what completion and `?` read."""
    call = frame.sink_madconnect  # type: ignore[union-attr]
    function = inspect.signature(mc_sink.sink_madconnect).parameters
    assert dict(inspect.signature(call).parameters) == {name: one for name, one in function.items() if name != "frame"}
    assert inspect.getdoc(call) == inspect.getdoc(mc_sink.sink_madconnect)
    assert mc_sink.SinkMadConnect.__doc__ is not None
    assert mc_sink.SinkMadConnect.__doc__.startswith("Deliver this frame.")
    assert list(inspect.signature(mc_sink.SinkMadConnect).parameters) == ["frame"]


def test_the_function_and_the_namespace_deliver_the_same(tmp_path: Path) -> None:
    """Every form gives the same file under the same options, and the same refusals."""
    lazy, eager = FRAME.lazy(), FRAME
    forms: dict[str, Callable[..., mc_sink.Receipt]] = {
        "function": lambda target, **options: mc_sink.sink_madconnect(eager, target, **options),
        "piped": lambda target, **options: lazy.pipe(mc_sink.sink_madconnect, target, **options),
        "lazy": lazy.sink_madconnect,  # type: ignore[attr-defined]
        "eager": eager.sink_madconnect,  # type: ignore[attr-defined]
    }
    checksums = set()
    for name, form in forms.items():
        receipt = form(f"{tmp_path}/", run_id=name, format=mc_sink.Csv(separator=";"), progress=False)
        assert receipt.run_id == name
        checksums |= {file.checksum for file in receipt.files}
        with pytest.raises(mc_sink.AlreadyExistsError):
            form(f"{tmp_path}/", run_id=name, format=mc_sink.Csv(include_header=False))
        with pytest.raises(TypeError, match="formt"):
            form(f"{tmp_path}/", formt="csv")
    assert len(checksums) == 1


def loaded_by(code: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after running some code."""
    code = f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines())


UNUSED = {
    *("pandera", "pyarrow", "numpy", "pydantic", "tqdm", "yaml", "s3fs", "botocore"),
    *("mc_sink.comparison", "mc_sink.presets", "mc_sink.sink.previewing", "mc_sink.connector"),
    *("mc_sink.platforms.configuring", "mc_sink.platforms.policies"),
}


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_a_first_delivery_loads_only_what_it_uses(format: str, tmp_path: Path) -> None:
    """Of a frame of Polars' own, without a schema, a preset or a previous delivery, to a local folder."""
    place = f"{tmp_path}/out/"
    loaded = loaded_by(
        f"import polars, mc_sink; "
        f"mc_sink.sink_madconnect(polars.DataFrame({{'a': [1], 'b': ['x']}}), {place!r}, format={format!r})"
    )
    assert not UNUSED & loaded
    assert "mc_sink.sink" in loaded


@pytest.mark.parametrize("heavy", ["s3fs", "fsspec", "aiobotocore", "botocore", "pandera", "pyarrow", "yaml", "tqdm"])
def test_importing_loads_nothing_heavy(heavy: str) -> None:
    """What a delivery may need is loaded when one needs it."""
    assert heavy not in IMPORTED


@pytest.mark.parametrize("module", ["asyncio", "aiohttp", "ssl", "http.client", "multiprocessing", "unittest", "numpy"])
def test_importing_loads_no_more_machinery_than_polars(module: str) -> None:
    """Event loops, networks and servers are left alone, unless Polars has loaded them itself."""
    assert module not in IMPORTED - loaded_by("import polars")


IMPORTED = loaded_by("import mc_sink")


def test_a_local_delivery_loads_no_s3(tmp_path: Path) -> None:
    """The embedded default needs no network library."""
    code = f"import mc_sink, polars; mc_sink.sink_madconnect(polars.DataFrame({{'n': [1]}}), '{tmp_path}/')"
    assert not {"s3fs", "aiobotocore", "botocore", "pandera"} & loaded_by(code)


def test_there_is_a_version() -> None:
    """The version is the one that the installed distribution has."""
    from importlib.metadata import version

    assert mc_sink.__version__ == version("mc-sink")


FUNCTIONS = [
    *(getattr(mc_sink, name) for name in EXPORTED),
    *(getattr(module, name) for module in (mc_sink.platforms, connector, testing) for name in module.__all__),
]


@pytest.mark.parametrize("function", [*filter(inspect.isfunction, FUNCTIONS)], ids=lambda one: one.__name__)
def test_every_argument_has_a_line(function: Callable[..., Any]) -> None:
    """A function with several arguments describes each on a line of its own, or has those of `sink_madconnect`."""
    text = inspect.getdoc(function) or ""
    names = [*inspect.signature(function).parameters]
    if re.search(r"[Aa]rguments (of|as) `sink_madconnect`|As in `sink_madconnect`|same arguments", text):
        names = [name for name in names if name not in {*DEFAULTS, "frame", "target"}]
    lines = [line for line in text.splitlines() if re.match(r"- `|[a-z_]+(, [a-z_]+)*$", line)]
    described = {name for line in lines for name in re.findall(r"[a-z_]+", line.partition(": ")[0])}
    assert len(names) < 2 or [name for name in names if name not in described] == []
