"""The error tree: as drawn, catchable by what Python calls the same thing, and whole after a pickle."""

from __future__ import annotations

import builtins
import pickle
import re

import polars as pl
import pytest

import mc_sink
from mc_sink import exceptions
from mc_sink._display import lines

ERRORS = [
    mc_sink.SinkError("1"),
    mc_sink.TargetError("1 target"),
    mc_sink.ConfigurationError("1 option"),
    mc_sink.LimitError("1 cell", preset="excel", limit="cell size"),
    mc_sink.AlreadyExistsError("1 object"),
    mc_sink.AlreadyDelivered("1 run", manifest="s3://b/p/_manifests/r.json"),
    mc_sink.QueryError("1 panic"),
    mc_sink.UploadError("1 part"),
    mc_sink.PermissionDenied("1 request", action="s3:PutObject"),
    mc_sink.CommitError("1 of 2", committed=["s3://b/p/1.csv"], uncommitted=["s3://b/p/2.csv"]),
    mc_sink.CommitUnknown("1 object", uncommitted=("s3://b/p/1.csv",)),
    mc_sink.ValidationError("1 row", schema_name="audience"),
]


def drawn_tree() -> dict[str, set[str]]:
    """Read the drawing: each error's name, and the names of its bases."""
    tree: dict[str, set[str]] = {"SinkError": {"Exception"}}
    parents = {4: "SinkError"}
    for line in (exceptions.__doc__ or "").splitlines():
        if found := re.match(r"^( *(?:│ +)?)[├└]── (\w+)(?: \((\w+)\))?", line):
            lead, name, builtin = found.groups()
            tree[name] = {parents[len(lead)]} | ({builtin} if builtin else set())
            parents[len(lead) + 4] = name
    return tree


def test_the_tree_is_as_drawn() -> None:
    """Every error of the module stands in the drawing, under the bases that it has."""
    defined = {
        name: {base.__name__ for base in error.__bases__}
        for name, error in vars(exceptions).items()
        if isinstance(error, type) and issubclass(error, BaseException)
    }
    assert drawn_tree() == defined


def test_every_error_is_tried_here_and_exported() -> None:
    """No error of the tree is forgotten by these tests or by the package."""
    assert {type(error).__name__ for error in ERRORS} == set(drawn_tree())
    assert set(drawn_tree()) <= set(mc_sink.__all__)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_one_except_is_enough(error: Exception) -> None:
    """Each is a SinkError, and also what Python itself calls such a failure."""
    assert isinstance(error, mc_sink.SinkError)
    for base in drawn_tree()[type(error).__name__] & set(vars(builtins)):
        assert isinstance(error, getattr(builtins, base))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_pickle_keeps_everything(error: Exception) -> None:
    """Type, message, attributes and notes come back from a pickle, as from an executor on another machine."""
    error.add_note("mc_sink: Nothing became visible.")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_message_is_what_was_written(error: Exception) -> None:
    """No base class decorates the message, as OSError would; its visibility is stated once, at the end."""
    assert isinstance(error, mc_sink.SinkError)
    assert error.message == error.args[0]
    assert str(error).split() == [*error.message.split(), *error.visibility.split()]
    assert error.visibility.endswith(("visible.", "is."))


@pytest.mark.parametrize(
    ("error", "visible", "sentence"),
    [
        (mc_sink.UploadError("1 part"), "nothing", "Nothing became visible."),
        (mc_sink.AlreadyExistsError("1 file", visible="some"), "some", "nothing more became visible."),
        (mc_sink.CommitError("x", uncommitted=["a"]), "nothing", "Nothing became visible."),
        (mc_sink.CommitError("x", committed=["a"]), "some", "1 of 1 file is visible."),
        (mc_sink.CommitError("x", committed=["a"], uncommitted=["b", "c"]), "some", "1 of 3 files are visible."),
        (mc_sink.CommitUnknown("x", uncommitted=["a"]), "unknown", "not known whether anything became visible."),
        (
            mc_sink.CommitUnknown("x", committed=["a"], uncommitted=["b"]),
            "unknown",
            "1 of 2 files are visible. It is not",
        ),
    ],
    ids=str,
)
def test_every_error_states_what_is_visible(error: mc_sink.SinkError, visible: str, sentence: str) -> None:
    """As a field, which a program reads, and as a sentence; both survive a pickle."""
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  our own bytes
        assert one.visible == visible
        assert sentence in str(one)
        assert str(one).count("visible.") == 1


@pytest.mark.parametrize(
    ("message", "separator"),
    [
        ("Choose another name.", " "),
        ("Did you mean 'a'?", " "),
        ("Use the prefix s3://bucket/exports/", "\n"),
        ("Two lines:\n  one.", "\n"),
    ],
)
def test_what_is_visible_never_looks_like_a_part_of_a_url(message: str, separator: str) -> None:
    """A person copies what a message ends with."""
    error = mc_sink.TargetError(lines(*message.split("\n")))
    assert str(error) == f"{message}{separator}Nothing became visible."


def test_failure_cases_survive_a_pickle() -> None:
    """The frame of failures comes back with its dtypes."""
    cases = pl.DataFrame(
        {"row": [7, None], "column": ["email", None], "check": ["email", "unique"], "failure_case": ["a@", None]},
        schema_overrides={"row": pl.UInt64},
    )
    error = mc_sink.ValidationError("2 failures", schema_name="audience", failure_cases=cases)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert again.failure_cases.equals(cases)
    assert again.failure_cases.schema == cases.schema
    assert again.schema_name == "audience"


def test_the_facts_of_a_commit_are_tuples() -> None:
    """Lists given to a CommitError can't change what it says later."""
    committed = ["s3://b/1"]
    error = mc_sink.CommitError("1 of 1", committed=committed)
    committed.append("s3://b/2")
    assert error.committed == ("s3://b/1",)
    assert error.uncommitted == ()


def test_a_permission_names_its_action_and_nothing_else() -> None:
    """An action that isn't known is None, not an empty word."""
    assert mc_sink.PermissionDenied("refused", action="s3:PutObject").action == "s3:PutObject"
    assert mc_sink.PermissionDenied("refused").action is None
