"""A platform: named credentials, the buckets they may be used for, and the options of every object written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from datetime import datetime  # noqa: TC003  saved facts are read back by these types
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mc_sink import _display
from mc_sink._argument_kinds import check_kinds
from mc_sink._display import counted
from mc_sink._hints import hints_fields
from mc_sink._s3_names import find_access_point
from mc_sink.encryption import Age, Pgp
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.object_options import CannedAcl, ObjectOptions
from mc_sink.secret import Sealed, Secret, seal, seals_options
from mc_sink.storage import Role, check_owner, is_aws, session_in
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

Status = Literal["Configured", "Failing", "Unverified"]
# The name of each in s3fs.
CREDENTIALS = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
# Storage options that state the identity and the endpoint. A platform states them too, and two would be ambiguous.
_IDENTITY = {*CREDENTIALS.values(), "username", "password", "profile", "session", "anon", "endpoint_url"}
_OWNER = "expected_bucket_owner"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[\w./-]*)?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SHOWN, _LEAST = 4, 16
_TEXT = Secret | str | None
_WHOLE_BUCKET = re.compile(r"(?:s3a?://)?([a-z0-9][a-z0-9._-]*)/?", re.IGNORECASE)
_LISTS = ("buckets", "recipients")


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of the last check, with its time and target."""

    status: Status = "Unverified"
    reason: str = "It has not been checked."
    at: datetime | None = None
    target: str | None = None


@hints_fields({})
@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Named credentials with their endpoint, bounds and object options. Its secrets are neither shown nor pickled.

    - `access_key_id`, `secret_access_key`, `session_token`: a key. Text becomes a `Secret`.
    - `profile`: a profile of the AWS tools, single sign-on included, instead of a key. Without either, boto looks in
      the environment.
    - `role_arn`: a role to assume with these credentials and `external_id`, or with the token in
      `web_identity_token_file`. Its credentials are renewed during a run.
    - `expected_bucket_owner`: the account, 12 digits, that must own the bucket. Every request names it, and S3 refuses
      requests to other accounts' buckets.
    - `buckets`: the buckets and prefixes that deliveries may go to. Empty allows all.
    - `prefix`: the target of a check that names none.
    - `acl`, `kms_key`: apply to every object.
    - `recipients`: the receiver's public keys, as text of OpenPGP or of age. Every delivery is encrypted for them,
      unless it has `encrypt` of its own.

    Construction raises nothing, because the caller's frame still holds the plain secrets. Every use calls `checked()`,
    which raises for invalid fields.
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
    recipients: tuple[str, ...] = ()
    last_check: Checked = field(default=Checked(), compare=False)

    def __post_init__(self) -> None:
        for name in _LISTS:
            texts: Any = getattr(self, name)
            if isinstance(texts, str):
                object.__setattr__(self, name, (texts,))
        check_kinds(self, "name", *_LISTS, "last_check", Checked=Checked)  # `invalid` has the others
        for name in CREDENTIALS:
            text = getattr(self, name)
            if isinstance(text, str):
                object.__setattr__(self, name, Secret(text.strip()) if text.strip() else None)
            del text
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __repr__(self) -> str:
        return f"Platform({', '.join(f'{name}={value!r}' for name, value in self.shown().items() if value)})"

    @property
    def masked_key_id(self) -> str | None:
        """The first and last characters of the access key id, to distinguish keys."""
        if not isinstance(self.access_key_id, Secret):
            return None
        text = self.access_key_id
        if len(text.reveal()) < _LEAST:
            return "…"
        return f"{text.reveal()[:_SHOWN]}…{text.reveal()[-_SHOWN:]}"

    @property
    def credentials(self) -> str:
        """Where the credentials come from, in a few words and without a secret."""
        return self.credentials_with(self.masked_key_id)

    def credentials_with(self, masked_key_id: str | None) -> str:
        """Return where the credentials come from, for a key that is known only by the ends of its id."""
        source = f"profile {self.profile}" if self.profile else "the environment"
        source = f"key {masked_key_id}" if masked_key_id else source
        source = f"the token in {self.web_identity_token_file}" if self.web_identity_token_file else source
        return f"{source}, as {self.role_arn}" if self.role_arn else source

    def shown(self, credentials: str | None = None) -> dict[str, object]:
        """Return the labelled facts without secrets. An invalid platform shows only why it is invalid.

        An invalid field may hold a secret that was passed in the wrong place.
        """
        if wrong := next(_faults(self), None):
            return {"name": shown_name(self.name), "invalid": wrong}
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
            "encrypts for": counted(len(self.recipients), "key") if self.recipients else None,
            "status": f"{check.status}. {check.reason}",
            "checked": f"{check.at:%Y-%m-%d %H:%M:%S} UTC" if check.at else "never",
        }

    def _repr_html_(self) -> str:
        return _display.facts(self.shown().items())

    def checked(self) -> Platform:
        """Return the platform itself, or raise `ConfigurationError` for its first invalid field."""
        if wrong := next(_faults(self), None):
            raise ConfigurationError(f"The platform {shown_name(self.name)} is invalid: {wrong}")
        return self

    def check_bounds(self, target: str | os.PathLike[str] | Target) -> Target:
        """Return the parsed target, or raise `ConfigurationError` where the platform doesn't allow it."""
        where = target if isinstance(target, Target) else parse_target(target)
        if where.protocol != "s3":
            raise ConfigurationError(f"{where.url} is not in S3, and the platform {self.name} is: leave platform= out.")
        if not is_within(where, map(parse_bound, self.checked().buckets)):
            raise ConfigurationError(
                f"{where.url} is outside the buckets that the platform {self.name} allows: {', '.join(self.buckets)}. "
                "Choose a target in one of them or another platform, or save the platform again with more buckets."
            )
        return where

    @seals_options
    def storage_options_for(
        self, target: str | os.PathLike[str] | Target, storage_options: Mapping[str, Any] | None = None
    ) -> Sealed:
        """Return the sealed options of s3fs for a delivery to a target, with the caller's own added.

        Raises `ConfigurationError` for a target that the platform doesn't allow, and where the caller's options state
        the identity too. Sends nothing.
        """
        given = seal(storage_options).checked()
        self.check_bounds(target)
        inner = dict(given.get("client_kwargs") or {})
        who = {*_IDENTITY, *([_OWNER] if self.expected_bucket_owner else [])}
        named = {name for name, value in given.items() if value is not None} & who
        if twice := sorted(named | {name for name in inner if name.startswith("aws_") or name in _IDENTITY}):
            raise ConfigurationError(
                f"storage_options has {', '.join(twice)}, which the platform {self.name} sets too. Leave one out."
            )
        client = ({"region_name": self.region} if self.region else {}) | inner
        own = {"endpoint_url": self.endpoint, _OWNER: self.expected_bucket_owner}
        own = {name: value for name, value in own.items() if value}
        return seal({**dict(given), **own, **self._identity(), **({"client_kwargs": client} if client else {})})

    def object_options(self, given: ObjectOptions | None = None) -> ObjectOptions | None:
        """Return the caller's options, completed by the platform's ACL and KMS key; None where none is set."""
        options = given or ObjectOptions()
        if self.acl and options.acl is None:
            options = replace(options, acl=self.acl)
        if self.kms_key and options.sse_kms_key_id is None and options.sse != "AES256":
            options = replace(options, sse_kms_key_id=self.kms_key)
        return None if given is None and options == ObjectOptions() else options

    def encryption(self, given: Pgp | Age | None = None) -> Pgp | Age | None:
        """Return the caller's encryption, or else that for the platform's recipients; None without any."""
        if given is not None or not self.recipients:
            return given
        kind = Pgp if _is_pgp(self.recipients[0]) else Age
        return kind(recipients=self.recipients)

    def _identity(self) -> dict[str, Any]:
        """Return the options that state the identity: a key, a profile or a role's session; empty to let boto look."""
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
    """Return the platform's key, by the names of s3fs."""
    return {name: value for field_name, name in CREDENTIALS.items() if (value := getattr(platform, field_name))}


def _is_pgp(key: str) -> bool:
    return key.lstrip().startswith("-----BEGIN PGP")


def shown_name(name: object) -> str:
    """Return a platform's name for display. An invalid one, which may be a misplaced credential, is hidden."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "…"


def check_name(name: str) -> str:
    """Return a name that is safe in a file name, or raise without repeating it."""
    if shown_name(name) != name:
        raise ConfigurationError("A platform's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit.")
    return name


def _faults(platform: Platform) -> Iterator[str]:
    """Yield a sentence for each invalid field, without repeating a value that may be a secret."""
    if shown_name(platform.name) != platform.name:
        yield "its name must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit."
    yield from (
        f"{one.name} is of type {type(value).__name__}. Pass text."
        for one in fields(Platform)
        if one.name not in {*_LISTS, "last_check"} and not isinstance(value := getattr(platform, one.name), _TEXT)
    )
    yield from _credential_faults(platform)
    if platform.role_arn and not _ROLE.fullmatch(platform.role_arn):
        yield "role_arn is not the ARN of a role. Write arn:aws:iam::123456789012:role/NAME."
    if not platform.role_arn and (platform.external_id or platform.web_identity_token_file):
        yield "external_id and web_identity_token_file are for a role. Pass role_arn too."
    if platform.external_id and not _EXTERNAL_ID.fullmatch(platform.external_id):
        yield "external_id must be 2 to 1,224 of A-Z a-z 0-9 + = , . @ : / _ -."
    yield from (
        f"{name} is not a plain URL. Write https://host or https://host:port, without credentials."
        for name in ("endpoint", "sts_endpoint")
        if (url := getattr(platform, name)) and not _URL.fullmatch(url)
    )
    if len({_is_pgp(key) for key in platform.recipients}) > 1:
        yield "its recipients are keys of OpenPGP and of age. Pass those of one kind."
    try:
        if encrypt := platform.encryption():
            encrypt.cipher()
        seal(_own(platform)).checked()
        check_owner(platform.expected_bucket_owner, _OWNER)
        ObjectOptions(acl=platform.acl, sse_kms_key_id=platform.kms_key)
        for text in (*platform.buckets, *([platform.prefix] if platform.prefix else [])):
            parse_bound(text)
    except SinkError as error:
        yield error.message


def _credential_faults(platform: Platform) -> Iterator[str]:
    if bool(platform.access_key_id) != bool(platform.secret_access_key):
        yield "one half of its key is missing. Pass both access_key_id and secret_access_key."
    if platform.session_token and not platform.access_key_id:
        yield "a session token belongs to a key. Pass access_key_id and secret_access_key too."
    sources = {
        "a key": platform.access_key_id,
        "profile": platform.profile,
        "web_identity_token_file": platform.web_identity_token_file,
    }
    if len(given := [name for name, value in sources.items() if value]) > 1:
        yield f"it has {' and '.join(given)}. Leave all but one out."


def parse_bound(text: str) -> Target:
    """Parse a bucket (`bucket`, `s3://bucket/`) or a prefix in one (`s3://bucket/prefix/`, with or without the slash).

    An access point's ARN may stand in place of the bucket.
    """
    whole = _WHOLE_BUCKET.fullmatch(text)
    if (point := find_access_point(text)) and point[1] in {"", "/"}:
        return parse_target(f"s3://{point[0].arn}/./")
    bound = parse_target(f"s3://{whole[1]}/./" if whole else f"{text.removesuffix('/')}/")
    if bound.protocol != "s3":
        raise ConfigurationError(
            f"{bound.url} is not a bucket. Bind a platform to s3://bucket/ or s3://bucket/prefix/."
        )
    return bound


def is_within(target: Target, bounds: Iterable[Target]) -> bool:
    """Return True if a target lies in one of the bounds, or if no bounds are given."""
    bounds = tuple(bounds)
    return not bounds or any(target.bucket == one.bucket and target.path.startswith(one.path) for one in bounds)
