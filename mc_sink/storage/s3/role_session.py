"""Assume an IAM role. Its temporary credentials are renewed before they expire.

    a key, a profile, or a token in a file ──AssumeRole──► credentials for an hour ──► renewed, while requests go on

botocore asks for credentials whenever it signs a request, and renews them through the code here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.secret import Secret, Unpicklable, seal
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.client_options import check_environment, new_session
from mc_sink.storage.s3.endpoint import find_endpoint, find_region
from mc_sink.storage.s3.failures import read_failure
from mc_sink.storage.s3.http import http_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiobotocore.session import AioSession

# The region that AWS' own tools use by default.
_DEFAULT_REGION = "us-east-1"
_TIMEOUTS = {"connect_timeout": 10, "read_timeout": 30}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Role:
    """A role to assume; with `token_file`, by the token of a web identity, which is read again each time."""

    arn: str
    external_id: str | None = None
    token_file: str | None = None
    region: str | None = None
    sts_endpoint: str | None = None
    session_name: str = "mc-sink"


def session_in(role: Role, storage_options: Mapping[str, Any]) -> AioSession:
    """Return a session for s3fs that assumes a role with the credentials of `storage_options`; sends nothing yet.

    Raises `ConfigurationError` for an STS endpoint that secrets must not be sent to, and for an unknown profile.
    """
    options = seal(storage_options).checked()
    with silence():
        session = new_session(options.get("profile"))  # for its region, not for its credentials
        session.register_component("credential_provider", _Assumed(options, role))
    return session


class _Assumed(Unpicklable):
    """The provider that botocore asks for credentials."""

    def __init__(self, options: Mapping[str, Any], role: Role) -> None:
        self._options, self._role = seal(options), role
        check_environment(self._options)
        self._base = new_session(self._options.get("profile"))
        if self._options.get("key"):
            given = self._options.reveal()
            self._base.set_credentials(given["key"], given.get("secret"), given.get("token"))
        asked = {"endpoint_url": Secret(role.sts_endpoint)} if role.sts_endpoint else {}
        self._endpoint = find_endpoint(asked, self._base) if asked else None

    async def load_credentials(self) -> Any:
        """Return credentials that are fetched when first needed, and renewed before they expire."""
        from aiobotocore.credentials import AioDeferredRefreshableCredentials

        return AioDeferredRefreshableCredentials(self._assume, "assume-role")

    async def _assume(self) -> dict[str, Any]:
        """Ask STS; its refusal must not look like a refusal by the store."""
        from botocore.exceptions import CredentialRetrievalError

        try:
            with silence():
                made = await self._ask()
        except Exception as error:  # noqa: BLE001  read as text, so that its frames are freed
            failed = str(read_failure("assume_role", error, self._options.scrubbed)) or type(error).__name__
        else:
            names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "token": "SessionToken"}
            expiry = {"expiry_time": made["Expiration"].isoformat()}
            return {name: made[in_sts] for name, in_sts in names.items()} | expiry
        raise CredentialRetrievalError(provider=f"the role {self._role.arn}", error_msg=failed)

    async def _ask(self) -> Mapping[str, Any]:
        role = self._role
        asked = {"RoleArn": role.arn, "RoleSessionName": role.session_name}
        async with self._base.create_client("sts", **self._where()) as sts:
            if role.token_file:
                token = Path(role.token_file).read_text("utf-8").strip()  # noqa: ASYNC240  a line of a local file
                reply = await sts.assume_role_with_web_identity(**asked, WebIdentityToken=token)
            else:
                external = {"ExternalId": role.external_id} if role.external_id else {}
                reply = await sts.assume_role(**asked, **external)
        return dict(reply["Credentials"])

    def _where(self) -> dict[str, Any]:
        from aiobotocore.config import AioConfig

        found = find_region({}, self._base) or self._base.get_config_variable("region")
        region = self._role.region or found or _DEFAULT_REGION
        # A proxy of the environment must not receive a request that stays on this machine.
        unproxied: dict[str, Any] = {"proxies": {}} if self._endpoint and self._endpoint.loopback else {}
        config = AioConfig(http_session_cls=http_session(), **_TIMEOUTS, **unproxied)
        url = {"endpoint_url": self._endpoint.url.reveal()} if self._endpoint and self._endpoint.url else {}
        return {"region_name": region, "config": config, **url}
