"""Secrets and sealed options: nothing that looks at them sees a value, and only the call that needs one gets it."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from mc_sink import ConfigurationError
from mc_sink.secret import Sealed, Secret, seal, shown
from mc_sink.storage import Stores, open_store
from mc_sink.storage.s3.client_options import filesystem_arguments
from mc_sink.target import parse_target

CANARY = "canary/2cUTqk+9"
TARGET = parse_target("s3://bucket/p/x.csv")


@dataclass(frozen=True)
class Holder:
    """A caller's own class with something secret in it."""

    held: Any


def logged(thing: object) -> str:
    """Return the line that logging writes for a value."""
    said = io.StringIO()
    record = logging.LogRecord("n", logging.INFO, "f", 1, "%s %r %s", (thing, thing, {"in": [thing]}), None)
    logging.StreamHandler(said).handle(record)
    return said.getvalue()


def with_locals(thing: object) -> str:
    """Return a traceback with the locals of a frame that holds a thing."""
    try:
        raise ValueError(f"about {thing}")  # noqa: TRY301  its traceback is what is looked at
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


LOOKS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda thing: f"{thing} {thing!r} {thing!s}",
    "percent": lambda thing: "%s %r" % (thing, thing),  # noqa: UP031  it is one of the ways
    "log": logged,
    "traceback with locals": with_locals,
    "json": lambda thing: json.dumps({"in": thing}, default=str),
    "in a dataclass": lambda thing: repr(Holder([thing])),
}
COPIES: dict[str, Callable[[Any], str]] = {
    "asdict": lambda thing: repr(asdict(Holder(thing))),
    "copy": lambda thing: repr((copy.copy(thing), copy.deepcopy({"in": thing}))),
}
VALUES: dict[str, Callable[[str], Any]] = {
    "Secret": Secret,
    "Sealed": lambda text: seal({"key": text, "client_kwargs": {"aws_session_token": text, "more": [text, (text,)]}}),
    "dict of Sealed": lambda text: dict(seal({"key": text, "client_kwargs": {"aws_session_token": text}})),
    "revealed": lambda text: seal({"key": text, "client_kwargs": {"aws_session_token": text}}).reveal(),
    "arguments of s3fs": lambda text: filesystem_arguments({"key": text, "secret": text, "token": text}),
}
STORES: dict[str, Callable[[str], Any]] = {
    "Stores": lambda text: Stores({"key": text, "secret": text}),
    "store": lambda text: open_store(TARGET, {"key": text, "secret": text}),
}


@pytest.mark.parametrize("hold", (VALUES | STORES).values(), ids=VALUES | STORES)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_shows_nothing(look: Callable[[Any], str], hold: Callable[[str], Any]) -> None:
    """The value isn't there when the secret is printed, logged or written."""
    assert CANARY not in look(hold(CANARY))


@pytest.mark.parametrize("hold", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("look", COPIES.values(), ids=COPIES)
def test_a_copy_shows_nothing(look: Callable[[Any], str], hold: Callable[[str], Any]) -> None:
    """What is copied, or taken apart as a dataclass, stays wrapped."""
    assert CANARY not in look(hold(CANARY))


@pytest.mark.parametrize("look", (LOOKS | COPIES).values(), ids=LOOKS | COPIES)
def test_a_look_at_a_plain_text_shows_it(look: Callable[[Any], str]) -> None:
    """The looks do look: a text that isn't wrapped is found by each of them."""
    assert CANARY in look(CANARY)


@pytest.mark.parametrize("hold", (VALUES | STORES).values(), ids=VALUES | STORES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused(hold: Callable[[str], Any], protocol: int) -> None:
    """No pickle is made, on its own or inside something else, and the refusal says what to do instead."""
    for thing in (hold(CANARY), [hold(CANARY)]):
        written = io.BytesIO()
        with pytest.raises(TypeError, match=r"holds credentials.*Pass storage_options again") as refused:
            pickle.dump(thing, written, protocol)
        assert CANARY.encode() not in written.getvalue()
        assert CANARY not in str(refused.value)


def test_a_secret_gives_nothing_but_what_it_is_asked_for() -> None:
    """It has no bytes, items, length, attributes or hash, can't be changed, and `reveal` gives the text."""
    secret = Secret(CANARY)
    looks: tuple[Callable[[Any], object], ...] = (bytes, list, len, hash, vars, iter, int, json.dumps)
    for look in looks:
        with pytest.raises(TypeError) as raised:
            look(secret)
        assert CANARY not in str(raised.value)
    with pytest.raises(AttributeError):
        secret.other = 1
    with pytest.raises(AttributeError):
        del secret.reveal
    assert secret.reveal() == CANARY
    assert f"{secret:>12}" == "   Secret(…)"


def test_a_secret_equals_only_a_secret_with_the_same_text() -> None:
    """A plain text is never equal to it, so that a guess has to be wrapped, and is compared in constant time."""
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert Secret(CANARY) != CANARY
    assert Secret("\udcff") == Secret("\udcff")


def test_a_secret_that_is_no_text_is_refused_unseen() -> None:
    """The error names the type, and no frame of it has the value."""
    with pytest.raises(ConfigurationError, match="of type bytes") as raised:
        Secret(CANARY.encode())  # type: ignore[arg-type]
    inner = raised.traceback[-1].frame.f_locals
    assert CANARY not in str(raised.value) + repr(inner)


def test_options_are_sealed_and_the_callers_stay_as_they_are() -> None:
    """Texts are wrapped at every depth, the rest is kept, and the names are shown in their order."""
    given = {"key": CANARY, "use_ssl": False, "client_kwargs": {"verify": CANARY, "n": [1, CANARY]}, "anon": None}
    before = copy.deepcopy(given)
    sealed = seal(given)
    assert given == before
    assert repr(sealed) == "{key: …, use_ssl: …, client_kwargs: …, anon: …}"
    assert sealed["key"] == Secret(CANARY)
    assert sealed["client_kwargs"]["n"] == [1, Secret(CANARY)]
    assert (sealed["use_ssl"], sealed["anon"], len(sealed), list(sealed)) == (False, None, 4, list(given))


def test_what_is_revealed_is_what_was_given() -> None:
    """Secrets given as such, at any depth, come out as text, in plain dicts, lists and tuples."""
    given = {"key": Secret(CANARY), "client_kwargs": {"aws_session_token": Secret("t"), "l": [("a", Secret("b"))]}}
    plain = {"key": CANARY, "client_kwargs": {"aws_session_token": "t", "l": [("a", "b")]}}
    assert dict(seal(given).reveal()) == plain
    assert {**seal(plain).reveal()} == plain
    assert type(seal(given).reveal()["client_kwargs"]) is dict


def test_sealing_twice_is_sealing_once() -> None:
    """What is sealed stays the same thing, and nothing is an empty one."""
    sealed = seal({"key": CANARY})
    assert seal(sealed) is sealed
    assert not seal(None)
    assert seal(None).checked() == {}


class Odd(Mapping[str, str]):
    """A mapping that can't be read."""

    def __getitem__(self, name: str) -> str:
        raise RuntimeError(CANARY)

    def __iter__(self) -> Iterator[str]:
        return iter(["key"])

    def __len__(self) -> int:
        return 1


ENDLESS: dict[str, Any] = {"key": CANARY}
ENDLESS["client_kwargs"] = ENDLESS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"secret": 123456789}, r"storage_options\['secret'\] is of type int. Pass text or a Secret"),
        ({"secret": CANARY.encode()}, r"storage_options\['secret'\] is bytes. Pass text"),
        ({"client_kwargs": {"aws_session_token": [CANARY]}}, r"\['aws_session_token'\] is of type list"),
        ({"token": CANARY + "\n"}, r"\['token'\] contains a line end"),
        ({"client_kwargs": CANARY}, "client_kwargs .* a dict"),
        ({"config_kwargs": [CANARY]}, "config_kwargs .* a dict"),
        ({"default_block_size": CANARY}, "default_block_size .* a whole number"),
        ({"max_concurrency": CANARY}, "max_concurrency .* a whole number"),
        ({"endpoint_url": 7}, "endpoint_url .* text"),
        ({"use_ssl": CANARY}, "use_ssl .* True or False"),
        ({"use_ssl": None}, "use_ssl .* True or False"),
        ({"secrte": CANARY}, "'secrte'.*Did you mean 'secret'"),
        ({"client_kwargs": {"regoin_name": CANARY}}, "client_kwargs has 'regoin_name'.*Did you mean 'region_name'"),
        ({"key": CANARY, "client_kwargs": {"aws_access_key_id": "k"}}, "2 values for key: key itself"),
        ({"key": "usern", "username": CANARY}, "KeyError: 'Supply either key or …ame, not both'"),
        ({CANARY: "key"}, "storage_options has '…', which s3fs doesn't know"),
        ({CANARY.encode(): "key"}, "name of type bytes"),
        (CANARY, "Cannot read storage_options of type str .*Pass a dict"),
        ([("key", CANARY)], "storage_options of type list"),
        (Odd(), "storage_options of type Odd"),
        (ENDLESS, "storage_options of type dict"),
        ({"cache_regions": True}, "HeadBucket"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(next(iter(value))),
)
def test_an_error_leaves_the_value_out(given: Any, expected: str) -> None:
    """Wrong names, types and forms end in a sentence; no frame below the caller's, and no cause, has the value."""
    with pytest.raises(ConfigurationError, match=expected) as raised:
        Stores(given).of(TARGET)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    for entry in raised.traceback[1:]:
        assert CANARY not in repr(entry.frame.f_locals)


def test_a_credential_is_cut_out_of_what_a_library_says() -> None:
    """The longest first, so that none is left in part, at every depth; other options stay readable."""
    sealed = seal({"key": "AK", "secret": "AKIA-long", "host": "h", "client_kwargs": {"aws_session_token": "T0"}})
    assert sealed.scrubbed("no AKIA-long, no AK, no T0 at h") == "no …, no …, no … at h"


@pytest.mark.parametrize(("name", "seen"), [("client_kwargs", True), ("s3_x", True), ("AKIAIOSFODNN7EXAMPLE", False)])
def test_a_name_is_shown_where_it_looks_like_one(name: str, *, seen: bool) -> None:
    """A key id that was written where a name belongs is kept back."""
    assert (shown(name) == name) is seen
    assert (name in repr(Sealed({name: 1}))) is seen
