"""Names of generated templates: a template that passes the check never gives one name twice, and knows its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mc_sink import ConfigurationError
from mc_sink.keys import FileNames, parse_template
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = parse_target("s3://bucket/p/")
TOKENS = ["{run_id}", "{part}", "{part:05d}", "{a}", "{b}", "{timestamp:%H%M}", "{timestamp:%Y/%m}", "{schema}"]
BETWEEN = ["", "/", "-", "0", "=", "x", "-x", "x-", "=-", "-0", "00000", ".", "/x", "é"]
# Run ids and values that are likely to be taken for each other, and for numbers; the ids have times in them, or none.
RUNS = ["a", "a-a", "a-1", "a-10", "a-1-00000", "a0", "0", "00", "1", "a.csv", "a-00001", "x", "a-x"]
TIMED = [f"20261122T10{minute}Z{end}" for minute, end in product(("0000", "0100"), ("", "-a", "-a-a", "-0", "-00000"))]
VALUES = ["a", "a-a", "0", "a=a", "00000", "-a", "a-", "x", "1", "ax"]
PARTS = (0, 1, 10, 100_000)


@dataclass(frozen=True, slots=True)
class Case:
    """A template, what it is used with, and the runs that use it."""

    text: str | None
    columns: tuple[str, ...]
    splits: bool
    schema: str
    extension: str
    runs: tuple[str, ...]
    values: tuple[str, ...]

    def names(self) -> list[FileNames]:
        """Make the names of every run, or raise what is wrong with any."""
        template = None if self.text is None else parse_template(self.text, self.columns)
        several = self.splits or bool(self.columns)
        made = [
            FileNames(PREFIX, run_id, self.extension, several, template, self.columns, self.schema)
            for run_id in self.runs
        ]
        for one in made:
            one.check(overwrites=False, splits=self.splits)
        return made

    def urls(self, names: FileNames) -> Iterator[str]:
        """Give the URL of each file that a run may have."""
        for part, texts in product(PARTS if self.splits else (0,), product(self.values, repeat=len(self.columns))):
            values = dict(zip(self.columns, texts, strict=True))
            yield names.file(part, "".join(f"{name}={text}/" for name, text in values.items()), values).url


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a template of tokens and what may stand between them, in any order, and runs."""
    columns = draw(st.sampled_from([(), (), ("a",), ("a", "b")]))
    wanted = ["{run_id}", *(draw(st.just([f"{{{name}}}" for name in columns]) | st.just([])))]
    tokens = draw(st.permutations([*wanted, *draw(st.lists(st.sampled_from(TOKENS[:3] + TOKENS[5:]), max_size=3))]))
    between = draw(st.lists(st.sampled_from(BETWEEN), min_size=len(tokens) + 1, max_size=len(tokens) + 1))
    text = "".join(text + token for text, token in zip(between, [*tokens, ""], strict=True))
    timed = "{timestamp" in text
    more = st.text("a-0.", min_size=1, max_size=4).filter(lambda text: not text.startswith("."))
    runs = st.sampled_from(TIMED) if timed else st.sampled_from(RUNS) | more
    value = st.sampled_from(VALUES) | st.text("a-0=,é", min_size=1, max_size=3)
    return Case(
        text=draw(st.just(text + "{ext}") | st.just(text)),
        columns=columns,
        splits=draw(st.booleans()),
        schema=draw(st.sampled_from(["audience", "a-0", "0"])),
        extension=draw(st.sampled_from([".csv", ".csv.gz", ".parquet"])),
        runs=tuple(draw(st.lists(runs, min_size=2, max_size=8, unique=True))),
        values=tuple(draw(st.lists(value, min_size=2, max_size=5, unique=True))),
    )


def default(splits: bool, *columns: str) -> Case:  # noqa: FBT001  as it is in a case
    """Give the case that has no template."""
    return Case(None, columns, splits, "audience", ".csv", tuple(RUNS + TIMED), ("a", "0"))


@settings(max_examples=300, deadline=None)
@given(cases())
@example(default(True))
@example(Case("{run_id}{ext}", (), False, "audience", ".csv.gz", ("a", "a.csv", "a.csv.gz"), ()))
@example(default(True, "a", "b"))
@example(default(False, "a"))
def test_what_passes_the_check_never_gives_one_name_twice(case: Case) -> None:
    """Names of different run, part or partition differ; each is a key that can be written; a run knows its own."""
    try:
        names = case.names()
    except ConfigurationError as error:
        event(f"refused: {str(error).split('}')[-1][:30]}")
        return
    event("passed")
    files = {one: list(case.urls(one)) for one in names}
    listing = [url for urls in files.values() for url in urls]
    assert len(set(listing)) == len(listing)
    assert all(parse_target(url).url == url for url in listing)
    for one, urls in files.items():
        assert one.of_this_run(frozenset(listing)) == frozenset(urls)
        assert all(url.startswith(one.stem.url) for url in urls)


@given(st.text("ab{}:%Y/-._ #\\é\x00!", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    """Nothing but a ConfigurationError is raised, and what passes is a key."""
    for template in (text, f"{text}{{run_id}}{{ext}}"):
        try:
            names = FileNames(PREFIX, "a", ".csv", is_numbered=False, template=parse_template(template))
            names.check(overwrites=True, splits=False)
        except ConfigurationError:
            continue
        assert parse_target(names.file(0).url) == names.file(0)
