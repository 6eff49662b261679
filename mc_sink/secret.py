"""Hide secrets: `Secret` wraps one text, `seal` wraps `storage_options`, and `seals_options` seals at the entry points.

    a caller's dict ──seal──► Sealed ──reveal──► one call of s3fs or fsspec

Tracebacks with locals, logs, crash reports and pickles show the values of variables. So no variable of this package
holds a plain secret. It arrives inside a mapping, is wrapped at once, and leaves inside another mapping, from which
only the library that needs the value reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from hmac import compare_digest
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex, TypeVar, final

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = TypeVar("Call", bound=Callable[..., Any])
_HIDDEN = "Secret(…)"
_SEALED = "storage_options"
# Values under these names must be text. They are removed from the messages of libraries.
_CREDENTIAL = re.compile(
    r"key|secret|token|password|username|passphrase|aws_(access_key_id|secret_access_key|session_token)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Option names of s3fs and fsspec look like this. A key id that was written in place of a name does not.
_NAME = re.compile(r"[A-Za-z]?[a-z0-9_]{1,40}([A-Z][a-z]+){0,6}")


class Unpicklable:
    """Refuses to be pickled, because a plain secret would be in the pickle."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} can't be pickled: it holds credentials, and a pickle would show them. Pass "
            "storage_options again where the pickle is loaded, or use credentials from the environment or a profile."
        )


@final
class Secret(Unpicklable):  # noqa: PLW1641  it has no hash, which would tell secrets apart
    """A text that only `reveal()` returns: not repr, str, format, a log, a traceback, a pickle or JSON.

    It equals only another `Secret` with the same text; the comparison takes constant time. It has no hash, and a copy
    is the object itself. Raises `ConfigurationError` for any value that is not text.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        kind = type(text)
        object.__setattr__(self, "_text", text)
        del text  # it may be a secret even if it isn't text, and the next line may raise
        if not issubclass(kind, str):
            raise ConfigurationError(
                f"Cannot make a Secret from a value of type {kind.__name__}: it must be text. Pass a str."
            )

    def reveal(self) -> str:
        """Return the text. Pass it on to the call that needs it; bind it to no variable."""
        return self._text

    def __repr__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return format(_HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(_encoded(self), _encoded(other))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A Secret can't be changed.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A Secret can't be changed.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class _Named(Unpicklable, Mapping[str, Any]):
    """A frozen mapping whose repr shows its names only."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Any]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> Any:
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{shown(name)}: …' for name in self._held)}}}"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


def shown(name: object) -> str:
    """Return an option's name for display; "…" for a name that may be a misplaced credential."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "…"


class _Revealed(_Named):
    """The mapping that `Sealed.reveal` returns: a lookup gives the plain value, the repr shows names only."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        return _revealed(self._held[name])


@final
class Sealed(_Named):
    """`storage_options` in which every text is a `Secret`, also inside nested mappings and lists. See `seal`."""

    __slots__ = ("_wrong",)

    def __init__(self, held: Mapping[str, Any], wrong: str | None = None) -> None:
        super().__init__(held)
        self._wrong = wrong

    def checked(self) -> Self:
        """Return itself, or raise `ConfigurationError` for a fault that was found while sealing."""
        if self._wrong is not None:
            raise ConfigurationError(self._wrong)
        return self

    def reveal(self) -> Mapping[str, Any]:
        """Return a mapping of plain values, for `**` in a call of a library. Its repr still shows names only."""
        return _Revealed(self._held)

    def scrubbed(self, text: str) -> str:
        """Remove every credential of these options from a library's message, the longest first."""
        for secret in sorted(_credentials(self._held), key=lambda secret: len(secret.reveal()), reverse=True):
            text = text.replace(secret.reveal(), "…")
        return text


def seal(storage_options: Mapping[str, Any] | None) -> Sealed:
    """Wrap every text in `storage_options`. The caller's mapping is not changed; a sealed one is returned as it is.

    Never raises, because the caller's frame still holds the plain options: `Sealed.checked()` raises for faults later.
    """
    if isinstance(storage_options, Sealed):
        return storage_options
    try:
        given: Mapping[Any, Any] = {} if storage_options is None else storage_options
        held = {name: _wrapped(value) for name, value in given.items()}
        return Sealed(held, next(filter(None, map(_wrong_with, held, held.values())), None))
    except Exception as error:  # noqa: BLE001  a value that isn't a mapping, or a mapping class of the caller, may raise
        kinds = type(storage_options).__name__, type(error).__name__
    return Sealed({}, f"Cannot read storage_options of type {kinds[0]} ({kinds[1]}). Pass a dict, {{'key': …}}.")


def seals_options(call: Call) -> Call:
    """Seal `storage_options` before the function's own frame binds them, so that no traceback can show a secret.

    Arguments that the function has no parameter for are sealed too: a misspelt `storage_option={…}` raises `TypeError`
    with this frame in its traceback. If the function has `**options`, mappings and credentials by name are sealed.
    """
    parameters = signature(call).parameters.values()
    by_place = [one.name for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    plain_places = by_place.index(_SEALED) if _SEALED in by_place else len(by_place)
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    plain_names = {one.name for one in parameters} - {_SEALED}

    def is_plain(name: str, value: object) -> bool:
        if takes_any and name != _SEALED:
            return name in plain_names or not (isinstance(value, Mapping) or _CREDENTIAL.fullmatch(name))
        return name in plain_names

    @wraps(call)
    def sealed(*args: Any, **options: Any) -> Any:
        args = (*args[:plain_places], *map(_sealed, by_place[plain_places:] + [""] * len(args), args[plain_places:]))
        options = {name: value if is_plain(name, value) else _sealed(name, value) for name, value in options.items()}
        return call(*args, **options)

    return sealed  # type: ignore[return-value]


def _sealed(name: str, value: Any) -> Any:
    """Return `storage_options` sealed, and a surplus argument, which may be a secret, wrapped."""
    return seal(value) if name == _SEALED else _wrapped(value)


def has_control(text: Secret) -> bool:
    """Return True if a text contains a line end or another control character, and so can't be sent in a header."""
    return _CONTROL.search(text.reveal()) is not None


def _wrapped(value: Any) -> Any:
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Mapping):
        return seal(value)
    return type(value)(map(_wrapped, value)) if type(value) in {list, tuple} else value


def _wrong_with(name: object, value: object) -> str | None:
    """Describe the fault of one option without its value; None if it has none."""
    if not isinstance(name, str):
        return f"storage_options has a name of type {type(name).__name__}. Use text for names."
    if isinstance(value, Sealed):
        return value._wrong  # noqa: SLF001  the same class
    if isinstance(value, bytes | bytearray):
        return f"storage_options[{shown(name)!r}] is bytes. Pass text or a Secret."
    is_credential = _CREDENTIAL.fullmatch(name) and value is not None
    if is_credential and not isinstance(value, Secret):
        return f"storage_options[{name!r}] is of type {type(value).__name__}. Pass text or a Secret."
    if is_credential and isinstance(value, Secret) and has_control(value):
        return f"storage_options[{name!r}] contains a line end or another control character. Remove it."
    return None


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Sealed):
        return dict(value.reveal())
    return type(value)(map(_revealed, value)) if type(value) in {list, tuple} else value


def _credentials(held: Mapping[str, Any]) -> Iterator[Secret]:
    for name, value in held.items():
        if isinstance(value, Sealed):
            yield from _credentials(value)
        elif isinstance(value, Secret) and value.reveal() and _CREDENTIAL.fullmatch(name):
            yield value


def _encoded(secret: Secret) -> bytes:
    return secret.reveal().encode(errors="surrogatepass")
