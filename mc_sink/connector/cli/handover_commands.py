"""`mc-sink handover`: the page that a sender forwards to the receiver of its deliveries."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from mc_sink._display import lines
from mc_sink.connector.cli import completion
from mc_sink.connector.cli.output import out, reserved_stdout
from mc_sink.connector.connections import Connection, arguments_for, load, of_document, opened
from mc_sink.exceptions import ConfigurationError
from mc_sink.report import receiver_html, write_page
from mc_sink.sink import SinkOptions, Wishes, page_for, preview, resolve

Text = str | None


def handover(  # noqa: PLR0913  the options of a command
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET|FILE", help="s3://bucket/prefix/, or a connection file.", show_default=False),
    ],
    *,
    columns: Annotated[
        list[str] | None, typer.Option(help="Files with the columns of the deliveries, or a glob; may be repeated.")
    ] = None,
    preset: Annotated[Text, typer.Option(help="The receiver, by the name of its preset.")] = None,
    format: Annotated[Text, typer.Option(help="csv, csv.gz or parquet.", autocompletion=completion.formats)] = None,
    schema: Annotated[
        Text, typer.Option(help="A schema's name, YAML file, or module:name.", autocompletion=completion.schemas)
    ] = None,
    name: Annotated[Text, typer.Option(help="A template for the names under a prefix.")] = None,
    partition_by: Annotated[
        list[str] | None, typer.Option(help="A column whose values make folders; may be repeated.")
    ] = None,
    platform: Annotated[
        Text, typer.Option(help="Saved credentials, by their name.", autocompletion=completion.platforms_saved)
    ] = None,
    table: Annotated[str, typer.Option(help="The table of the load statement.")] = "t",
    dialect: Annotated[Text, typer.Option(help="The receiver of the statement. Default: that of the preset.")] = None,
    access: Annotated[Text, typer.Option(help="What opens the bucket for the receiver, such as a role.")] = None,
    principal: Annotated[Text, typer.Option(help="Your account or ARN, for the bucket's policy.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file .md or .html.")] = None,
) -> None:
    """Print the page for the receiver: names, manifest, checksums, load statement, policy, lifecycle.

    It is Markdown, and holds no secret. Nothing is sent.
    """
    given = {"preset": preset, "format": format, "schema": schema, "name": name, "partition_by": partition_by}
    options = {key: value for key, value in (given | {"platform": platform}).items() if value is not None}
    connection = _connection(target, columns, options)
    spec = resolve(SinkOptions(**arguments_for(preview, connection)))
    with ExitStack() as stack:
        frame = None
        if columns or target.endswith(".toml"):
            stack.enter_context(reserved_stdout())
            frame = stack.enter_context(opened(connection.settings.source, connection.folder))
        page = page_for(frame, spec, Wishes(table, dialect, access, principal))
    if output is None:
        out(lines(*str(page).rstrip("\n").split("\n")))
    elif output.suffix == ".html":
        out(f"Wrote {write_page(output, receiver_html(page))}")
    else:
        out(f"Wrote {_write_markdown(output, str(page))}")


def _connection(target: str, columns: list[str] | None, options: dict[str, Any]) -> Connection:
    if target.endswith(".toml"):
        if columns or options:
            raise ConfigurationError(
                "A connection file has its own source and options. Leave --columns and the options of a delivery out."
            )
        return load(Path(target))
    source = {"files": columns or ["-"]}  # without --columns it isn't opened
    return of_document({"source": source, "target": target, **options}, name="handover", file=None, folder=Path.cwd())


def _write_markdown(place: Path, text: str) -> Path:
    """Write a new file, or replace an earlier page."""
    mark = text.partition("\n")[0].partition(" to ")[0]
    try:
        if place.exists() and not place.read_bytes().startswith(mark.encode()):
            raise ConfigurationError(
                f"Cannot write the page to {place}: another file is there, and stays. Choose another path."
            )
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Cannot write the page to {place}: {error.strerror}. Choose another path.") from error
    return place
