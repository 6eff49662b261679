"""Run id → exact keys: what the files of one run are called, the same for every try of it.

    s3://bucket/prefix/RUN_ID.csv                 one file
    s3://bucket/prefix/RUN_ID-00000.csv           the first of several
    s3://bucket/prefix/_manifests/RUN_ID.json     what belongs together; no *.csv finds it

A template names files otherwise; it is checked as text, before anything is opened. The rules are in docs/names.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.names._clock import time_of
from mc_sink.names._rules import check_apart, check_extension, check_key, check_text, check_unique
from mc_sink.names._template import Template, parse_template
from mc_sink.names._tokens import TOKENS, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.target import Target

__all__ = ["MANIFESTS", "TOKENS", "Names", "Template", "parse_template"]

MANIFESTS = "_manifests/"
ONE, SEVERAL = parse_template("{run_id}{ext}"), parse_template("{run_id}-{part:05d}{ext}")
_NUMBERED = re.compile(".*-[0-9]{5,}")
# No delivery has so many files; a name with this number is as long as a name can get.
LAST_PART = 10**10 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """The keys of one run. `several` says whether it may have more than one file, and so numbers them.

    `template` is the caller's own, if there is one; `columns` are those that files are partitioned by; `schema` is the
    name of what they are judged by.
    """

    target: Target
    run_id: str
    extension: str
    several: bool
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

    def check(self, *, overwrites: bool, rolls: bool) -> None:
        """Refuse names that could be given twice, or that a store or a reader won't take; opens nothing.

        `rolls` says that a partition, or the whole, may fill more than one file; `overwrites` that this run may have
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
            self._check_template(self.template, overwrites=overwrites, rolls=rolls)
        origin = f"name={self.template.text[:200]!r}" if self.template else f"run_id={self.run_id!r}"
        check_key(self._name(0, self._samples), origin)
        self.target.file(self._name(LAST_PART, self._samples))

    def _check_template(self, template: Template, *, overwrites: bool, rolls: bool) -> None:
        timed = [token for token in template.tokens if token.name in {"timestamp", "date"}]
        if timed and time_of(self.run_id) is None:
            raise ConfigurationError(
                f"{timed[0]} in name={template.text!r} is the time that the run id begins with, and {self.run_id!r} "
                f"begins with none: write one in UTC, as in 20261122T101530Z-{self.run_id[:40]}, or leave run_id= out."
            )
        schema = check_text(self.schema, Token("schema")) if template.uses("schema") else ""
        check_extension(template)
        check_unique(template, self.columns, overwrites=overwrites, rolls=rolls)
        check_apart(template, {"ext": self.extension, "schema": schema})

    @property
    def _template(self) -> Template:
        return self.template or (SEVERAL if self.several else ONE)

    @property
    def _tried(self) -> list[Template]:
        """The templates that an earlier try may have had; "a-00000" of many files is no numbered file of run "a"."""
        if self.template:
            return [self.template]
        return [SEVERAL] if self.several and _NUMBERED.fullmatch(self.run_id) else [ONE, SEVERAL]

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
