"""Every public function that takes storage options seals them first, so that no traceback shows a secret."""

from __future__ import annotations

import importlib
import inspect
import traceback
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink.secret import Sealed, seals_options
from tests.support.canary import KEY, SECRET, TOKEN, found_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

PLAIN = {"key": KEY, "secret": SECRET, "client_kwargs": {"aws_session_token": TOKEN}}
# Packages that users import besides `mc_sink` itself.
PUBLIC = [mc_sink, *map(importlib.import_module, ("mc_sink.platforms", "mc_sink.connector", "mc_sink.testing"))]


def public_calls() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every public function, and every method of a public class that is called with arguments."""
    for module in PUBLIC:
        for name in public_names(module):
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing
            elif inspect.isclass(thing):
                members = inspect.getmembers(thing, lambda one: inspect.isfunction(one) or inspect.ismethod(one))
                yield from ((f"{module.__name__}.{name}.{key}", one) for key, one in members)


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a module exports; without `__all__`, those without an underscore."""
    return getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]


def takes_options(call: Callable[..., Any]) -> bool:
    """Return whether a call has a parameter for storage options, or passes on the options of a delivery."""
    parameters = inspect.signature(call).parameters.values()
    return any("storage_options" in (one.name, *annotated(one)) for one in parameters)


def annotated(parameter: inspect.Parameter) -> tuple[str, ...]:
    """Return the option names of a parameter `**options: Unpack[Options]`."""
    return ("storage_options",) if parameter.annotation == "Unpack[Options]" else ()


# A record of the history: its storage options come from a connection file, which can't hold secrets.
RECORDS = {"mc_sink.connector.Run.__init__"}
CALLS = {name: call for name, call in public_calls() if takes_options(call) and name not in RECORDS}


def secrets_shown(call: Callable[..., Any], *args: object, **options: object) -> list[str]:
    """Call with plain secrets and unusable arguments, and return the secrets in the traceback below the caller."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  whatever the unusable arguments cause
        call(*args, **options)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(raised.value.__traceback__)][1:]
    assert frames, "the call itself must be in the traceback"
    shown = "".join(traceback.format_exception(raised.value))
    return found_in(f"{frames!r}{shown}".encode())


def unusable(call: Callable[..., Any]) -> list[object]:
    """Return a value that no function accepts for each parameter that must be given by place."""
    parameters = inspect.signature(call).parameters.values()
    by_place = (one for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [object() for one in by_place if one.default is inspect.Parameter.empty and one.name != "storage_options"]


def test_every_such_function_is_found() -> None:
    """The inspection sees functions, methods, and options that are passed on; a new function appears here by itself."""
    assert set(CALLS) >= {
        *(f"mc_sink.{name}" for name in ("sink_madconnect", "stage", "preview", "publish", "discard", "recover")),
        *("mc_sink.verify", "mc_sink.SinkMadConnect.__call__", "mc_sink.SinkMadConnect.preview"),
        *("mc_sink.Platform.storage_options_for",),
    }


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_secret_is_in_a_traceback(call: Callable[..., Any]) -> None:
    """Neither in the locals of any frame, nor in the message, also when another argument is wrong."""
    assert secrets_shown(call, *unusable(call), storage_options=PLAIN) == []


@pytest.mark.parametrize("name", ["storage_option", "secret"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_secret_under_a_wrong_name_is_in_a_traceback(call: Callable[..., Any], name: str) -> None:
    """A misspelt argument is refused, and its value isn't shown."""
    value: Any = PLAIN if name == "storage_option" else SECRET
    assert secrets_shown(call, *unusable(call), **{name: value}) == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_secret_in_a_wrong_place_is_in_a_traceback(call: Callable[..., Any]) -> None:
    """Options that are given by place, or one place too far, aren't shown either."""
    assert secrets_shown(call, *unusable(call), PLAIN, PLAIN, PLAIN, PLAIN) == []


def test_the_search_finds_an_unsealed_function() -> None:
    """The same function shows all three secrets without the decorator, and none with it."""

    def fails(target: object, *, storage_options: object = None) -> None:
        raise ValueError(target, type(storage_options))

    assert secrets_shown(fails, None, storage_options=PLAIN) == [KEY, SECRET, TOKEN]
    assert secrets_shown(seals_options(fails), None, storage_options=PLAIN) == []


def test_options_arrive_sealed_and_the_rest_unchanged() -> None:
    """By name and by place, with the other arguments, defaults and the signature as they were."""

    @seals_options
    def seen(first: object, storage_options: object = None, *, last: str = "z", **more: object) -> tuple[object, ...]:
        return first, storage_options, last, more

    for first, options, last, more in (seen({"a": 1}, PLAIN), seen({"a": 1}, storage_options=PLAIN)):
        assert (first, last, more) == ({"a": 1}, "z", {})
        assert isinstance(options, Sealed)
        assert dict(options.reveal()) == PLAIN
    assert seen(1, None, last="text", format="csv")[2:] == ("text", {"format": "csv"})
    assert list(inspect.signature(seen).parameters) == ["first", "storage_options", "last", "more"]


def test_a_delivery_takes_no_harm(tmp_path: Any) -> None:
    """Options that aren't secret, such as names and formats, pass the decorator as they are."""
    frame = pl.DataFrame({"k": ["a"]})
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", run_id="r", partition_by="k", keys=None, include_key=True)
    assert receipt.files[0].path.endswith("k=a/r-00000.csv")
