"""What the conformance cases of block C share."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hil.cases import Scene, play
from hil.conformance import Octt

Payload = dict[str, Any]
MASTER_GROUP = "POLICE-1"
MESSAGE_TIMEOUT_S = 30.0
TRANSACTION_DURATION_S = 120.0
STARTS = ("PowerPathClosed", "EVConnected", "Authorized")
ENDED_BY_CARD = {"Authorized", "PowerPathClosed", "EnergyTransfer"}
starts = pytest.mark.parametrize("start", STARTS)
stops = pytest.mark.parametrize("stop", ["PowerPathClosed", "EVConnected"])


def case(scene: Scene, **options: Any) -> None:
    """A station that has booted plays the scene; one EVSE, so that its reader is its own."""

    async def whole(octt: Octt) -> None:
        await octt.set_variable("AuthCtrlr", "Enabled", "true")
        await octt.set_variable("AuthCtrlr", "DisableRemoteAuthorization", "false")
        await scene(octt)

    play(whole, **{"evse_count": 1} | options)


def id_token(card: str) -> Payload:
    return {"idToken": card, "type": "ISO14443"}


def info(status: str, group: str | None = None) -> Payload:
    found: Payload = {"status": status}
    if group is not None:
        found["groupIdToken"] = {"idToken": group, "type": "Central"}
    return found


def judge(octt: Octt, book: Mapping[str, Payload], *actions: str) -> None:
    """What the CSMS says of each card, in the answers to both messages unless one is named."""

    def answer(payload: Payload) -> Payload | None:
        named = payload.get("idToken", {}).get("idToken")
        return {"idTokenInfo": book[named]} if named in book else None

    for action in actions or ("Authorize", "TransactionEvent"):
        octt.csms.answer[action] = answer


async def use_cache(octt: Octt, pre_authorize: str = "true") -> None:
    await octt.set_variable("AuthCacheCtrlr", "Enabled", "true")
    await octt.set_variable("AuthCtrlr", "LocalPreAuthorize", pre_authorize)
    await octt.set_variable("AuthCacheCtrlr", "DisablePostAuthorize", "false")


async def cached(octt: Octt, card: str, status: str = "Accepted", group: str | None = None) -> None:
    """IdTokenCached: the card was judged; when accepted, it was also used for a session."""
    judge(octt, {card: info(status, group)})
    if status == "Accepted" and group != MASTER_GROUP:
        await octt.authorized(card=card)
        await octt.energy_transfer_started()
        await octt.stop_authorized(card=card)
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
    else:
        await asked(octt, card)
        await asyncio.sleep(5)
    octt.csms.answer.clear()
    octt.csms.forget()


async def no_energy_on_invalid_id(octt: Octt) -> None:
    """MaxEnergyOnInvalidId is 0, where it is implemented."""
    found = await octt.get_variable("TxCtrlr", "MaxEnergyOnInvalidId")
    if found["attributeStatus"] == "Accepted":
        await octt.set_variable("TxCtrlr", "MaxEnergyOnInvalidId", "0")


async def asked(octt: Octt, card: str) -> None:
    """The card is presented and the CSMS is asked about it."""
    octt.bench.swipe(card)
    request = await octt.expect("Authorize")
    assert request["idToken"] == id_token(card), request


async def events(octt: Octt, *, for_s: float, reconnect: bool = False) -> list[Payload]:
    """All TransactionEvents of the next while, which may begin with a reconnect."""
    before = len(octt.csms.of("TransactionEvent"))
    if reconnect:
        await octt.online()
    await asyncio.sleep(for_s)
    octt.csms.forget()
    return octt.csms.of("TransactionEvent")[before:]


async def nothing_said(octt: Octt, *actions: str) -> None:
    """None of the messages comes within the message timeout."""
    before = [len(octt.csms.of(action)) for action in actions]
    await asyncio.sleep(MESSAGE_TIMEOUT_S)
    assert [len(octt.csms.of(action)) for action in actions] == before


async def flows(octt: Octt, evse_id: int = 1) -> bool:
    """Whether the EV is given energy, by the world's own meter."""
    before_wh = octt.bench.board.energy_wh(evse_id)
    await asyncio.sleep(5)
    return octt.bench.board.energy_wh(evse_id) > before_wh
