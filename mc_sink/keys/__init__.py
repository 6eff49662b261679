"""Names of the files of a delivery, and the rules that keep them unique, and readable for every reader and store.

    s3://bucket/prefix/RUN_ID.csv                 one file
    s3://bucket/prefix/RUN_ID-00000.csv           the first of several
    s3://bucket/prefix/RUN_ID-s00002-00000.csv    the first of share 2, where several workers deliver one run
    s3://bucket/prefix/_manifests/RUN_ID.json     what belongs together; no *.csv finds it

A caller's template gives other names. It is checked as text, before anything is opened. The rules are in docs/names.md.

A name is parsed back folder by folder. In a folder's name, tokens are found from the left while each is followed by a
character that it can't contain, and from the right while each is preceded by one. One token may remain in between.
`{run_id}-{part}` is parsed from the right: a number contains no "-". `{country}-{run_id}` can't be parsed: "a-b-c" may
be "a" and "b-c".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.keys.partitions import Partition, Partitioning, column_names, encode
from mc_sink.keys.run_id import check_run_id, new_run_id, time_of
from mc_sink.keys.template import Template, Token, parse_template
from mc_sink.target import key_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.target import Target

__all__ = ["FileNames", "Partition", "Partitioning", "check_run_id", "column_names", "new_run_id", "parse_template"]

MANIFESTS, BEGUN = "_manifests/", "_begun/"
ONE, SEVERAL = parse_template("{run_id}{ext}"), parse_template("{run_id}-{part:05d}{ext}")
# The letter keeps the files of run "a" apart from those of a run "a-00000".
SHARED = parse_template("{run_id}-s{share:05d}-{part:05d}{ext}")
_NUMBERED = re.compile(".*-s?[0-9]{5,}")
# More files than any delivery has: a name with this number is the longest possible.
LAST_PART = 10**10 - 1
_HIDDEN = re.compile(r"(?:^|/)(?!\.{1,2}(?:/|$))([_.][^/]*)")
Pieces = list[str | Token]


@dataclass(frozen=True, slots=True, eq=False)
class FileNames:
    """The keys of one run. `is_numbered`: it may have several files, so they are numbered.

    `share` is the number of the share whose files these are, None where one process delivers the whole run. Stem and
    patterns are those of all shares. `template` is the caller's, None for the default; `columns` are the partition
    columns; `schema` is the name of the schema that validates the rows.
    """

    target: Target
    run_id: str
    extension: str
    is_numbered: bool
    template: Template | None = None
    columns: tuple[str, ...] = ()
    schema: str | None = None
    share: int | None = None

    @property
    def stem(self) -> Target:
        """The common start of the names of all files of this run, for every format and number of files."""
        return self.target.file("" if self.has_folders else (self.template or ONE).stem(self._values))

    def file(self, part: int, folder: str = "", values: Mapping[str, str] | None = None) -> Target:
        """Return the file with this number, counted from 0.

        `folder`, empty or with a slash at its end, is put before the name, unless the template names the partition
        columns: then `values` fills them in, with a text for each column. Raises `ConfigurationError` for a text that
        can't be part of a key, and `TargetError` for a key that is too long.
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
        folders = "".join(f"{name}={{{name}}}/" for name in self.columns) if self.has_folders else ""
        return self._root + folders + self._template.shown(self._values | {"ext": self.extension})

    @property
    def glob(self) -> str:
        """The URL of every file, with `*` and `?` for what differs from one to the next."""
        if not self.target.is_prefix:
            return self.target.url
        folders = "".join(f"{encode(name)}=*/" for name in self.columns) if self.has_folders else ""
        return self._root + folders + self._template.glob(self._values | {"ext": self.extension})

    @property
    def manifest(self) -> Target:
        """Where the manifest is written."""
        return self.target.folder.file(f"{MANIFESTS}{self.run_id}.json")

    @property
    def begun(self) -> Target:
        """The folder of the records that an attempt of this run has begun to publish; no other run has one there."""
        return self.target.folder.file(f"{BEGUN}{self.run_id}/")

    @property
    def success_marker(self) -> Target:
        """Where the empty file that marks a complete delivery is written, under the name that Hadoop uses."""
        return self.target.folder.file("_SUCCESS")

    @property
    def are_numbered(self) -> bool:
        """Whether names have a number, so that the same rows can fill a further file."""
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
        """Return whether a URL is the name of a file that this run may have."""
        return bool(self.of_this_run(frozenset([url]))) if self.target.is_prefix else url == self.target.url

    def of_this_run(self, urls: frozenset[str]) -> frozenset[str]:
        """Pick the files of this run from a listing: run "a-1" is not run "a-10".

        Files count in every format, and without a template numbered or not, with shares or without, because an earlier
        attempt may have had other options.
        """
        if not (self.target.is_prefix and urls):  # compiling the patterns costs a millisecond
            return urls
        mine = [re.compile(pattern) for pattern in self.patterns]
        return frozenset(url for url in urls if any(one.fullmatch(url) for one in mine))

    @property
    def patterns(self) -> tuple[str, ...]:
        """Regular expressions, one of which matches the whole URL of every file that this run may have."""
        before = re.escape(self._root) + ("(?:[^/]+=[^/]*/)*" if self.has_folders else "")
        return tuple(before + template.pattern(self._values) for template in self._tried)

    def check(self, *, overwrites: bool, splits: bool) -> None:
        """Raise `ConfigurationError` for names that two files could share, or that a store or a reader doesn't accept.

        `splits`: a partition, or all rows, may fill more than one file. `overwrites`: this run may use the names of an
        earlier one. Opens nothing.
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
                f"{timed[0]} in name={template.text!r} is the time at the start of the run id, and {self.run_id!r} "
                f"doesn't start with one. Put a UTC time in front, as in 20261122T101530Z-{self.run_id[:40]}, or leave "
                "run_id= out."
            )
        schema = check_text(self.schema, Token("schema")) if template.uses("schema") else ""
        check_extension(template)
        check_unique(template, self.columns, overwrites=overwrites, splits=splits)
        check_share(template, is_share=self.share is not None)
        check_apart(template, {"ext": self.extension, "schema": schema})

    @property
    def _template(self) -> Template:
        default = SEVERAL if self.is_numbered else ONE
        return self.template or (default if self.share is None else SHARED)

    @property
    def _tried(self) -> list[Template]:
        """The templates of possible earlier attempts. "a-00000" of many files is not a numbered file of run "a"."""
        if self.template:
            return [self.template]
        is_apart = self.is_numbered and _NUMBERED.fullmatch(self.run_id)
        return [self._template] if is_apart else [ONE, SEVERAL, SHARED]

    @property
    def has_folders(self) -> bool:
        """Whether each partition has folders of its own, before the name."""
        return bool(self.columns) and not self._template.columns

    @property
    def _values(self) -> dict[str, object]:
        """The token values that all files of this run share, in every format."""
        time = time_of(self.run_id)
        return {"run_id": self.run_id, "timestamp": time, "date": time, "schema": self.schema}

    @property
    def _samples(self) -> dict[str, str]:
        return dict.fromkeys(self.columns, "x")

    @property
    def _root(self) -> str:
        """The common start of all URLs; for the root of a bucket it isn't the target's own URL."""
        return self.target.file("x").url.removesuffix("x")

    def _name(self, part: int, values: Mapping[str, object]) -> str:
        own = {"share": self.share, "part": part, "ext": self.extension}
        return self._template.render({**values, **self._values, **own})


def check_unique(template: Template, columns: Sequence[str], *, overwrites: bool, splits: bool) -> None:
    """Raise `ConfigurationError` for a template under which two files could have the same name.

    The run id distinguishes runs. Two runs may start in the same second, and many on the same day; the second one would
    fail after its work. Only a run that overwrites may leave the run id out.
    """
    if not overwrites and not template.uses("run_id"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{run_id}}, so two runs may have the same names. Add {{run_id}} (pass "
            'run_id="20261122" for a bare date), or set if_exists="overwrite".'
        )
    if splits and not template.uses("part"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{part}}, and this run may need several files. Add {{part:05d}}."
        )
    if template.columns and (missing := [name for name in columns if name not in template.columns]):
        raise ConfigurationError(
            f"name={template.text!r} names {len(template.columns)} of {len(columns)} partition columns, and files may "
            f"differ only in {', '.join(missing)}. Name all of them, or none to get folders before the name."
        )


def check_share(template: Template, *, is_share: bool) -> None:
    """Raise `ConfigurationError` for shares whose files could have the same names, and for a number of no share."""
    if is_share and not template.uses("share"):
        raise ConfigurationError(
            f"name={template.text!r} has no {{share}}, so two workers may have the same names. Add {{share:05d}}."
        )
    if template.uses("share") and not is_share:
        raise ConfigurationError(
            f"{{share}} in name={template.text!r} is the number of a worker's share, and this delivery has one worker. "
            "Leave it out, or deliver with mc_sink.open_delivery."
        )


def check_apart(template: Template, constants: Mapping[str, str]) -> None:
    """Raise for tokens that can't be separated in a name, and for a number in two formats, which no pattern finds."""
    for name in ("share", "part"):
        if len({token for token in template.tokens if token.name == name}) > 1:
            raise ConfigurationError(f"name={template.text!r} has {{{name}}} in two formats. Use one of them.")
    if lost := blurred(template, constants):
        raise ConfigurationError(
            f"name={template.text!r} may give two files the same name, because its tokens can't be separated: "
            f"{', '.join(map(str, lost))}. Put a slash between them."
        )


def check_extension(template: Template) -> None:
    """Raise `ConfigurationError` for an extension that isn't at the end, or that has two dots."""
    *before, last = template.pieces
    if any(isinstance(piece, Token) and piece.name == "ext" for piece in before):
        raise ConfigurationError(
            f"name={template.text!r} has text after {{ext}}. Put {{ext}} at the end, or leave it out."
        )
    if last == Token("ext") and before and isinstance(before[-1], str) and before[-1].endswith("."):
        raise ConfigurationError(
            f"name={template.text!r} has two dots, because {{ext}} begins with one. Leave one out."
        )


def check_key(name: str, origin: str) -> None:
    """Raise for a name that S3 advises against or that readers skip. `origin` is the argument that made the name."""
    fault = ""
    if name.startswith("/") or name.endswith("/"):
        fault = "a name can't begin or end with a slash. Leave it out."
    elif hidden := _HIDDEN.search(name):
        fault = (
            f"Spark, Athena and Hive skip names such as {hidden[1]!r} with '_' or '.' in front. Begin with a letter."
        )
    elif name != name.strip():
        fault = "spaces at its ends are invisible. Leave them out."
    elif "?" in name:
        fault = "a question mark begins a query. Leave it out."
    if fault := fault or key_fault(name) or "":
        raise ConfigurationError(f"{origin} gives the name {name!r}: {fault}")


def check_text(text: str | None, token: Token) -> str:
    """Return the text of a token. Raises `ConfigurationError` if it is empty or contains a slash."""
    if not text:
        advice = "Give a schema= that has a name" if token.name == "schema" else "Fill the empty values in the query"
        raise ConfigurationError(f"{token} has no text. {advice}.")
    if "/" in text:
        raise ConfigurationError(f"{token} would be {text!r}, and its slash would make a folder. Remove the slash.")
    return text


def blurred(template: Template, constants: Mapping[str, str]) -> tuple[Token, ...]:
    """Return the tokens of a template that can't be parsed back from a name. `constants` are equal in all names."""
    folders = list(_folders(template, constants))
    known: set[str] = set()
    while found := {token.name for folder in folders for token in _found(folder, known)} - known:
        known |= found
    unread = {token.name: token for token in template.tokens if token.shape is None and token.name not in constants}
    return tuple(token for name, token in unread.items() if name not in known)


def _folders(template: Template, constants: Mapping[str, str]) -> Iterator[Pieces]:
    """Split the template at its slashes. Tokens of a fixed length are replaced by text."""
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
    """Return the tokens that can be parsed from one folder's name, given those that are known from others."""
    unread = [index for index, piece in enumerate(folder) if isinstance(piece, Token) and piece.name not in known]
    tokens = [piece for index, piece in enumerate(folder) if index in unread and isinstance(piece, Token)]
    # A token that is known from elsewhere may have any characters.
    texts = [piece if isinstance(piece, str) else "0" for piece in folder]
    between = ["".join(texts[left + 1 : right]) for left, right in pairwise(unread)]
    from_left = _count(token.is_ended_by(text) for token, text in zip(tokens, between, strict=False))
    from_right = _count(token.is_ended_by(text) for token, text in zip(tokens[::-1], between[::-1], strict=False))
    if from_left + from_right + 1 >= len(tokens):
        return tokens
    return tokens[:from_left] + tokens[len(tokens) - from_right :]


def _count(true: Iterator[bool]) -> int:
    """Count the true values before the first false one."""
    return sum(takewhile(bool, true))
