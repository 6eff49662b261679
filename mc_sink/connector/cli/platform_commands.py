"""`mc-sink platforms`, `policy` and `lifecycle`.

JSON for other programs goes to standard output, and advice to standard error.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import platforms as credentials
from mc_sink._display import lines
from mc_sink.connector.cli import completion, credentials_input, output
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import say
from mc_sink.connector.cli.wording import for_command
from mc_sink.encryption import key_text
from mc_sink.exceptions import ConfigurationError, SinkError

if TYPE_CHECKING:
    from mc_sink.platforms import Listed
    from mc_sink.secret import Secret

platforms = typer.Typer(
    help="Credentials that are saved under a name.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(help="The platform's name.", autocompletion=completion.platforms_saved)]
NewName = Annotated[str, typer.Argument(help="The platform's name.")]
Target = Annotated[str, typer.Argument(help="s3://bucket/prefix/")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Text = str | None


@platforms.command("add", epilog=example("platforms add"))
def add(  # noqa: PLR0913  each is a question of the form
    name: NewName,
    *,
    source: Annotated[
        Text, typer.Option("--from", help="Read the key from a file, or from standard input for -.")
    ] = None,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Read the key from the variables of the AWS tools.")
    ] = False,
    ambient: Annotated[
        bool, typer.Option("--ambient", help="Save no key; use the credentials that the AWS tools find.")
    ] = False,
    profile: Annotated[Text, typer.Option(help="A profile of the AWS tools; also for single sign-on.")] = None,
    role_arn: Annotated[Text, typer.Option(help="A role to assume.")] = None,
    external_id: Annotated[Text, typer.Option(help="The role's external id; `new` generates one.")] = None,
    web_identity_token_file: Annotated[Text, typer.Option(help="A file with the token to assume the role.")] = None,
    sts_endpoint: Annotated[Text, typer.Option(help="The URL of STS, if it is not AWS.")] = None,
    region: Annotated[Text, typer.Option(help="The bucket's region.")] = None,
    endpoint: Annotated[
        Text, typer.Option("--endpoint-url", "--endpoint", help="The store's URL, if it is not AWS.")
    ] = None,
    expected_bucket_owner: Annotated[Text, typer.Option(help="The account that must own the bucket.")] = None,
    acl: Annotated[Text, typer.Option(help="The canned ACL of every object.")] = None,
    kms_key: Annotated[Text, typer.Option(help="The KMS key of every object.")] = None,
    prefix: Annotated[Text, typer.Option(help="The default target of a check.")] = None,
    bucket: Annotated[list[str] | None, typer.Option(help="A bucket or prefix that deliveries may go to.")] = None,
    recipient: Annotated[
        list[str] | None, typer.Option(help="A receiver's public key, or its file: every file is encrypted for it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--replace", help="Replace the platform of that name.")] = False,
    store: Annotated[Text, typer.Option(help="Where to store secrets: keyring or file.")] = None,
    check_now: Annotated[
        bool, typer.Option("--check/--no-check", help="Check at once, if --prefix or --bucket is given.")
    ] = True,
) -> None:
    """Save credentials under a name, and check them at once if --prefix or --bucket is given.

    Prompts for the key unless --from, --from-env, --profile, --web-identity-token-file or --ambient is given.
    """
    facts: dict[str, Any] = {
        "profile": profile,
        "role_arn": role_arn,
        "external_id": credentials.new_external_id() if external_id == "new" else external_id,
        "web_identity_token_file": web_identity_token_file,
        "sts_endpoint": sts_endpoint,
        "region": region,
        "endpoint": endpoint,
        "expected_bucket_owner": expected_bucket_owner,
        "acl": acl,
        "kms_key": kms_key,
        "prefix": prefix,
        "buckets": tuple(bucket or ()),
        "recipients": tuple(map(key_text, recipient or ())),
    }
    how: Any = {"if_exists": "overwrite" if overwrite else "fail", "store": store}
    credentials.refuse_unsaved(credentials.Platform(name=name, **facts), **how)  # before the prompt for a key
    has_credentials = bool(profile or web_identity_token_file or ambient)
    key: Any = _key(source, from_env=from_env, has_credentials=has_credentials)
    saved = credentials.save(credentials.Platform(name=name, **facts, **key), **how)
    place = credentials.describe(name).secrets
    stored = f", stored in {'a file that only you can read' if place == 'file' else 'the keyring'}" if place else ""
    say(f"Saved {name}: {saved.credentials}{stored}.")
    target = prefix or next(iter(bucket or ()), None)
    if target and check_now:
        _check_saved(name, target)
    else:
        say(f"It is unverified. Check it: mc-sink platforms check {name}")
    if external_id == "new":
        output.out(str(saved.external_id))


def _check_saved(name: str, target: str) -> None:
    """Print the result of a check of a new platform. The platform stays saved in either case."""
    try:
        report = credentials.check(name, target)
    except SinkError as error:
        say(f"Cannot check it: {for_command(str(error), 'platforms')}")
        return
    say(f"{report.status} at {report.target}: {for_command(report.reason, 'platforms')}")
    if not report.ok:
        say(f"What to do: mc-sink platforms check {name} {target}")


@platforms.command("list", epilog=example("platforms list"))
def list_all(*, as_json: AsJson = False) -> None:
    """List the saved platforms, with the result of each one's last check."""
    found = credentials.list()
    if as_json:
        output.print_json([_facts(one) for one in found], indent=2)
        return
    columns = ("name", "credentials", "secrets", "region", "buckets", "status", "checked_at")
    empty = {"buckets": "everything", "checked_at": "never"}
    output.table(columns, [[_cells(one)[name] or empty.get(name, "") for name in columns] for one in found])


@platforms.command("show", epilog=example("platforms show"))
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show a platform. Reads no secret."""
    found = credentials.describe(name)
    if as_json:
        output.print_json(_facts(found), indent=2)
        return
    rows = [(label, text) for label, text in _cells(found).items() if text]
    output.table(("field", "value"), rows, show_header=False)


@platforms.command("check", epilog=example("platforms check"))
def check(
    name: Name,
    target: Annotated[Text, typer.Argument(help="s3://bucket/prefix/. Default: the platform's prefix.")] = None,
    *,
    write_probe: Annotated[
        bool, typer.Option("--write-probe", help="Send the requests of a delivery too, and leave a small object.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a platform can deliver to a target. Exits with 0 only if it can.

    Leaves nothing behind, unless --write-probe is given. On a store that is not AWS, only a write probe shows whether
    the store takes the requests of a delivery.
    """
    found = credentials.check(name, target, leaving="an object" if write_probe else "nothing")
    here = partial(for_command, command="platforms")  # the advice in the words of the command line
    answers = tuple(replace(row, found=here(row.found), fix=here(row.fix)) for row in found.rows)
    report = replace(found, reason=here(found.reason), rows=answers, left=tuple(map(here, found.left)))
    if as_json:
        output.print_json(asdict(report) | {"checked_at": report.checked_at.isoformat()}, indent=2)
    else:
        rows = [(row.question, row.verdict, row.tried, row.found) for row in report.rows]
        output.table(("question", "verdict", "tried", "found"), rows, title=f"{report.platform} at {report.target}")
        for text in (*(f"{row.question}: {row.fix}" for row in report.rows if row.fix), *report.remarks):
            output.out(text)
        output.coloured(report.status, report.reason)
    if not report.ok:
        raise typer.Exit(1)


@platforms.command("remove", epilog=example("platforms remove"))
def remove(
    name: Name, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
) -> None:
    """Remove a platform and its secrets from this machine. The key stays valid until its owner revokes it."""
    credentials.describe(name)
    if not yes:
        typer.confirm(f"Remove {name} and its secrets?", abort=True, err=True)
    credentials.remove(name)
    say(f"Removed {name}. Its key stays valid until its owner revokes it.")


@platforms.command("export", epilog=example("platforms export"))
def export(name: Name) -> None:
    """Print a platform without its secrets, as JSON."""
    output.print_json(credentials.exported(name), indent=2)


def policy(  # noqa: PLR0913  each is a question of the form
    target: Target,
    *,
    bucket_wide: Annotated[
        bool, typer.Option("--bucket-wide", help="Print the documented policy for the whole bucket.")
    ] = False,
    kms: Annotated[Text, typer.Option("--kms-key", "--kms", help="The ARN of a KMS key to encrypt with.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Also allow aborting unfinished uploads.")] = False,
    engines: Annotated[
        bool, typer.Option("--engines", help="Also allow finding and aborting the uploads of lost workers.")
    ] = False,
    tags: Annotated[bool, typer.Option("--tags", help="Also allow tags.")] = False,
    retention: Annotated[bool, typer.Option("--retention", help="Also allow retention (Object Lock).")] = False,
    legal_hold: Annotated[bool, typer.Option("--legal-hold", help="Also allow a legal hold (Object Lock).")] = False,
    trust: Annotated[Text, typer.Option(help="Print the trust policy of a role, for this account or ARN.")] = None,
    external_id: Annotated[Text, typer.Option(help="The external id of the trust policy. Default: a new one.")] = None,
    cross_account: Annotated[Text, typer.Option(help="Print the bucket policy, for this account or ARN.")] = None,
    region: Annotated[Text, typer.Option(help="The region, if it is in China or of the US government.")] = None,
) -> None:
    """Print the policy with the permissions that a delivery needs, as JSON for the AWS CLI. Applies nothing."""
    if trust and cross_account:
        raise ConfigurationError("--trust and --cross-account print two policies. Leave one of them out.")
    if trust:
        made = credentials.trust(trust, external_id=external_id or credentials.new_external_id(), region=region)
        use = "aws iam create-role --role-name NAME --assume-role-policy-document file://trust.json"
    elif cross_account:
        made = credentials.bucket_policy(target, cross_account, region=region)
        use = "aws s3api put-bucket-policy --bucket BUCKET --policy file://policy.json (it replaces the present policy)"
        if ":accesspoint/" in target or ":accesspoint:" in target:
            use = (
                "aws s3control put-access-point-policy --account-id ACCOUNT --name NAME --policy file://policy.json "
                "(it replaces the present policy; the bucket's policy must allow requests through its access points)"
            )
    else:
        also = [name for name, asked in zip(_ALSO, (abort, tags, retention, legal_hold), strict=True) if asked]
        scope: Any = "bucket" if bucket_wide else "prefix"
        made = credentials.policy(target, scope=scope, kms_key=kms, also=also, engines=engines, region=region)
        use = "aws iam put-user-policy --user-name USER --policy-name mc-sink --policy-document file://policy.json"
    output.print_json(made, indent=2)
    say(f"Apply with: {use}")


def lifecycle(
    target: Target,
    *,
    expire_days: Annotated[int | None, typer.Option(help="Expire objects after this number of days.")] = None,
    archive_days: Annotated[int | None, typer.Option(help="Archive objects after this number of days.")] = None,
    archive_class: Annotated[str, typer.Option(help="The storage class to archive to.")] = "GLACIER",
    abort_days: Annotated[int, typer.Option(help="Abort unfinished uploads after this number of days.")] = 7,
) -> None:
    """Print a lifecycle configuration for a prefix, as JSON for the AWS CLI. Applies nothing."""
    chosen: Any = archive_class
    made = credentials.lifecycle(
        target, expire_days=expire_days, archive_days=archive_days, archive_class=chosen, abort_days=abort_days
    )
    output.print_json(made, indent=2)
    say(
        "Apply with: aws s3api put-bucket-lifecycle-configuration --bucket BUCKET "
        "--lifecycle-configuration file://rules.json "
        "(it replaces all rules of the bucket: add the present ones to the list)"
    )


_ALSO = ("s3:AbortMultipartUpload", "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold")


def _key(source: str | None, *, from_env: bool, has_credentials: bool) -> dict[str, Secret]:
    """Read the key from the place that was named, or from a prompt; empty for a platform without a key."""
    if sum(map(bool, (source, from_env, has_credentials))) > 1:
        raise ConfigurationError("The options name more than one source of credentials. Leave all but one out.")
    if has_credentials:
        return {}
    if source:
        return credentials_input.from_file(source)
    return credentials_input.from_environment() if from_env else credentials_input.ask()


def _facts(one: Listed) -> dict[str, Any]:
    """Return the facts of a platform that are not secret."""
    platform, check = one.platform, one.platform.last_check
    names = ("role_arn", "external_id", "sts_endpoint", "region", "endpoint", "expected_bucket_owner", "acl", "kms_key")
    return {
        "name": platform.name,
        "credentials": one.credentials,
        "secrets": one.secrets or "none",
        **{name: getattr(platform, name) for name in (*names, "prefix")},
        "buckets": list(platform.buckets),
        "recipients": list(platform.recipients),
        "status": check.status,
        "reason": check.reason,
        "target": check.target,
        "checked_at": check.at.isoformat() if check.at else None,
    }


def _cells(one: Listed) -> dict[str, Any]:
    """Return the facts of a platform as text for a table."""
    at = one.platform.last_check.at
    facts = {name: lines(*value) if isinstance(value, list) else value for name, value in _facts(one).items()}
    return facts | {"checked_at": f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else None}
