"""Proofs by bytes: they never pass what the engine's regular expression fails, and they pass what is usual."""

from __future__ import annotations

import random
import string
from functools import cache
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_sink import validation
from mc_sink.validation.compiler import NotRowWise, captured
from mc_sink.validation.row_checks import OneOf, TextShape, pattern_proof
from tests.support.validation_runs import cases, delivered, failing

# What a text is made of besides what the pattern asks for: line ends, NUL, letters of two to four bytes, look-alikes.
ODD = ["\n", "\r\n", "\x00", "é", "٣", "K", "🙂", "-", "", " ", "\x7f", "\x80"]
CLASSES = [
    r"[0-9a-f]",
    r"[A-Z]",
    r"\d",
    r"\w",
    r"\s",
    r"[A-Za-z0-9._-]",
    r"[^,;]",
    r".",
    r"[\d.\-]",
    r"[-a-c]",
    r"[+\]x]",
]
LITERALS = ["a", "-", "_", r"\.", r"\-", "@", "9", " ", r"\+", ":", "/", "Z"]
COUNTS = ["", "{2}", "{4}", "{1,3}", "{2,}", "*", "+", "?", "{0}", "{3,3}", "{12}"]
ITEMS = st.tuples(st.sampled_from([*CLASSES, *LITERALS, *LITERALS]), st.sampled_from(["", "", *COUNTS]))
CHOICES = st.lists(st.sampled_from(["a", "add", "remove", r"a\.b", "", "é", "x y"]), min_size=1, max_size=4)
PATTERNS = st.one_of(
    st.tuples(st.lists(ITEMS, max_size=6), st.sampled_from(["$", "$", "$", ""])).map(
        lambda made: "^" + "".join(item + count for item, count in made[0]) + made[1]
    ),
    st.tuples(CHOICES, st.sampled_from(["(", "(?:"]), st.sampled_from(["$", "$", ""])).map(
        lambda made: f"^{made[1]}{'|'.join(made[0])}){made[2]}"
    ),
    st.sampled_from([r"^a|b$", r"^(?i)a$", r"^[[:alpha:]]$", r"^\p{L}+$", r"^[a-z&&[^b]]+$", r"^a+?$", r"^(a)(b)$"]),
)


def matches(pattern: str, texts: pl.Series) -> pl.Series:
    """Return the engine's own verdicts."""
    return texts.str.contains(pattern)


@settings(max_examples=1_500, deadline=None)
@given(pattern=PATTERNS, data=st.data())
def test_a_proof_is_never_wrong(pattern: str, data: st.DataObject) -> None:
    """Texts that a proof passes are passed by the engine; ASCII texts that the engine passes are proven, one by one."""
    agrees(pattern, data)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=6_000, deadline=None)
@given(pattern=PATTERNS, data=st.data())
def test_a_proof_is_never_wrong_at_length(pattern: str, data: st.DataObject) -> None:
    """The same, for thousands of patterns."""
    agrees(pattern, data)


def agrees(pattern: str, data: st.DataObject) -> None:
    """Compare a proof with the engine, on texts that are made for the pattern."""
    proof = pattern_proof(pattern)
    if proof is None:
        return
    number = random.Random(data.draw(st.integers(0, 2**32)))  # noqa: S311  not for secrets
    usual = [made for _ in range(3) if (made := _made(pattern, number)) is not None]
    texts = [*usual, *(_changed(text, number) for text in usual), *number.sample(ODD, 2)]
    values = pl.Series([*texts, None], dtype=pl.String)
    passed = matches(pattern, values)
    assert proof.holds(values) <= bool(passed.all())
    for text, matched in zip(texts, passed, strict=False):
        proven = proof.holds(pl.Series([text, None, text]))
        assert proven <= matched, (pattern, text)
        if matched and text.isascii():
            assert proven, (pattern, text)
    fitting = values.filter(passed)
    if all(text.isascii() for text in fitting):
        assert proof.holds(fitting)


def _made(pattern: str, number: random.Random) -> str | None:
    """Return an ASCII text after a pattern, about; not all of them match."""
    body = pattern.removeprefix("^").removesuffix("$")
    if body.startswith("("):
        choice = number.choice(body.strip("()?:").split("|"))
        return choice.replace("\\", "")
    return _text(body, number)


def _text(body: str, number: random.Random) -> str:
    made = ""
    items: list[tuple[str, str]] = []
    while body:
        item = next(
            (each for each in sorted([*CLASSES, *LITERALS], key=len, reverse=True) if body.startswith(each)), body[0]
        )
        body = body[len(item) :]
        count = next((each for each in sorted(COUNTS, key=len, reverse=True) if each and body.startswith(each)), "")
        body = body[len(count) :]
        items.append((item, count))
    for item, count in items:
        least, most = {"": (1, 1), "*": (0, 3), "+": (1, 3), "?": (0, 1)}.get(count) or _bounds(count)
        signs = _signs(item)
        made += "".join(number.choice(signs) for _ in range(number.randint(least, most)))
    return made


def _bounds(count: str) -> tuple[int, int]:
    least, _, most = count.strip("{}").partition(",")
    return int(least), int(most or (int(least) + 2 if "," in count else least))


@cache
def _signs(item: str) -> str:
    letters = pl.Series([*string.printable], dtype=pl.String)
    found: list[str] = letters.filter(letters.str.contains(f"^{item}$")).to_list()
    return "".join(found) or "?"


def _changed(text: str, number: random.Random) -> str:
    """Return a text with one sign put in or taken out, or with another one for each zero."""
    at = number.randint(0, len(text))
    sign = number.choice([*ODD, *string.printable])
    changed: str = number.choice([text[:at] + sign + text[at:], text[:at] + text[at + 1 :], sign.join(text.split("0"))])
    return changed


UUID = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
USUAL = {
    "^[0-9a-f]{64}$": "0123456789abcdef" * 4,
    UUID: "550e8400-e29b-41d4-A716-446655440000",
    r"^\d{4}-\d{2}-\d{2}$": "2026-11-27",
    r"^\+[1-9]\d{6,14}$": "+491701234567",
    "^[A-Za-z0-9._-]{1,128}$": "seg_1.2-x",
    r"^user-\d+@example\.com$": "user-12@example.com",
    "^(add|remove)$": "remove",
    "^(?:a|b)$": "b",
    "^[A-Z]{2}": "DE-1é",
    "^crm-": "crm-ü",
    "^.{1,5}$": "a b",
    "^$": "",
}


@pytest.mark.parametrize(("pattern", "text"), USUAL.items())
def test_the_usual_patterns_have_a_proof(pattern: str, text: str) -> None:
    """Hashes, identifiers, dates, numbers and choices are proven by their bytes; a text beside them isn't."""
    proof = pattern_proof(pattern)
    assert proof is not None
    assert proof.holds(pl.Series([text, None, text] * 10))
    wrong = pl.Series([text, f"\n{text}"])
    assert not wrong.str.contains(pattern).all()
    assert not proof.holds(wrong)


@pytest.mark.parametrize(
    "pattern",
    [
        "a$",
        "^a|b$",
        "^(?i)a$",
        "^[[:alpha:]]$",
        r"^\pL$",
        "^[a-z&&[^b]]$",
        "^a+?$",
        "^a+b+$",
        "^.+@",
        r"^\bx$",
        "^x{9999}$",
    ],
)
def test_any_other_pattern_is_left_to_the_engine(pattern: str) -> None:
    """What isn't understood for certain is not proven."""
    assert pattern_proof(pattern) is None


@pytest.mark.parametrize("proof", [TextShape(1, 2), OneOf(("a",)), TextShape(run=frozenset(b"a"))])
def test_nulls_alone_are_proven(proof: TextShape | OneOf) -> None:
    """A column without a value has no text that fails."""
    assert proof.holds(pl.Series([None, None], dtype=pl.String))


LENGTHS = pa.DataFrameSchema(
    {
        "s": pa.Column(pl.String, [pa.Check.str_length(2, 4), pa.Check.isin(["ab", "äöü", "🙂🙂🙂🙂"])], nullable=True),
        "t": pa.Column(pl.String, pa.Check.str_matches("^[a-z]+$", ignore_na=False), nullable=True),
    },
    name="texts",
)


def test_a_length_counts_characters_and_not_bytes() -> None:
    """Texts of many bytes pass where their characters are few enough, and texts of few characters fail."""
    good = pl.DataFrame({"s": ["ab", "äöü", "🙂🙂🙂🙂", None], "t": ["a"] * 4})
    assert delivered(validation.compile(LENGTHS, good.lazy())).height == 4
    for bad in ("🙂", "ä", "abcde", ""):
        error = failing(validation.compile(LENGTHS, pl.LazyFrame({"s": ["ab", bad], "t": ["a", "a"]})))
        assert {(row, check) for row, _, check, _ in cases(error)} >= {(1, "str_length(2, 4)")}


def test_a_null_fails_where_the_check_says_so() -> None:
    """A check that doesn't ignore nulls is not proven by the values beside them."""
    error = failing(validation.compile(LENGTHS, pl.LazyFrame({"s": ["ab", "ab"], "t": ["a", None]})))
    assert [(row, column) for row, column, _, _ in cases(error)] == [(1, "t")]


def test_one_bad_row_among_many_batches_is_found_whatever_check_it_fails() -> None:
    """The rows of a batch in which one check fails are judged by that check, and no other row is suspected."""
    schema = pa.DataFrameSchema(
        {"h": pa.Column(pl.String, pa.Check.str_matches("^[0-9a-f]{8}$")), "n": pa.Column(pl.Int64, pa.Check.gt(0))}
    )
    rows = pl.DataFrame({"h": ["0123abcd"] * 1_000, "n": range(1, 1_001)})
    for column, value in {"h": "0123abcD", "n": -1}.items():
        bad = rows.with_columns(pl.when(pl.col("n") == 777).then(pl.lit(value)).otherwise(column).alias(column))
        run = validation.compile(schema, bad.lazy(), on_invalid="reject")
        assert delivered(run).height == 999
        rejects = run.rejects()
        assert rejects is not None
        assert rejects.collect()["row"].to_list() == [776]


BOUNDS = st.sampled_from([-(2**63), -1, 0, 1, 2, 2**53, 2**53 + 1, 2**63 - 1, 0.0, -0.0, 0.1, 1.5, 1e300, float("inf")])
ONE_BOUND: list[Any] = [pa.Check.ge, pa.Check.gt, pa.Check.le, pa.Check.lt]
ODD_FLOATS = [float("nan"), float("inf"), float("-inf"), -0.0, 0.1, 1.5, 2.0**53, 1e300, 5e-324]
NUMBERS = {
    pl.Int64(): st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1]),
    pl.UInt8(): st.sampled_from([0, 1, 2, 255]),
    pl.Float64(): st.sampled_from([*ODD_FLOATS, 0.0, 1.0, 2.0]),
    pl.Float32(): st.sampled_from([*ODD_FLOATS[:6], 0.0, 1.0]),
}


@settings(max_examples=1_000, deadline=None)
@given(data=st.data())
def test_a_proof_by_the_least_and_the_greatest_number_is_never_wrong(data: st.DataObject) -> None:
    """Where it holds, the engine's own comparison passes for every row: NaN, nulls, bounds of another type and all."""
    dtype = data.draw(st.sampled_from(list(NUMBERS)))
    values = data.draw(st.lists(st.none() | NUMBERS[dtype], max_size=6))
    batch = pl.DataFrame({"n": pl.Series(values, dtype=dtype, strict=False)})
    ignores_nulls = data.draw(st.booleans())
    low, high = sorted((data.draw(BOUNDS), data.draw(BOUNDS)))
    if low < high and data.draw(st.booleans()):
        included = {"include_min": data.draw(st.booleans()), "include_max": data.draw(st.booleans())}
        check = pa.Check.in_range(low, high, ignore_na=ignores_nulls, **included)
    else:
        check = data.draw(st.sampled_from(ONE_BOUND))(low, ignore_na=ignores_nulls)
    try:
        judged = captured(check, batch.schema, column="n")
    except NotRowWise:  # a bound that the engine can't compare with such a column
        return
    passes = batch.select(judged.expr.all()).item()
    assert passes or not judged.is_proven(batch)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (pa.Check.ge(0), [0, 5], [-1, 5]),
        (pa.Check.gt(0), [1, 5], [0, 5]),
        (pa.Check.le(5), [0, 5], [0, 6]),
        (pa.Check.lt(5), [0, 4], [0, 5]),
        (pa.Check.in_range(0, 5), [0, 5], [0, 6]),
        (pa.Check.in_range(0, 5, include_min=False), [1, 5], [0, 5]),
        (pa.Check.in_range(0, 5, include_max=False), [0, 4], [0, 5]),
    ],
)
@pytest.mark.parametrize("dtype", [pl.Int8(), pl.Int64(), pl.Float64()])
def test_the_usual_bounds_have_a_proof(check: pa.Check, good: list[int], bad: list[int], dtype: pl.DataType) -> None:
    """Numbers within the bounds are proven, and one outside of them is not."""
    judged = captured(check, pl.Schema({"n": dtype}), column="n")
    assert judged.is_proven(pl.DataFrame({"n": pl.Series(good, dtype=dtype)}))
    assert not judged.is_proven(pl.DataFrame({"n": pl.Series(bad, dtype=dtype)}))


def test_a_column_without_nulls_is_proven_by_their_count() -> None:
    """Nulls, and NaN among floats, are left to the expression, which fails them."""
    schema = pa.DataFrameSchema({"f": pa.Column(pl.Float64), "i": pa.Column(pl.Int8)})
    good = pl.DataFrame({"f": [0.0, float("inf")], "i": [1, 2]}, schema={"f": pl.Float64, "i": pl.Int8})
    run: Any = validation.compile(schema, good.lazy())
    assert all(check.is_proven(good) for check in run.clean)
    for column, value in (("f", None), ("f", float("nan")), ("i", None)):
        bad = good.with_columns(pl.Series(column, [value, 1], dtype=good.schema[column], strict=False))
        assert [row for row, *_ in cases(failing(validation.compile(schema, bad.lazy())))] == [0]
