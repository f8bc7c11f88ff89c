"""Part 6, block A: Basic authentication and its password."""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agent.core.effects import Save
from agent.ocpp.passwords import KEY, PATIENCE
from agent.settings import Settings
from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

PASSWORD = "Old-password_of:SIM-1"
NEW_PASSWORD = "New|password.of@SIM-1"
THIRD_PASSWORD = "A-third-password*of+SIM-1"
TOO_SHORT = "fifteen-letters"
RECONNECT_S = 120.0
LONGEST_WAIT_S = 500.0
"""Between two dials of a CSMS that was down for long."""


def with_password(settings: Settings) -> Settings:
    back_ends = (msgspec.structs.replace(c, password=PASSWORD) for c in settings.csms)
    return msgspec.structs.replace(settings, csms=tuple(back_ends))


def case(scene: Callable[[Octt], Awaitable[None]]) -> None:
    """A station whose technician gave it a password, before a CSMS that wants to see it."""

    async def play() -> None:
        bench = SimBench(change=with_password)
        bench.network.password = PASSWORD
        async with bench:
            await scene(Octt(bench))
            bench.csms.check()

    run_virtual(play())


def shown(octt: Octt) -> tuple[str, str]:
    """User and password of the last HTTP upgrade, as its header says."""
    header = octt.bench.network.authorizations[-1]
    assert header is not None
    method, _, pair = header.partition(" ")
    assert method == "Basic"
    user, _, password = base64.b64decode(pair, validate=True).decode().partition(":")
    return user, password


async def set_password(octt: Octt, password: str) -> str:
    named: dict[str, Any] = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": password,
    }
    answer = await octt.call("SetVariables", {"setVariableData": [named]})
    (result,) = answer["setVariableResult"]
    return str(result["attributeStatus"])


async def connected_again(octt: Octt, dials: int) -> None:
    """A link that was dialled after the first `dials` is up."""
    await octt.bench.until(lambda: len(octt.bench.network.dials) > dials, RECONNECT_S)
    await octt.csms.wait_connected(timeout_s=RECONNECT_S)


async def cut(octt: Octt) -> None:
    dials = len(octt.bench.network.dials)
    octt.bench.network.cut()
    await connected_again(octt, dials)


def test_TC_A_01_CS() -> None:
    async def scene(octt: Octt) -> None:
        boot = await octt.booted()
        assert boot["reason"] == "PowerUp"
        user, password = shown(octt)
        dialled = octt.bench.network.dials[-1][1]
        assert dialled.url.rpartition("/")[2] == user
        assert password == PASSWORD
        assert 16 <= len(password) <= 40

    case(scene)


def test_TC_A_09_CS(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene(octt: Octt) -> None:
        await octt.booted()
        dials = len(octt.bench.network.dials)
        octt.bench.network.password = NEW_PASSWORD
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        assert len(octt.bench.network.dials) == dials + 1, "at once with the new one"
        assert shown(octt) == ("SIM-1", NEW_PASSWORD)
        await octt.expect_none("BootNotification")
        assert "security: the CSMS changed the password" in caplog.text
        assert NEW_PASSWORD not in caplog.text

    case(scene)


def test_TC_A_10_CS() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        assert await set_password(octt, TOO_SHORT) == "Rejected"
        await cut(octt)
        assert shown(octt) == ("SIM-1", PASSWORD)
        await octt.bench.stop()
        await octt.bench.start()
        await octt.booted()
        assert shown(octt) == ("SIM-1", PASSWORD)

    case(scene)


def test_a_new_password_outlives_a_power_cut() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        octt.bench.network.password = NEW_PASSWORD
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        await octt.bench.power_cut()
        await octt.bench.start()
        await octt.booted()
        assert shown(octt) == ("SIM-1", NEW_PASSWORD)

    case(scene)


def test_a_csms_that_forgot_the_new_password_is_reached_with_the_one_before() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        dials = len(octt.bench.network.dials)
        octt.bench.network.password = NEW_PASSWORD
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        await asyncio.sleep(400)
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, THIRD_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        assert shown_since(octt, dials) == [THIRD_PASSWORD, NEW_PASSWORD]
        dials = len(octt.bench.network.dials)
        await cut(octt)
        assert shown_since(octt, dials) == [NEW_PASSWORD], "no wrong one at each new link"
        octt.bench.network.password = THIRD_PASSWORD
        await cut(octt)
        assert shown(octt) == ("SIM-1", THIRD_PASSWORD), "not given up"

    case(scene)


def shown_since(octt: Octt, dials: int) -> list[str | None]:
    """The passwords of all dials after the first `dials`."""
    return [credentials.password for _, _, credentials in octt.bench.network.dials[dials:]]


def test_a_csms_that_was_down_for_an_hour_is_shown_the_new_password() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        octt.bench.network.password = NEW_PASSWORD
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await octt.bench.network.drop()
        await asyncio.sleep(3600)
        down = shown_since(octt, dials)
        assert len(down) > 10
        assert down[:PATIENCE] == [NEW_PASSWORD] * PATIENCE
        assert down.count(PASSWORD) <= len(down) / PATIENCE, "one now and then"
        dials = len(octt.bench.network.dials)
        await octt.bench.network.accept()
        await octt.csms.wait_connected(timeout_s=2 * LONGEST_WAIT_S)
        assert len(shown_since(octt, dials)) <= 2
        assert shown(octt) == ("SIM-1", NEW_PASSWORD)

    case(scene)


def test_a_power_cut_before_the_answer_leaves_the_password_that_the_csms_knows() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        asking = asyncio.create_task(set_password(octt, NEW_PASSWORD))
        await octt.bench.until(lambda: is_kept(octt))
        await octt.bench.power_cut()
        asking.cancel()
        await asyncio.wait([asking])
        dials = len(octt.bench.network.dials)
        await octt.bench.start()
        await octt.booted()
        assert shown_since(octt, dials) == [NEW_PASSWORD, PASSWORD]

    case(scene)


def test_a_csms_that_sets_the_same_password_once_more_is_shown_it() -> None:
    """It had forgotten the first time."""

    async def scene(octt: Octt) -> None:
        await octt.booted()
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        assert shown_since(octt, dials) == [NEW_PASSWORD, PASSWORD]
        octt.bench.network.password = NEW_PASSWORD
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await connected_again(octt, dials)
        assert shown_since(octt, dials) == [NEW_PASSWORD], "at once"
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await asyncio.sleep(400)
        assert shown_since(octt, dials) == [], "it is in use already"

    case(scene)


def is_kept(octt: Octt) -> bool:
    return any(isinstance(effect, Save) and effect.key == KEY for effect in octt.bench.effects)


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_csms_that_refuses_in_another_way_than_by_401_is_reached(is_answered: bool) -> None:
    """By 404, or by a link that is opened and closed without a word."""

    async def scene(octt: Octt) -> None:
        await octt.booted()
        octt.bench.network.refusal = ""
        octt.bench.network.opens_to_strangers = not is_answered
        dials = len(octt.bench.network.dials)
        assert await set_password(octt, NEW_PASSWORD) == "Accepted"
        await octt.bench.until(lambda: len(octt.bench.network.dials) > dials, RECONNECT_S)
        await octt.bench.until(lambda: shown(octt)[1] == PASSWORD, 3600)
        await octt.csms.wait_connected()
        await octt.expect_none("BootNotification")

    case(scene)


def test_a_password_that_worked_drives_the_one_before_out() -> None:
    async def scene(octt: Octt) -> None:
        await octt.booted()
        for password in (NEW_PASSWORD, THIRD_PASSWORD):
            dials = len(octt.bench.network.dials)
            octt.bench.network.password = password
            assert await set_password(octt, password) == "Accepted"
            await connected_again(octt, dials)
            await asyncio.sleep(400)
        octt.bench.network.password = NEW_PASSWORD
        octt.bench.network.cut()
        await asyncio.sleep(2000)
        tried = [dial[2].password for dial in octt.bench.network.dials[-4:]]
        assert set(tried) == {THIRD_PASSWORD, PASSWORD}

    case(scene)
