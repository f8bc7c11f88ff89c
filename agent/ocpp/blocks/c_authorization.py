"""Block C: authorization. Deciding is `core.authorization`; here is what crosses the wire."""

from agent.core.effects import AskCsms, ForgetTokens
from agent.core.events import Now, TokenAnswered, TokenUnanswered
from agent.ocpp.block import (
    Answer,
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
    Payload,
    refused,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.tokens import from_wire, info_from_wire, to_wire
from agent.ocpp.view import View
from drivers.contract import TOKEN_TYPES


def _authorize(effect: AskCsms, view: View, now: Now) -> OutgoingCall:
    """A driver waits at the reader: nothing but the boot goes before it."""
    return OutgoingCall("Authorize", {"idToken": to_wire(effect.token)}, priority=1)


def _authorized(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    token = from_wire(request["idToken"])
    if response is None:
        return Consequences(events=(TokenUnanswered(token),))
    return Consequences(events=(TokenAnswered(token, info_from_wire(response["idTokenInfo"])),))


def _clear_cache(payload: Payload, view: View, now: Now) -> Answer:
    """C11.FR.01, FR.04: rejected where there is no cache."""
    if not view.station.policy.auth_cache_enabled:
        return refused("NotEnabled", "AuthCacheCtrlr.Enabled is false")
    return Answer({"status": "Accepted"}, effects=(ForgetTokens(),))


INCOMING: Incoming = {"ClearCache": _clear_cache}
OUTGOING: Outgoing = {AskCsms: _authorize}
ON_RESPONSE: OnResponse = {"Authorize": _authorized}
ON_EVENT: OnEvent = {}

CACHE_BYTES = 2_000 * 1_024
"""The store keeps 2,000 entries; one with a group takes about 200 bytes."""

VARIABLES: tuple[Variable, ...] = (
    Variable("AuthCtrlr", "Enabled", data_type="boolean", default="true", policy="auth_enabled"),
    Variable(
        "AuthCtrlr",
        "LocalAuthorizeOffline",
        data_type="boolean",
        default="true",
        policy="local_authorize_offline",
    ),
    Variable(
        "AuthCtrlr",
        "LocalPreAuthorize",
        data_type="boolean",
        default="false",
        policy="local_pre_authorize",
    ),
    Variable(
        "AuthCtrlr",
        "OfflineTxForUnknownIdEnabled",
        data_type="boolean",
        default="false",
        policy="offline_unknown_id",
    ),
    Variable(
        "AuthCtrlr",
        "AuthorizeRemoteStart",
        data_type="boolean",
        default="false",
        policy="authorize_remote_start",
    ),
    Variable(
        "AuthCtrlr",
        "DisableRemoteAuthorization",
        data_type="boolean",
        default="false",
        policy="disable_remote_authorization",
    ),
    Variable(
        "AuthCtrlr",
        "MasterPassGroupId",
        max_length=36,
        default="",
        policy="master_pass_group_id",
    ),
    Variable(
        "AuthCtrlr",
        "SupportedIdTokenTypes",
        data_type="MemberList",
        values=TOKEN_TYPES,  # which of them somebody can present here, the readers decide
        mutability="ReadOnly",
        default=",".join(TOKEN_TYPES),
    ),
    Variable(
        "AuthCacheCtrlr",
        "Available",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "true",
    ),
    Variable(
        "AuthCacheCtrlr",
        "Storage",
        data_type="integer",
        unit="B",
        max_limit=CACHE_BYTES,
        mutability="ReadOnly",
        read=lambda view: str(view.cache_bytes()),
    ),
    Variable(
        "AuthCacheCtrlr",
        "DisablePostAuthorize",
        data_type="boolean",
        default="false",
        policy="disable_post_authorize",
    ),
    Variable(
        "AuthCacheCtrlr",
        "Policy",
        data_type="OptionList",
        values=("LRU",),
        mutability="ReadOnly",
        default="LRU",
    ),
    Variable(
        "AuthCacheCtrlr",
        "Enabled",
        data_type="boolean",
        default="true",
        policy="auth_cache_enabled",
    ),
    Variable(
        "AuthCacheCtrlr",
        "LifeTime",
        data_type="integer",
        unit="s",
        min_limit=0,
        default="0",
        policy="auth_cache_lifetime_s",
    ),
)
