"""What real back ends do to the socket, a test for each habit: the station charges on, is back
within a bound, and every event has arrived once, in order, to the last Wh."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from hil.loopback import LONGEST_WAIT_S, Loopback, charge, charge_again, check, run, stop_charge
from hil.parts import proxy as weather
from hil.parts.proxy import Fault

BACK_S = LONGEST_WAIT_S + 5
GIVEN_UP_S = 420.0
"""A socket that is open and says nothing is left by itself: all attempts of an event, a Heartbeat,
and the dial."""
AN_HOUR_S = 3600.0


async def charges_through(rig: Loopback, trouble: Any, back_s: float = BACK_S) -> None:
    """A charge begins before the trouble and ends in it; all arrives, and another charge follows.

    `trouble` lasts until it returns.
    """
    began_wh = {n: rig.bench.board.meter(n).energy_wh for n in (1, 2)}
    await charge(rig, 1)
    rig.bench.effects.clear()
    lasting = asyncio.create_task(trouble())
    await asyncio.sleep(10)
    assert rig.charges(1)
    await stop_charge(rig, 1)
    await lasting
    await rig.until(rig.is_back, back_s, "back")
    await charge_again(rig, 2)
    await rig.until(rig.is_back, 5, "the last events")
    check(rig, began_wh)


@pytest.mark.parametrize("closed_after_s", [60.0, 1e6], ids=["closes it", "never closes it"])
def test_a_back_end_that_holds_the_old_socket_is_deaf_on_the_new_one(closed_after_s: float) -> None:
    async def scene(rig: Loopback) -> None:
        async def half_open() -> None:
            rig.server.deaf_links_s.append(closed_after_s)
            await rig.strike(weather.NONE)
            await asyncio.sleep(30)
            assert rig.server.deaf_links_s == [], "the station did not dial again"

        await charges_through(rig, half_open, GIVEN_UP_S)
        ended = "other socket" if closed_after_s == 60.0 else "was not answered"
        assert any(ended in line for line in rig.journal()), rig.journal()

    run(scene)


@pytest.mark.parametrize("agreed", [None, "ocpp1.6"])
def test_a_wrong_subprotocol_is_upgraded_all_the_same(agreed: str | None) -> None:
    """Not a frame goes to who has not agreed to OCPP 2.0.1."""
    heard: list[str | bytes] = []

    async def listen(connection: ServerConnection) -> None:
        async for frame in connection:
            heard.append(frame)

    async def scene(rig: Loopback) -> None:
        other = await rig.stack.enter_async_context(
            serve(listen, "127.0.0.1", 0, select_subprotocol=lambda c, offered: agreed)
        )

        async def wrong() -> None:
            rig.proxy.target_port = other.sockets[0].getsockname()[1]
            await rig.strike(weather.NONE)
            await asyncio.sleep(300)
            rig.proxy.target_port = rig.server.port

        await charges_through(rig, wrong)
        assert heard == []
        assert any("2.0.1" in line or "subprotocol" in line for line in rig.journal())

    run(scene)


@pytest.mark.parametrize(
    ("code", "words"), [(1000, "closed the link normally"), (1011, "internal error")]
)
def test_a_link_closed_again_and_again_is_dialled_for_ever(code: int, words: str) -> None:
    async def scene(rig: Loopback) -> None:
        async def close_often() -> None:
            for _ in range(600):
                await rig.server.say_goodbye(code)
                await asyncio.sleep(1)

        await charges_through(rig, close_often)
        assert any(words in line and str(code) in line for line in rig.journal())
        assert min(b - a for a, b in pairwise(rig.dials_s)) >= 5, "RetryBackOffWaitMinimum"

    run(scene)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 Unauthorized", "password"),
        ("403 Forbidden", "have it released"),
        ("404 Not Found", "station.identity"),
        ("500 Internal Server Error", "ask its operator"),
    ],
)
def test_an_upgrade_refused_by_http_is_tried_for_ever(status: str, words: str) -> None:
    async def scene(rig: Loopback) -> None:
        async def refuse() -> None:
            reply = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
            await rig.strike(Fault(reply=reply))
            await asyncio.sleep(AN_HOUR_S)
            await rig.proxy.end()

        await charges_through(rig, refuse)
        assert len(rig.dials_s) >= AN_HOUR_S / LONGEST_WAIT_S
        said = [line for line in rig.journal() if words in line]
        assert said, rig.journal()
        assert all(status[:3] in line for line in said)

    run(scene)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("/ocpp", "/ocpp/SIM-1"),
        ("/ocpp/", "/ocpp/SIM-1"),
        ("/ws/ocpp/{identity}/", "/ws/ocpp/SIM-1/"),
    ],
)
def test_a_trailing_slash_is_needed_or_must_not_be_there(written: str, wanted: str) -> None:
    async def scene(rig: Loopback) -> None:
        async def be_strict() -> None:
            rig.server.path = wanted
            await rig.strike(weather.NONE)

        await charges_through(rig, be_strict)
        assert {path for path, _ in rig.server.handshakes} == {wanted}

    run(scene, path=written)
