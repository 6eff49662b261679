"""Send the facts of a run to a URL: to Slack, to Microsoft Teams, or as plain JSON to a service of your own.

The forms are those of the services' documentation:

- Slack, incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
- Teams, a workflow that posts an adaptive card: https://learn.microsoft.com/en-us/connectors/teams
"""

from __future__ import annotations

import json
import os
import time
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mc_sink._display import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.connector.connections.settings import Webhook
    from mc_sink.connector.history import Run

# The services answer in less than a second. A service that is busy is asked again after these pauses.
_REPLY_SECONDS, _PAUSES = 10.0, (1.0, 4.0)
_CARD = "application/vnd.microsoft.card.adaptive"


class WebhookError(Exception):
    """The service didn't take the message. The text has no URL, which is a secret."""


class _SameHost(HTTPRedirectHandler):
    """Follows no redirect, as another host would get the message."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def post(webhook: Webhook, run: Run) -> None:
    """Send a run's facts, or raise `WebhookError` with the reason, after at most three attempts."""
    url = os.environ.get(webhook.url_env, "")
    if not url.startswith(("https://", "http://")):
        state = "holds no URL of https" if url else "is not set"
        raise WebhookError(f"the environment variable {webhook.url_env} {state}")
    body = json.dumps(_FORMS[webhook.form](run)).encode()
    for pause in (*_PAUSES, None):
        reason, is_final = _try(url, body)
        if reason is None:
            return
        if is_final or pause is None:
            break
        time.sleep(pause)
    raise WebhookError(reason)


def _try(url: str, body: bytes) -> tuple[str | None, bool]:
    """Return why the service didn't take the message, None if it did, and whether that is final."""
    try:
        request = Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310  `post` checks it
        with build_opener(_SameHost).open(request, timeout=_REPLY_SECONDS):
            return None, True
    except HTTPError as error:
        error.close()
        is_busy = error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        return f"the service answered with status {error.code}", not is_busy
    except (OSError, HTTPException, ValueError) as error:  # texts of these may repeat the URL
        return f"the service could not be reached ({type(error).__name__})", isinstance(error, ValueError)


def _title(run: Run) -> str:
    return f"{run.connection}: {run.status}"


def _facts(run: Run) -> dict[str, str]:
    """Return the labelled facts of a run. The texts of a record hold no cell and no secret."""
    facts: dict[str, object] = {
        "to": run.target,
        "rows": None if run.num_rows is None else counted(run.num_rows, "row"),
        "rejected": None if run.num_rejected is None else counted(run.num_rejected, "row"),
        "bytes": None if run.num_bytes is None else f"{run.num_bytes:,}",
        "files": len(run.files) or None,
        "manifest": run.manifest,
        "error": f"{run.error.kind}: {run.error.text}" if run.error else None,
        "run id": run.run_id,
        "more": f"mc-sink show {run.run_id}",
    }
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


def _slack(run: Run) -> dict[str, Any]:
    """Return a message of plain text, so that no target or error is read as a link or a mention."""
    text = "\n".join([_title(run), *(f"{name}: {fact}" for name, fact in _facts(run).items())])
    for plain, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(plain, written)
    return {"text": text, "mrkdwn": False}


def _teams(run: Run) -> dict[str, Any]:
    """Return an adaptive card, whose texts are Markdown."""
    facts = [{"title": name, "value": _no_markdown(fact)} for name, fact in _facts(run).items()]
    title = {"type": "TextBlock", "text": _no_markdown(_title(run)), "weight": "bolder", "wrap": True}
    card = {"type": "AdaptiveCard", "version": "1.4", "body": [title, {"type": "FactSet", "facts": facts}]}
    return {"type": "message", "attachments": [{"contentType": _CARD, "content": card}]}


def _no_markdown(text: str) -> str:
    return "".join(f"\\{one}" if one in "\\`*_[]" else one for one in text)


_FORMS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "slack": _slack,
    "teams": _teams,
    "json": lambda run: run.as_json(),
}
