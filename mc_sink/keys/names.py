"""Names of the files of a delivery, and the rules that keep them unique, and readable for every reader and store.

    s3://bucket/prefix/RUN_ID.csv                 one file
    s3://bucket/prefix/RUN_ID-00000.csv           the first of several
    s3://bucket/prefix/_manifests/RUN_ID.json     what belongs together; no *.csv finds it

A template names files otherwise; it is checked as text, before anything is opened. The rules are in docs/names.md.

A name is read back, folder by folder. Of the tokens in a folder's name, those from the left are found as long as each
is followed by a character that can't be its own, and those from the right as long as each is preceded by one; one token
may be left over in between, and is the rest. `{run_id}-{part}` is read from the right: a number has no "-" in it.
`{country}-{run_id}` can't be read: "a-b-c" may be "a" and "b-c".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError, TargetError
from mc_sink.keys.run_id import time_of
from mc_sink.keys.template import Template, Token, parse_template
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.target import Target

MANIFESTS = "_manifests/"
ONE, SEVERAL = parse_template("{run_id}{ext}"), parse_template("{run_id}-{part:05d}{ext}")
_NUMBERED = re.compile(".*-[0-9]{5,}")
# No delivery has so many files; a name with this number is as long as a name can get.
LAST_PART = 10**10 - 1
_BUCKET = "s3://bucket/"
_HIDDEN = re.compile(r"(?:^|/)(?!\.{1,2}(?:/|$))([_.][^/]*)")
Pieces = list[str | Token]


@dataclass(frozen=True, slots=True, eq=False)
class FileNames:
    """The keys of one run. `is_numbered` says whether it may have more than one file, and so numbers them.

    `template` is the caller's own, if there is one; `columns` are those that files are partitioned by; `schema` is the
    name of what they are judged by.
    """

    target: Target
    run_id: str
    extension: str
    is_numbered: bool
    template: Template | None = None
    columns: tuple[str, ...] = ()
    schema: str | None = None

    @property
    def stem(self) -> Target:
        """What the names of all files of this run begin with, whatever its format or number of files."""
        return self.target.file("" if self._has_folders else (self.template or ONE).stem(self._values))

    def file(self, part: int, folder: str = "", values: Mapping[str, str] | None = None) -> Target:
        """Give the file with this number, counted from 0.

        `folder`, empty or with a slash at its end, is put before the name, unless the template names the partition
        columns itself: then `values`, which has a text for each of them, does. Raises `ConfigurationError` for a text
        that can't stand in a key, and `TargetError` where a key gets too long.
        """
        if not self.target.is_prefix:
            return self.target
        if not self._template.columns:
            return self.target.file(folder + self._name(part, {}))
        given = {name: check_text(text, Token(name)) for name, text in (values or {}).items()}
        name = self._name(part, given)
        check_key(name, f"name={self._template.text!r} with {given}")
        return self.target.file(name)

    @property
    def pattern(self) -> str:
        """The URL of every file, with what differs from one to the next in braces."""
        folders = "".join(f"{name}={{{name}}}/" for name in self.columns) if self._has_folders else ""
        return self._root + folders + self._template.shown(self._values | {"ext": self.extension})

    @property
    def manifest(self) -> Target:
        """Give the place of the manifest."""
        return self.target.folder.file(f"{MANIFESTS}{self.run_id}.json")

    @property
    def success_marker(self) -> Target:
        """Give the place of the empty file that says that all is there; Hadoop's name for it."""
        return self.target.folder.file("_SUCCESS")

    @property
    def are_numbered(self) -> bool:
        """Whether there is a name for a further file of the same rows."""
        return self._template.uses("part")

    @property
    def are_its_own(self) -> bool:
        """Whether no run with another run id has these names."""
        return self.target.is_prefix and self._template.uses("run_id")

    @property
    def example(self) -> str:
        """The last part of a name, such as the first file's."""
        return self._name(0, self._samples).rpartition("/")[2] if self.target.is_prefix else self.target.name

    def claims(self, url: str) -> bool:
        """Whether a file of this run may be there."""
        return bool(self.of_this_run(frozenset([url]))) if self.target.is_prefix else url == self.target.url

    def of_this_run(self, urls: frozenset[str]) -> frozenset[str]:
        """Pick the files of this run from a listing: run "a-1" is not run "a-10".

        They are its own in every format, and, where no template says otherwise, both numbered and not, because an
        earlier try may have had other options.
        """
        if not self.target.is_prefix:
            return urls
        mine = [re.compile(pattern) for pattern in self.patterns]
        return frozenset(url for url in urls if any(one.fullmatch(url) for one in mine))

    @property
    def patterns(self) -> tuple[str, ...]:
        """Regular expressions, one of which matches the whole URL of every file that this run may have."""
        before = re.escape(self._root) + ("(?:[^/]+=[^/]*/)*" if self._has_folders else "")
        return tuple(before + template.pattern(self._values) for template in self._tried)

    def check(self, *, overwrites: bool, splits: bool) -> None:
        """Refuse names that could be given twice, or that a store or a reader won't take; opens nothing.

        `splits` says that a partition, or the whole, may fill more than one file; `overwrites` that this run may have
        the names of an earlier one.
        """
        if not self.target.is_prefix:
            if self.template:
                raise ConfigurationError(
                    f"name= is for a prefix, and {self.target.url} is one file: leave it out, or deliver to "
                    f"{self.target.folder.url}"
                )
            return
        if self.template:
            self._check_template(self.template, overwrites=overwrites, splits=splits)
        origin = f"name={self.template.text[:200]!r}" if self.template else f"run_id={self.run_id!r}"
        check_key(self._name(0, self._samples), origin)
        self.target.file(self._name(LAST_PART, self._samples))

    def _check_template(self, template: Template, *, overwrites: bool, splits: bool) -> None:
        timed = [token for token in template.tokens if token.name in {"timestamp", "date"}]
        if timed and time_of(self.run_id) is None:
            raise ConfigurationError(
                f"{timed[0]} in name={template.text!r} is the time that the run id begins with, and {self.run_id!r} "
                f"begins with none: write one in UTC, as in 20261122T101530Z-{self.run_id[:40]}, or leave run_id= out."
            )
        schema = check_text(self.schema, Token("schema")) if template.uses("schema") else ""
        check_extension(template)
        check_unique(template, self.columns, overwrites=overwrites, splits=splits)
        check_apart(template, {"ext": self.extension, "schema": schema})

    @property
    def _template(self) -> Template:
        return self.template or (SEVERAL if self.is_numbered else ONE)

    @property
    def _tried(self) -> list[Template]:
        """The templates that an earlier try may have had; "a-00000" of many files is no numbered file of run "a"."""
        if self.template:
            return [self.template]
        return [SEVERAL] if self.is_numbered and _NUMBERED.fullmatch(self.run_id) else [ONE, SEVERAL]

    @property
    def _has_folders(self) -> bool:
        """Whether each partition has folders of its own, before the name."""
        return bool(self.columns) and not self._template.columns

    @property
    def _values(self) -> dict[str, object]:
        """What is the same for all files of this run, in every format."""
        time = time_of(self.run_id)
        return {"run_id": self.run_id, "timestamp": time, "date": time, "schema": self.schema}

    @property
    def _samples(self) -> dict[str, str]:
        return dict.fromkeys(self.columns, "x")

    @property
    def _root(self) -> str:
        """What the URLs of all files begin with; that of a bucket's root is written otherwise."""
        return self.target.file("x").url.removesuffix("x")

    def _name(self, part: int, values: Mapping[str, object]) -> str:
        return self._template.render({**values, **self._values, "part": part, "ext": self.extension})


def check_unique(template: Template, columns: Sequence[str], *, overwrites: bool, splits: bool) -> None:
    """Refuse a template that leaves out what two files may differ in.

    The run id is what keeps runs apart: a time to the second is shared by two runs that start in it, and a date by all
    of a day's, and the second one would fail after its work. Only who declares an overwrite may leave it out.
    """
    if not overwrites and not template.uses("run_id"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{run_id}}, so two runs may have the same names: put it in, with a run_id= "
            'of your own if a date is all that it should say (run_id="20261122"), or declare if_exists="overwrite".'
        )
    if splits and not template.uses("part"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{part}}, and this run may need several files: add {{part:05d}}."
        )
    if template.columns and (missing := [name for name in columns if name not in template.columns]):
        raise ConfigurationError(
            f"name={template.text!r} names {len(template.columns)} of {len(columns)} partition columns, and files may "
            f"differ in {', '.join(missing)} alone: name all of them, or none, and folders are put before the name."
        )


def check_apart(template: Template, constants: Mapping[str, str]) -> None:
    """Refuse tokens that run into each other, and a number that is written in two ways, which no pattern finds."""
    if len({token for token in template.tokens if token.name == "part"}) > 1:
        raise ConfigurationError(f"name={template.text!r} writes {{part}} in two ways: write it in one.")
    if lost := blurred(template, constants):
        raise ConfigurationError(
            f"name={template.text!r} may give two files the same name, because nothing tells where one token ends and "
            f"the next begins: {', '.join(map(str, lost))}. Put a slash between them."
        )


def check_extension(template: Template) -> None:
    """Refuse an extension in mid-name, and one with two dots."""
    *before, last = template.pieces
    if any(isinstance(piece, Token) and piece.name == "ext" for piece in before):
        raise ConfigurationError(f"name={template.text!r} goes on after {{ext}}: put it at the end, or leave it out.")
    if last == Token("ext") and before and isinstance(before[-1], str) and before[-1].endswith("."):
        raise ConfigurationError(f"name={template.text!r} has two dots: {{ext}} brings its own. Leave one out.")


def check_key(name: str, why: str) -> None:
    """Refuse a name that S3 advises against, wherever it is to be, or that readers skip; `why` says what made it."""
    advice = ""
    if name.startswith("/") or name.endswith("/"):
        advice = "a name neither begins nor ends with a slash."
    elif hidden := _HIDDEN.search(name):
        advice = f"Spark, Athena and Hive skip what begins with '_' or '.', as {hidden[1]!r} does. Begin otherwise."
    elif name != name.strip():
        advice = "nobody sees spaces at its ends. Leave them out."
    elif "?" in name:
        advice = "what follows a question mark would be read as a query. Leave it out."
    if advice:
        raise ConfigurationError(f"{why} gives {name!r}: {advice}")
    try:
        parse_target(_BUCKET + name)
    except TargetError as error:
        said = str(error).replace(_BUCKET, "")
        raise ConfigurationError(f"{why} gives a name that won't do: {said}") from error


def check_text(text: str | None, token: Token) -> str:
    """Return a text that is to stand for a token, or refuse one that isn't one part of a key."""
    if not text:
        advice = "give a schema= that has a name" if token.name == "schema" else "fill it in where it is empty"
        raise ConfigurationError(f"{token} has nothing to stand for: {advice}.")
    if "/" in text:
        raise ConfigurationError(
            f"{token} would be {text!r}, and a slash would make a folder: have a text without one."
        )
    return text


def blurred(template: Template, constants: Mapping[str, str]) -> tuple[Token, ...]:
    """Give the tokens of a template that can't be read back from a name; `constants` are the same in all names."""
    folders = list(_folders(template, constants))
    known: set[str] = set()
    while found := {token.name for folder in folders for token in _found(folder, known)} - known:
        known |= found
    unread = {token.name: token for token in template.tokens if token.shape is None and token.name not in constants}
    return tuple(token for name, token in unread.items() if name not in known)


def _folders(template: Template, constants: Mapping[str, str]) -> Iterator[Pieces]:
    """Cut the template at its slashes; what is as long in every name stands in it as text."""
    pieces: Pieces = []
    for piece in template.pieces:
        text = piece if isinstance(piece, str) else constants.get(piece.name, piece.shape)
        first, *others = [piece] if text is None else text.split("/")
        pieces.append(first)
        for other in others:
            yield pieces
            pieces = [other]
    yield pieces


def _found(folder: Pieces, known: set[str]) -> Sequence[Token]:
    """Read one folder's name as far as it can be read, with what is known from others."""
    unread = [index for index, piece in enumerate(folder) if isinstance(piece, Token) and piece.name not in known]
    tokens = [piece for index, piece in enumerate(folder) if index in unread and isinstance(piece, Token)]
    between = [_text(folder[left + 1 : right]) for left, right in pairwise(unread)]
    from_left = _count(token.is_ended_by(text) for token, text in zip(tokens, between, strict=False))
    from_right = _count(token.is_ended_by(text) for token, text in zip(tokens[::-1], between[::-1], strict=False))
    if from_left + from_right + 1 >= len(tokens):
        return tokens
    return tokens[:from_left] + tokens[len(tokens) - from_right :]


def _text(pieces: Pieces) -> str:
    """Give the text between two tokens; one that is known from elsewhere has unknown characters, which end nothing."""
    return "".join(piece if isinstance(piece, str) else "0" for piece in pieces)


def _count(true: Iterator[bool]) -> int:
    """Count how many are true before the first that isn't."""
    return sum(takewhile(bool, true))
