"""Platforms: saved once, read back whole, never shown, and used for nothing outside their bounds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import ConfigurationError, ObjectOptions, Secret, platforms
from mc_sink.platforms import Platform
from tests.support.canary import KEY, SECRET, TOKEN, found_in, logged, outcomes
from tests.support.keyrings import LockedKeyring, MemoryKeyring, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELD = {"access_key_id": KEY, "secret_access_key": SECRET, "session_token": TOKEN}
ROLE = "arn:aws:iam::123456789012:role/deliver"


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """Have no keyring at all, unless a test brings its own."""
    with installed():
        yield


@pytest.fixture
def memory() -> Iterator[MemoryKeyring]:
    """Give a keyring that works."""
    keyring = MemoryKeyring()
    with installed(keyring):
        yield keyring


def a_platform(name: str = "acme", **more: Any) -> Platform:
    """Make a platform with a key and much else."""
    facts = {"region": "eu-west-1", "acl": "bucket-owner-full-control", "buckets": ["s3://feeds/out/"]}
    return Platform(name=name, **HELD | facts | more)


def everything_in(folder: Path) -> bytes:
    """Give all bytes and names under a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join([*(path.read_bytes() for path in paths), *(str(path).encode() for path in paths)])


def test_a_platform_comes_back_from_the_keyring(memory: MemoryKeyring, state: Path) -> None:
    """Every fact of it, and the secrets only there: no file has one of them."""
    saved = platforms.save(a_platform())
    assert platforms.load("acme") == saved == a_platform()
    assert all(secret in memory.held["mc-sink", "acme"] for secret in HELD.values())
    assert not found_in(everything_in(state))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_without_a_keyring_it_is_a_file_of_its_owners_alone(
    state: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """Mode 0600 from the moment that it is made, in a folder of mode 0700, whatever the umask."""
    really, modes = os.open, []

    def watched(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        descriptor = really(path, flags, *rest, **named)
        if flags & os.O_CREAT:
            modes.append((str(path), stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(umask)
    try:
        platforms.save(a_platform())
    finally:
        os.umask(before)
    path = state / "platforms" / "acme.secrets"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len([name for name, _ in modes if "acme" in name]) == 2  # the platform and its secrets
    assert {mode for name, mode in modes if "acme" in name} == {0o600}
    assert platforms.load("acme") == a_platform()


@pytest.mark.parametrize(("which", "mode"), [("acme.secrets", 0o640), ("acme.secrets", 0o604), (".", 0o755)])
def test_a_file_that_others_can_read_is_refused(state: Path, which: str, mode: int) -> None:
    """The error says how to fix that, and that the secrets may be known by now."""
    platforms.save(a_platform())
    (state / "platforms" / which).chmod(mode)
    with pytest.raises(ConfigurationError, match=r"Other users can read .*may be known.*chmod (600|700)"):
        platforms.load("acme")


def test_a_folder_that_others_could_read_is_closed(state: Path) -> None:
    """Before a secret goes there."""
    (state / "platforms").mkdir(mode=0o755)
    platforms.save(a_platform())
    assert stat.S_IMODE((state / "platforms").stat().st_mode) == 0o700
    assert platforms.load("acme") == a_platform()


def test_a_link_in_place_of_the_file_is_not_followed(state: Path, tmp_path: Path) -> None:
    """A link that another user may have placed is not followed."""
    platforms.save(a_platform())
    path = state / "platforms" / "acme.secrets"
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(ConfigurationError, match="Cannot read the secrets of platform acme from the file"):
        platforms.load("acme")


def test_a_name_is_taken_once(memory: MemoryKeyring, state: Path) -> None:
    """A second platform of a name is refused and changes nothing; replacing it says so, and moves the secrets."""
    platforms.save(a_platform())
    with pytest.raises(ConfigurationError, match="already"):
        platforms.save(a_platform(region="us-east-1"))
    assert platforms.load("acme").region == "eu-west-1"
    platforms.save(a_platform(region="us-east-1"), if_exists="overwrite", store="file")
    assert platforms.load("acme").region == "us-east-1"
    assert not memory.held
    platforms.remove("acme")
    assert list((state / "platforms").iterdir()) == []
    with pytest.raises(ConfigurationError, match=r"platform acme is not saved\. Saved platforms: none"):
        platforms.load("acme")


def test_a_list_looks_at_no_secret(memory: MemoryKeyring) -> None:
    """It shows the ends of the key's id, and works where the secrets are gone."""
    platforms.save(a_platform())
    platforms.save(Platform(name="ambient"))
    platforms.save(Platform(name="sso", profile="work", role_arn=ROLE))
    memory.held.clear()
    found = {one.platform.name: (one.credentials, one.secrets) for one in platforms.list()}
    assert found == {
        "acme": ("key AKIA…0001", "keyring"),
        "ambient": ("the environment", None),
        "sso": (f"profile work, as {ROLE}", None),
    }
    assert found_in(repr(platforms.list()).encode()) == []
    with pytest.raises(ConfigurationError, match=r"it has none.*acme.*overwrite"):
        platforms.load("acme")


def test_what_is_exported_has_no_secret() -> None:
    """Neither the key's id; what is left makes the same platform, but for its key."""
    platforms.save(a_platform(role_arn=ROLE, external_id="x-1"))
    exported = platforms.exported("acme")
    assert not found_in(repr(exported).encode())
    assert Platform(**exported) == replace(
        a_platform(role_arn=ROLE, external_id="x-1"), access_key_id=None, secret_access_key=None, session_token=None
    )


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (
            ["s3://feeds/out/"],
            ["s3://feeds/out/", "s3://feeds/out/a/x.csv"],
            ["s3://feeds/./", "s3://feeds/output/x.csv"],
        ),
        (["s3://feeds/out"], ["s3://feeds/out/x.csv"], ["s3://feeds/out2/", "s3://feeds/outx.csv"]),
        (["feeds"], ["s3://feeds/a/", "s3://feeds/./"], ["s3://feeds2/a/", "s3://feed/a/"]),
        (["s3://aaa/", "s3://bbb/x/"], ["s3://aaa/y/", "s3://bbb/x/y/"], ["s3://bbb/y/"]),
        ([], ["s3://any/where/"], []),
    ],
)
def test_a_target_out_of_bounds_is_refused(bounds: list[str], inside: list[str], outside: list[str]) -> None:
    """By whole names, not by how they begin; without bounds, any bucket is allowed."""
    platform = a_platform(buckets=bounds)
    for target in inside:
        assert platform.storage_options_for(target)["key"].reveal() == KEY
    for target in outside:
        with pytest.raises(ConfigurationError, match="outside the buckets that the platform acme allows"):
            platform.storage_options_for(target)
    with pytest.raises(ConfigurationError, match="is not in S3"):
        platform.storage_options_for("/tmp/x.csv")  # noqa: S108  nothing is written


def test_options_are_those_of_the_platform_and_the_callers_own() -> None:
    """Who asks is the platform's to say; how, the caller's; both at once is refused."""
    platform = a_platform(endpoint="https://s3.example")
    options = platform.storage_options_for(
        "s3://feeds/out/", {"max_concurrency": 3, "client_kwargs": {"use_ssl": True}}
    )
    revealed = dict(options.reveal())
    assert revealed == {
        "key": KEY,
        "secret": SECRET,
        "token": TOKEN,
        "endpoint_url": "https://s3.example",
        "max_concurrency": 3,
        "client_kwargs": {"region_name": "eu-west-1", "use_ssl": True},
    }
    for name in ("key", "endpoint_url", "profile"):
        with pytest.raises(ConfigurationError, match=f"storage_options has {name}, which the platform acme"):
            platform.storage_options_for("s3://feeds/out/", {name: "x"})
    for name in ("aws_access_key_id", "endpoint_url"):
        with pytest.raises(ConfigurationError, match=f"storage_options has {name}, which the platform acme"):
            platform.storage_options_for("s3://feeds/out/", {"client_kwargs": {name: "x"}})
    assert dict(Platform(name="a", profile="p").storage_options_for("s3://bucket/p/").reveal()) == {"profile": "p"}
    assert dict(Platform(name="a").storage_options_for("s3://bucket/p/")) == {}


def test_object_options_are_the_callers_where_they_say_something() -> None:
    """The platform's ACL and key fill what was left open."""
    platform = a_platform(kms_key="key-1")
    assert platform.object_options() == ObjectOptions(acl="bucket-owner-full-control", sse_kms_key_id="key-1")
    given = ObjectOptions(acl="private", sse="AES256", tags={"a": "b"})
    assert platform.object_options(given) == given
    assert Platform(name="a").object_options() is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"name": SECRET + "/"}, "its name"),
        ({"secret_access_key": None}, "one half of its key"),
        ({"access_key_id": None, "secret_access_key": None}, "belongs to a key"),
        ({"profile": "x"}, "a key and profile"),
        ({"role_arn": "role"}, "not the ARN of a role"),
        ({"external_id": "x-1"}, "are for a role"),
        ({"acl": "all"}, "S3 doesn't know acl='all'"),
        ({"endpoint": f"https://{KEY}:{SECRET}@host"}, "endpoint is not a plain URL"),
        ({"buckets": ["/srv/x"]}, "is not a bucket"),
        ({"secret_access_key": 7}, "is of type int"),
        ({"session_token": TOKEN + "\n" + TOKEN}, "line end"),
    ],
)
def test_what_is_wrong_is_said_without_the_secrets(facts: dict[str, Any], why: str) -> None:
    """Making it raises nothing, because the plain secrets are still at hand; every use of it raises."""
    platform = a_platform(**facts)
    with pytest.raises(ConfigurationError, match=why) as raised:
        platform.checked()
    with pytest.raises(ConfigurationError, match=why):
        platforms.save(platform)
    assert not found_in(str(raised.value).encode())


def situations() -> dict[str, Callable[[], Iterator[object]]]:
    """Give what may happen to a platform, well or not."""

    def saved() -> Iterator[object]:
        yield platforms.save(a_platform())
        yield platforms.load("acme")
        yield platforms.load("acme").storage_options_for("s3://feeds/out/")
        yield platforms.list()
        yield platforms.load("acme").storage_options_for("s3://feeds/in/")

    def locked() -> Iterator[object]:
        with installed(LockedKeyring()):
            yield platforms.save(a_platform("other"))

    def broken() -> Iterator[object]:
        keyring = MemoryKeyring()
        with installed(keyring):
            platforms.save(a_platform("broken"))
            keyring.held["mc-sink", "broken"] = keyring.held["mc-sink", "broken"][:-1]
            yield platforms.load("broken")

    def wrong() -> Iterator[object]:
        yield platforms.save(a_platform(profile="x"))

    def role() -> Iterator[object]:
        yield a_platform(role_arn=ROLE, sts_endpoint="http://10.0.0.1").storage_options_for("s3://feeds/out/")

    return {one.__name__: one for one in (saved, locked, broken, wrong, role)}


@pytest.mark.parametrize("situation", situations().values(), ids=situations())
def test_nothing_that_is_told_has_a_secret(situation: Callable[[], Iterator[object]]) -> None:
    """Not a repr, pickle, log, message, or local of a frame, in any failure."""
    with logged() as printed:
        ended_text = "\n".join(outcomes(situation))
    assert "ConfigurationError" in ended_text
    lines = [line for line in (ended_text + printed.getvalue()).splitlines() if found_in(line.encode())]
    assert lines == []


def test_a_platform_with_secrets_is_not_pickled() -> None:
    """Another machine finds its own under the name."""
    import pickle

    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(a_platform())
    assert isinstance(a_platform().secret_access_key, Secret)


def test_the_room_is_light() -> None:
    """Loading it loads no keyring, no pydantic and no s3fs."""
    heavy = "keyring", "pydantic", "s3fs", "aiobotocore", "typer", "rich"
    code = f"import sys, mc_sink.platforms; print([one for one in {heavy!r} if one in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_platform_with_a_credential_in_a_wrong_place_shows_none() -> None:
    """It hasn't been checked yet, and its repr shows its name and what is invalid."""
    wrong = Platform(name="acme", endpoint="https://AKIAEXAMPLE:never-shown@host")
    assert "never-shown" not in repr(wrong)
    assert "endpoint is not a plain URL" in repr(wrong)
