"""Secrets that don't show themselves, and `storage_options` sealed at the door, before anything can go wrong.

    a caller's dict ──seal──► Sealed ──reveal──► one call of s3fs or fsspec

Tracebacks with locals, logs, reports of crashes and pickles show whatever a name is bound to. So a plain secret is
bound to no name of ours: it comes in inside a mapping, is wrapped at once, and goes out inside another mapping whose
values are read by the library that needs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex, final

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = "Secret(…)"
# Values under such names must be text, and are cut out of whatever a library says.
_CREDENTIAL = re.compile(
    r"key|secret|token|password|username|passphrase|aws_(access_key_id|secret_access_key|session_token)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Names as s3fs and fsspec have them; a key id that was written where a name belongs doesn't look like one.
_NAME = re.compile(r"[A-Za-z]?[a-z0-9_]{1,40}([A-Z][a-z]+){0,6}")


class Unpicklable:
    """Refuses to be pickled, because a plain secret would be in the pickle."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"1 {type(self).__name__} was about to be pickled, and holds credentials: a pickle would show them. Have "
            "whoever loads it give storage_options anew, or find credentials in its environment or a profile."
        )


@final
class Secret(Unpicklable):  # noqa: PLW1641  it has no hash, which would tell secrets apart
    """A text that only `reveal()` gives: not repr, str, format, a log, a traceback, a pickle or JSON.

    Equal to another secret with the same text, in a time that doesn't depend on where they differ, and to nothing
    else; has no hash. A copy is the secret itself. Raises `ConfigurationError` for anything but text.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        kind = type(text)
        object.__setattr__(self, "_text", text)
        del text  # it may be a secret all the same, and what follows may raise
        if not issubclass(kind, str):
            raise ConfigurationError(f"A Secret is made of text, and this is of type {kind.__name__}.")

    def reveal(self) -> str:
        """Give the text itself: to a call that needs it, and to no variable."""
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
    """A frozen mapping that shows its names alone."""

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
    """Give an option's name as it may be shown: not one that may be a credential in the wrong place."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else "…"


class _Revealed(_Named):
    """What `Sealed.reveal` gives: plain values to whoever asks for one, and names to whoever looks."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        return _revealed(self._held[name])


@final
class Sealed(_Named):
    """`storage_options` in which every text is a `Secret`, those of mappings and lists within too. See `seal`."""

    __slots__ = ("_wrong",)

    def __init__(self, held: Mapping[str, Any], wrong: str | None = None) -> None:
        super().__init__(held)
        self._wrong = wrong

    def checked(self) -> Self:
        """Give itself, or raise `ConfigurationError` for what was found wrong when it was sealed."""
        if self._wrong is not None:
            raise ConfigurationError(self._wrong)
        return self

    def reveal(self) -> Mapping[str, Any]:
        """Give a mapping of plain values that still shows only names, for `**` in the call of a library."""
        return _Revealed(self._held)

    def scrubbed(self, said: str) -> str:
        """Cut every credential of these options out of what a library said."""
        for secret in sorted(_credentials(self._held), key=_length, reverse=True):
            said = said.replace(secret.reveal(), "…")
        return said


def seal(storage_options: Mapping[str, Any] | None) -> Sealed:
    """Wrap every text in `storage_options`, and leave the caller's mapping as it is; what is sealed stays as it is.

    Raises nothing, because its caller still has the plain options at hand: what is wrong with them, `checked()` says.
    """
    if isinstance(storage_options, Sealed):
        return storage_options
    try:
        return _seal({} if storage_options is None else storage_options)
    except Exception as error:  # noqa: BLE001  what isn't a mapping, or is one of the caller's own, may raise anything
        kinds = type(storage_options).__name__, type(error).__name__
    return Sealed({}, f"storage_options, of type {kinds[0]}, can't be read ({kinds[1]}): give a dict, {{'key': …}}.")


def has_control(text: Secret) -> bool:
    """Return True if a text has the end of a line or another control character in it, and so fits in no header."""
    return _CONTROL.search(text.reveal()) is not None


def _seal(options: Mapping[Any, Any]) -> Sealed:
    held = {name: _wrapped(value) for name, value in options.items()}
    return Sealed(held, next(filter(None, map(_wrong_with, held, held.values())), None))


def _wrapped(value: Any) -> Any:
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Mapping):
        return seal(value)
    return type(value)(map(_wrapped, value)) if type(value) in {list, tuple} else value


def _wrong_with(name: object, value: object) -> str | None:
    """Say what is wrong with one option, without repeating its value."""
    if not isinstance(name, str):
        return f"storage_options has a name of type {type(name).__name__}: names are text."
    if isinstance(value, Sealed):
        return value._wrong  # noqa: SLF001  one of its own kind
    if isinstance(value, bytes | bytearray):
        return f"storage_options has bytes under {shown(name)!r}: give text, or a Secret."
    return _wrong_credential(name, value) if _CREDENTIAL.fullmatch(name) and value is not None else None


def _wrong_credential(name: str, value: object) -> str | None:
    if not isinstance(value, Secret):
        return f"storage_options[{name!r}] is of type {type(value).__name__}: give text, or a Secret."
    if has_control(value):
        return f"storage_options[{name!r}] has the end of a line, or another control character, in it: cut it off."
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


def _length(secret: Secret) -> int:
    return len(secret.reveal())


def _encoded(secret: Secret) -> bytes:
    return secret.reveal().encode(errors="surrogatepass")
