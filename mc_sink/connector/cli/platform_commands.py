"""`mc-sink platforms`, `policy` and `lifecycle`.

What is meant for another program goes to standard output as JSON, and advice to standard error.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import platforms as rooms
from mc_sink._display import lines, printable
from mc_sink.connector.cli import credentials_input, output
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import say
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mc_sink.platforms import CheckReport, Listed, Platform
    from mc_sink.secret import Secret

platforms = typer.Typer(
    help="Credentials saved once under a name, and used everywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(help="The platform's name.")]
Target = Annotated[str, typer.Argument(help="s3://bucket/prefix/")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Text = str | None
_MARKS = {"yes": "green", "documented": "green", "not needed": "dim", "unknown": "yellow", "no": "red"}
_STATUS = {"Configured": "green", "Failing": "red", "Unverified": "yellow"}


@platforms.command("add", epilog=example("platforms add"))
def add(  # noqa: PLR0913  each is a question of the form
    name: Name,
    *,
    source: Annotated[Text, typer.Option("--from", help="A file with the key, or - for standard input.")] = None,
    from_env: Annotated[bool, typer.Option("--from-env", help="Take the key from AWS' own variables.")] = False,
    ambient: Annotated[bool, typer.Option("--ambient", help="No key: whatever AWS' own tools find.")] = False,
    profile: Annotated[Text, typer.Option(help="A profile of AWS' own tools, single sign-on too.")] = None,
    role_arn: Annotated[Text, typer.Option(help="A role to assume.")] = None,
    external_id: Annotated[Text, typer.Option(help="The external id that the role asks for; `new` makes one.")] = None,
    web_identity_token_file: Annotated[Text, typer.Option(help="A file with a token to assume the role by.")] = None,
    sts_endpoint: Annotated[Text, typer.Option(help="Where roles are assumed, if not at AWS.")] = None,
    region: Annotated[Text, typer.Option(help="The bucket's region.")] = None,
    endpoint: Annotated[Text, typer.Option(help="The store's URL, if it isn't AWS.")] = None,
    expected_bucket_owner: Annotated[Text, typer.Option(help="The account that the bucket must belong to.")] = None,
    acl: Annotated[Text, typer.Option(help="The canned ACL of every object.")] = None,
    kms_key: Annotated[Text, typer.Option(help="The KMS key of every object.")] = None,
    prefix: Annotated[Text, typer.Option(help="The target to check where none is named.")] = None,
    bucket: Annotated[list[str] | None, typer.Option(help="A bucket or prefix that it may be used for.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the platform of that name.")] = False,
    store: Annotated[Text, typer.Option(help="Where secrets go: keyring or file.")] = None,
) -> None:
    """Save a platform. Its key is asked for, unless it is said where to find one; it is never an argument."""
    nobody = bool(profile or web_identity_token_file or ambient)
    facts: dict[str, Any] = {
        "profile": profile,
        "role_arn": role_arn,
        "external_id": rooms.new_external_id() if external_id == "new" else external_id,
        "web_identity_token_file": web_identity_token_file,
        "sts_endpoint": sts_endpoint,
        "region": region,
        "endpoint": endpoint,
        "expected_bucket_owner": expected_bucket_owner,
        "acl": acl,
        "kms_key": kms_key,
        "prefix": prefix,
        "buckets": tuple(bucket or ()),
    }
    how: Any = {"if_exists": "overwrite" if replace else "fail", "store": store}
    rooms.refuse_unsaved(rooms.Platform(name=name, **facts), **how)  # before anybody is asked for a key
    held: Any = _held(source, from_env=from_env, nobody=nobody)
    saved = rooms.save(rooms.Platform(name=name, **facts, **held), **how)
    place = rooms.describe(name).secrets
    kept = f", kept in {'a file of yours alone' if place == 'file' else 'the keyring'}" if place else ""
    say(f"Saved {name}: {saved.credentials}{kept}. Unverified: mc-sink platforms check {name}")
    if external_id == "new":
        output.out(str(saved.external_id))


@platforms.command("list", epilog=example("platforms list"))
def list_all(*, as_json: AsJson = False) -> None:
    """List the saved platforms, with what was last found of each."""
    found = rooms.list_platforms()
    if as_json:
        _print_json([_facts(one) for one in found])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("name", "credentials", "secrets", "region", "may be used for", "status", "checked")
    for one in found:
        check = one.platform.last_check
        table.add_row(
            one.platform.name,
            escape(printable(one.credentials)),
            one.secrets or "none",
            escape(printable(one.platform.region or "")),
            escape(lines(*one.platform.buckets) or "everything"),
            f"[{_STATUS[check.status]}]{check.status}[/]",
            f"{check.at:%Y-%m-%d %H:%M:%SZ}" if check.at else "never",
        )
    output.drawn(table)


@platforms.command("show", epilog=example("platforms show"))
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show a platform; no secret is looked at."""
    facts = _facts(rooms.describe(name))
    if as_json:
        _print_json(facts)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False)
    for label, value in facts.items():
        if value not in (None, []):
            table.add_row(label, escape(lines(*value) if isinstance(value, list) else printable(str(value))))
    output.drawn(table)


@platforms.command("check", epilog=example("platforms check"))
def check(
    name: Name,
    target: Annotated[Text, typer.Argument(help="s3://bucket/prefix/; the platform's own by default.")] = None,
    *,
    write_probe: Annotated[
        bool, typer.Option("--write-probe", help="Send what a delivery sends; leaves a small object.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find out whether a platform can deliver there; exit code 0 only where that is known.

    Leaves nothing, unless --write-probe lets it leave an object. Of a store that isn't AWS, only that shows whether it
    takes what a delivery sends.
    """
    report = rooms.check(name, target, leaving="an object" if write_probe else "nothing")
    if as_json:
        _print_json(asdict(report))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


@platforms.command("remove", epilog=example("platforms remove"))
def remove(name: Name, *, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False) -> None:
    """Remove a platform and its secrets from this machine; the key itself stays valid until its owner revokes it."""
    rooms.describe(name)
    if not yes:
        typer.confirm(f"Remove {name} and its secrets?", abort=True, err=True)
    rooms.remove(name)
    say(f"Removed {name}. Its key is valid until it is revoked where it was made.")


@platforms.command("export", epilog=example("platforms export"))
def export(name: Name) -> None:
    """Print a platform without its secrets, as JSON."""
    _print_json(rooms.exported(name))


def policy(  # noqa: PLR0913  each is a question of the form
    target: Target,
    *,
    bucket_wide: Annotated[bool, typer.Option("--bucket-wide", help="The documented one of a whole bucket.")] = False,
    kms: Annotated[Text, typer.Option(help="The ARN of a KMS key to encrypt with.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Also let unfinished uploads be thrown away.")] = False,
    tags: Annotated[bool, typer.Option("--tags", help="Also let objects be tagged.")] = False,
    retention: Annotated[bool, typer.Option("--retention", help="Also let objects be retained (Object Lock).")] = False,
    legal_hold: Annotated[bool, typer.Option("--legal-hold", help="Also let objects be put on legal hold.")] = False,
    trust: Annotated[Text, typer.Option(help="The trust policy of a role, for this account or ARN.")] = None,
    external_id: Annotated[Text, typer.Option(help="The external id to ask for; a new one by default.")] = None,
    cross_account: Annotated[Text, typer.Option(help="The bucket's policy, for this account or ARN.")] = None,
    region: Annotated[Text, typer.Option(help="The region, if in China or of the US government.")] = None,
) -> None:
    """Print the policy that a delivery needs, and no more, as JSON for the AWS CLI; nothing is applied."""
    if trust and cross_account:
        raise ConfigurationError("--trust and --cross-account are two policies: ask for one at a time.")
    if trust:
        made = rooms.trust(trust, external_id=external_id or rooms.new_external_id(), region=region)
        told = "aws iam create-role --role-name NAME --assume-role-policy-document file://trust.json"
    elif cross_account:
        made = rooms.bucket_policy(target, cross_account, region=region)
        told = "aws s3api put-bucket-policy --bucket BUCKET --policy file://policy.json (it replaces the one there is)"
        if ":accesspoint/" in target or ":accesspoint:" in target:
            told = (
                "aws s3control put-access-point-policy --account-id ACCOUNT --name NAME --policy file://policy.json "
                "(it replaces the one there is; the bucket's policy must allow what comes through its access points)"
            )
    else:
        also = [name for name, asked in zip(_ALSO, (abort, tags, retention, legal_hold), strict=True) if asked]
        scope: Any = "bucket" if bucket_wide else "prefix"
        made = rooms.policy(target, scope=scope, kms_key=kms, also=also, region=region)
        told = "aws iam put-user-policy --user-name USER --policy-name mc-sink --policy-document file://policy.json"
    _print_json(made)
    say(f"For: {told}")


def lifecycle(
    target: Target,
    *,
    expire_days: Annotated[int | None, typer.Option(help="Expire objects after so many days.")] = None,
    archive_days: Annotated[int | None, typer.Option(help="Archive objects after so many days.")] = None,
    archive_class: Annotated[str, typer.Option(help="The storage class to archive to.")] = "GLACIER",
    abort_days: Annotated[int, typer.Option(help="Abort unfinished uploads after so many days.")] = 7,
) -> None:
    """Print a lifecycle configuration for a prefix, as JSON for the AWS CLI; nothing is applied."""
    chosen: Any = archive_class
    made = rooms.lifecycle(
        target, expire_days=expire_days, archive_days=archive_days, archive_class=chosen, abort_days=abort_days
    )
    _print_json(made)
    say(
        "For: aws s3api put-bucket-lifecycle-configuration --bucket BUCKET --lifecycle-configuration file://rules.json "
        "(it replaces all rules that there are: add them to the list)"
    )


_ALSO = ("s3:AbortMultipartUpload", "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold")


def _held(source: str | None, *, from_env: bool, nobody: bool) -> dict[str, Secret]:
    """Get the key, from the one place that was named, or by asking; none where somebody else gives credentials."""
    named = [one for one in (source, from_env, nobody) if one]
    if len(named) > 1:
        raise ConfigurationError("Credentials are to come from 2 places: leave all but one out.")
    if nobody:
        return {}
    if source:
        return credentials_input.from_file(source)
    return credentials_input.from_environment() if from_env else credentials_input.ask()


def _facts(one: Listed) -> dict[str, Any]:
    """Give what may be shown of a platform."""
    platform: Platform = one.platform
    check = platform.last_check
    return {
        "name": platform.name,
        "credentials": one.credentials,
        "secrets": one.secrets or "none",
        **{name: getattr(platform, name) for name in ("role_arn", "external_id", "sts_endpoint", "region", "endpoint")},
        **{name: getattr(platform, name) for name in ("expected_bucket_owner", "acl", "kms_key", "prefix")},
        "buckets": list(platform.buckets),
        "status": check.status,
        "reason": check.reason,
        "target": check.target,
        "checked_at": check.at.isoformat() if check.at else None,
    }


def _print_json(made: Any) -> None:
    output.out(lines(*json.dumps(made, indent=2, default=_as_text).split("\n")))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print_report(report: CheckReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "question", "verdict", "tried", "found", title=escape(printable(f"{report.platform} at {report.target}"))
    )
    for row in report.rows:
        table.add_row(row.question, f"[{_MARKS[row.verdict]}]{row.verdict}[/]", row.tried, escape(printable(row.found)))
    output.drawn(table)
    for row in report.rows:
        if row.mend:
            output.out(f"{row.question}: {row.mend}")
    for sentence in report.unkept:
        output.out(f"Not kept: {sentence}")
    for one in report.left:
        output.out(f"Left behind: {one}")
    output.drawn(f"[{_STATUS[report.status]}]{report.status}[/] {escape(printable(report.reason))}")
