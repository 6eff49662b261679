"""A platform: named credentials, the buckets they may be used for, and the options of every object written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from datetime import datetime  # noqa: TC003  saved facts are read back by these types
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mc_sink import _display
from mc_sink._s3_names import find_access_point
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.object_options import CannedAcl, ObjectOptions
from mc_sink.secret import Sealed, Secret, seal, seals_options
from mc_sink.storage import Role, check_owner, is_aws, session_in
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

Status = Literal["Configured", "Failing", "Unverified"]
# By what name s3fs knows each.
CREDENTIALS = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
# What says who asks and where; given twice, nobody could tell which was meant.
_WHO = {*CREDENTIALS.values(), "username", "password", "profile", "session", "anon", "endpoint_url"}
_OWNER = "expected_bucket_owner"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[\w./-]*)?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SHOWN, _LEAST = 4, 16
_TEXT = Secret | str | None
_WHOLE_BUCKET = re.compile(r"(?:s3a?://)?([a-z0-9][a-z0-9._-]*)/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Checked:
    """What the last check found, and when; `target` is where it looked."""

    status: Status = "Unverified"
    reason: str = "It was never checked."
    at: datetime | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Saved credentials and what goes with them; shows none of its secrets, and refuses to be pickled with them.

    Credentials are `access_key_id` and `secret_access_key` (text becomes a `Secret`), with a `session_token` where they
    are temporary; or a `profile` of AWS' own tools, single sign-on included; or neither, which is whatever boto finds
    by itself. `role_arn` is assumed by them, with `external_id`, or by the token in `web_identity_token_file`, and
    renewed in mid-run. `expected_bucket_owner` is the account, 12 digits, that the bucket must belong to: every request
    names it, and S3 refuses those to a bucket of another. `buckets` are what it may be used for, all where it is
    empty; `prefix` is the target to check where none is named; `acl` and `kms_key` go with every object. What is wrong
    with them, `checked()` raises, which every use calls: making one raises nothing, because its caller still has the
    plain secrets at hand.
    """

    name: str
    access_key_id: Secret | str | None = None
    secret_access_key: Secret | str | None = None
    session_token: Secret | str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    web_identity_token_file: str | None = None
    sts_endpoint: str | None = None
    region: str | None = None
    endpoint: str | None = None
    expected_bucket_owner: str | None = None
    acl: CannedAcl | None = None
    kms_key: str | None = None
    prefix: str | None = None
    buckets: tuple[str, ...] = ()
    last_check: Checked = field(default=Checked(), compare=False)

    def __post_init__(self) -> None:
        for name in CREDENTIALS:
            text = getattr(self, name)
            if isinstance(text, str):
                object.__setattr__(self, name, Secret(text.strip()) if text.strip() else None)
            del text
        buckets: Any = self.buckets
        object.__setattr__(self, "buckets", (buckets,) if isinstance(buckets, str) else tuple(buckets))

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.shown().items() if value)
        return f"Platform({told})"

    @property
    def masked_key_id(self) -> str | None:
        """The ends of the access key id, enough to tell keys apart."""
        if not isinstance(self.access_key_id, Secret):
            return None
        text = self.access_key_id
        if len(text.reveal()) < _LEAST:
            return "…"
        return f"{text.reveal()[:_SHOWN]}…{text.reveal()[-_SHOWN:]}"

    @property
    def credentials(self) -> str:
        """In a few words, where credentials come from; none of them."""
        source = f"profile {self.profile}" if self.profile else "the environment"
        source = f"key {self.masked_key_id}" if self.access_key_id else source
        source = f"the token in {self.web_identity_token_file}" if self.web_identity_token_file else source
        return f"{source}, as {self.role_arn}" if self.role_arn else source

    def shown(self, credentials: str | None = None) -> dict[str, object]:
        """Give what may be shown of it by name; of one that is wrong, which may be a secret in a wrong place, why."""
        if wrong := next(_wrongs(self), None):
            return {"name": shown_name(self.name), "wrong": wrong}
        check = self.last_check
        return {
            "name": self.name,
            "credentials": credentials or self.credentials,
            "region": self.region,
            "endpoint": self.endpoint,
            "bucket owner": self.expected_bucket_owner,
            "may be used for": ", ".join(self.buckets) or "everything",
            "acl": self.acl,
            "KMS key": self.kms_key,
            "status": f"{check.status}. {check.reason}",
            "checked": f"{check.at:%Y-%m-%d %H:%M:%S} UTC" if check.at else "never",
        }

    def _repr_html_(self) -> str:
        return _display.facts(self.shown().items())

    def checked(self) -> Platform:
        """Give itself, or raise `ConfigurationError` that says what in it can't be meant."""
        wrong = next(_wrongs(self), None)
        if wrong:
            raise ConfigurationError(f"The platform {shown_name(self.name)}: {wrong}")
        return self

    def check_bounds(self, target: str | os.PathLike[str] | Target) -> Target:
        """Give a target that the platform may be used for, or raise `ConfigurationError` for one that it may not."""
        where = target if isinstance(target, Target) else parse_target(target)
        if where.protocol != "s3":
            raise ConfigurationError(f"{where.url} is not in S3, and the platform {self.name} is: leave platform= out.")
        if not is_within(where, map(parse_bound, self.checked().buckets)):
            raise ConfigurationError(
                f"{where.url} is outside of what the platform {self.name} may be used for: {', '.join(self.buckets)}. "
                "Choose a target within, another platform, or save it again with more buckets."
            )
        return where

    @seals_options
    def storage_options_for(
        self, target: str | os.PathLike[str] | Target, storage_options: Mapping[str, Any] | None = None
    ) -> Sealed:
        """Give the options, by s3fs' names and sealed, that deliver to a target; the caller's own are added.

        Raises `ConfigurationError` for a target out of bounds, and where both say who asks. Sends nothing.
        """
        given = seal(storage_options).checked()
        self.check_bounds(target)
        inner = dict(given.get("client_kwargs") or {})
        who = {*_WHO, *([_OWNER] if self.expected_bucket_owner else [])}
        named = {name for name, value in given.items() if value is not None} & who
        if twice := sorted(named | {name for name in inner if name.startswith("aws_") or name in _WHO}):
            raise ConfigurationError(
                f"storage_options has {', '.join(twice)}, and the platform {self.name} says so too: leave one out."
            )
        client = ({"region_name": self.region} if self.region else {}) | inner
        own = {"endpoint_url": self.endpoint, _OWNER: self.expected_bucket_owner}
        own = {name: value for name, value in own.items() if value}
        return seal({**dict(given), **own, **self._identity(), **({"client_kwargs": client} if client else {})})

    def object_options(self, given: ObjectOptions | None = None) -> ObjectOptions | None:
        """Give the caller's options with the platform's ACL and KMS key where they say nothing else; None for none."""
        options = given or ObjectOptions()
        if self.acl and options.acl is None:
            options = replace(options, acl=self.acl)
        if self.kms_key and options.sse_kms_key_id is None and options.sse != "AES256":
            options = replace(options, sse_kms_key_id=self.kms_key)
        return None if given is None and options == ObjectOptions() else options

    def _identity(self) -> dict[str, Any]:
        """Give what says who asks: a key, a profile, or a session that acts in the role; nothing where boto looks."""
        own = _own(self) | ({"profile": Secret(self.profile)} if self.profile else {})
        if not self.role_arn:
            return own
        host = urlsplit(self.endpoint).hostname if self.endpoint else None
        role = Role(
            arn=self.role_arn,
            external_id=self.external_id,
            token_file=self.web_identity_token_file,
            region=self.region,
            sts_endpoint=self.sts_endpoint or (None if is_aws(host) else self.endpoint),
        )
        return {"session": session_in(role, own)}


def _own(platform: Platform) -> dict[str, Any]:
    """Give the credentials that were given, by s3fs' names."""
    return {theirs: found for ours, theirs in CREDENTIALS.items() if (found := getattr(platform, ours))}


def shown_name(name: object) -> str:
    """Give a platform's name as it may be shown: what can't be one may be a credential in the wrong place."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "…"


def check_name(name: str) -> str:
    """Return a name that can stand in a file's, or refuse it without repeating it."""
    if shown_name(name) != name:
        raise ConfigurationError("A platform's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit.")
    return name


def _wrongs(platform: Platform) -> Iterator[str]:
    """Say all that is wrong, without repeating what may be a secret."""
    if shown_name(platform.name) != platform.name:
        yield "its name is to be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit."
    yield from (
        f"{one.name} is of type {type(value).__name__}, and is to be text."
        for one in fields(Platform)
        if one.name not in {"buckets", "last_check"} and not isinstance(value := getattr(platform, one.name), _TEXT)
    )
    yield from _wrong_credentials(platform)
    yield from _wrong_role(platform)
    yield from (
        f"{name} is no URL that can be shown: write https://host or https://host:port, and no credentials in it."
        for name in ("endpoint", "sts_endpoint")
        if (url := getattr(platform, name)) and not _URL.fullmatch(url)
    )
    try:
        seal(_own(platform)).checked()
        check_owner(platform.expected_bucket_owner, _OWNER)
        ObjectOptions(acl=platform.acl, sse_kms_key_id=platform.kms_key)
        for text in (*platform.buckets, *([platform.prefix] if platform.prefix else [])):
            parse_bound(text)
    except SinkError as error:
        yield str(error)


def _wrong_credentials(platform: Platform) -> Iterator[str]:
    if bool(platform.access_key_id) != bool(platform.secret_access_key):
        yield "one half of its key is missing: give both access_key_id and secret_access_key."
    if platform.session_token and not platform.access_key_id:
        yield "a session token belongs to a key: give access_key_id and secret_access_key too."
    sources = {
        "a key": platform.access_key_id,
        "profile": platform.profile,
        "web_identity_token_file": platform.web_identity_token_file,
    }
    if len(given := [name for name, value in sources.items() if value]) > 1:
        yield f"it has {' and '.join(given)}: leave all but one out."


def _wrong_role(platform: Platform) -> Iterator[str]:
    if platform.role_arn and not _ROLE.fullmatch(platform.role_arn):
        yield "role_arn is no role's: write arn:aws:iam::123456789012:role/NAME."
    if not platform.role_arn and (platform.external_id or platform.web_identity_token_file):
        yield "external_id and web_identity_token_file are for a role: give role_arn too."
    if platform.external_id and not _EXTERNAL_ID.fullmatch(platform.external_id):
        yield "external_id is 2 to 1,224 of A-Z a-z 0-9 + = , . @ : / _ -"


def parse_bound(text: str) -> Target:
    """Read a bucket (`bucket`, `s3://bucket/`) or a prefix in one (`s3://bucket/prefix/`, its slash or not).

    An access point's ARN may stand in place of the bucket.
    """
    whole = _WHOLE_BUCKET.fullmatch(text)
    if (point := find_access_point(text)) and point[1] in {"", "/"}:
        return parse_target(f"s3://{point[0].arn}/./")
    bound = parse_target(f"s3://{whole[1]}/./" if whole else f"{text.removesuffix('/')}/")
    if bound.protocol != "s3":
        raise ConfigurationError(
            f"{bound.url} is no bucket: a platform is bound to s3://bucket/ or s3://bucket/prefix/."
        )
    return bound


def is_within(target: Target, bounds: Iterable[Target]) -> bool:
    """Whether a target lies in one of the bounds; where there are none, every bucket does."""
    bounds = tuple(bounds)
    return not bounds or any(target.bucket == one.bucket and target.path.startswith(one.path) for one in bounds)
