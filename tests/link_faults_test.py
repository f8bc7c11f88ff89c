"""The link under attack: the whole agent on real sockets, one row for each way a network or a CSMS
fails. In each, the station charges on; when the fault ends it is back within a bound, and every
event has arrived once, in order.

Virtual time: loopback delivers at once, so waiting is all that is left out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from websockets.asyncio.server import serve

from hil.loopback import (
    LONGEST_WAIT_S,
    Loopback,
    charge,
    charge_again,
    check,
    run,
    stop_charge,
)
from hil.parts import proxy as weather
from hil.parts.certificates import HAS_OPENSSL, Authority
from hil.parts.csms import Delayed, Refused, Silent
from hil.parts.proxy import Fault

ACTIONS = (
    "BootNotification",
    "StatusNotification",
    "TransactionEvent",
    "Authorize",
    "Heartbeat",
    "SecurityEventNotification",
)
OPEN_TIMEOUT_S = 20.0
AFTER_REFUSAL_S = LONGEST_WAIT_S + 5
"""Back after a fault that let each attempt fail at once: one wait, boot or not, the drain."""
AFTER_HANG_S = OPEN_TIMEOUT_S + LONGEST_WAIT_S + 5
"""Back after a fault that let each attempt hang: it may end in the middle of one."""


# --- the table --------------------------------------------------------------------------------

Do = Callable[[Loopback], Awaitable[None]]


class Row(Struct, frozen=True):
    """One fault. While it lasts, a charge ends, and another begins where `sells`."""

    begin: Do
    says: str
    """What the technician reads in the journal meanwhile; empty: nothing."""
    back_s: float
    """Online with an empty queue so soon after the end of the fault, at the latest."""
    sells: bool = True
    """A card that the CSMS accepted before starts a charge meanwhile."""
    end: Do = lambda rig: rig.proxy.end()
    lasts_s: float = 240.0
    has_tls: bool = False
    stays_up: bool = False
    """The link survives it."""


def now(fault: Fault) -> Do:
    return lambda rig: rig.proxy.begin(fault)


def then(fault: Fault) -> Do:
    return lambda rig: rig.strike(fault)


def http(status: str, *headers: str, body: str = "") -> Do:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return then(Fault(reply="\r\n".join(lines).encode()))


async def lose_dns(rig: Loopback) -> None:
    rig.has_dns = False
    await rig.strike(weather.NONE)


async def find_dns(rig: Loopback) -> None:
    rig.has_dns = True


async def speak_16(rig: Loopback) -> None:
    """Another server answers there: it knows OCPP 1.6 only."""
    other = await rig.stack.enter_async_context(
        serve(lambda c: c.wait_closed(), "127.0.0.1", 0, select_subprotocol=lambda c, o: None)
    )
    rig.proxy.target_port = other.sockets[0].getsockname()[1]
    await rig.strike(weather.NONE)


async def speak_201(rig: Loopback) -> None:
    rig.proxy.target_port = rig.server.port


def answers(answer: Any, *actions: str) -> Do:
    async def begin(rig: Loopback) -> None:
        rig.bench.csms.message_timeout_s = 25.0
        rig.bench.csms.answer.update(dict.fromkeys(actions or ACTIONS, answer))

    return begin


async def as_usual(rig: Loopback) -> None:
    rig.bench.csms.answer.clear()


GARBAGE = ("hello", "[]", '[3,"nobody",{}]', "[4]", '{"a":1}', "\x00", '[3,"', "[" * 200)


async def talk_garbage(rig: Loopback) -> None:
    csms, frames = rig.bench.csms, cycle(GARBAGE)
    sending: set[asyncio.Task[None]] = set()

    def answer(payload: Any) -> Silent:
        task = asyncio.create_task(csms.send_text(next(frames)))
        sending.add(task)
        task.add_done_callback(sending.discard)
        return Silent()

    await answers(answer)(rig)


PORTAL = "<html><title>Free WiFi</title>Accept our terms</html>"
ROWS = {
    # the network
    "refused": Row(now(weather.REFUSE), "nothing listens", AFTER_REFUSAL_S),
    "reset": Row(now(weather.RESET), "cut the connection|broke", AFTER_REFUSAL_S),
    "accept, then close": Row(now(weather.ACCEPT_CLOSE), "speak HTTP|broke", AFTER_REFUSAL_S),
    "DNS gone": Row(lose_dns, "cannot be resolved", AFTER_REFUSAL_S, end=find_dns),
    "black hole": Row(now(weather.BLACK_HOLE), "no pong|no answer within", AFTER_HANG_S),
    "half-open: the CSMS is gone": Row(now(weather.HALF_OPEN), "no pong|no answer", AFTER_HANG_S),
    "half-open: nothing goes up": Row(now(weather.DEAF), "no pong|no answer", AFTER_HANG_S),
    "half-open: nothing comes down": Row(now(weather.DUMB), "no pong|no answer", AFTER_HANG_S),
    "the window is shut": Row(now(weather.STALL), "no pong|no answer", AFTER_HANG_S),
    "RST in the handshake": Row(then(Fault(cut_after=100)), "speak HTTP", AFTER_REFUSAL_S),
    "RST in a frame": Row(now(Fault(cut_after=300)), "without a goodbye", AFTER_REFUSAL_S),
    "garbage in the stream": Row(
        # each dial meets garbage, too, and hangs; by the draw of the pauses it is back in 2 to 71 s
        now(Fault(garbage=b"\xff\xff\xff\xff garbage")), "error in the websocket", AFTER_HANG_S
    ),
    "garbage in the handshake": Row(
        then(Fault(garbage=b"\x00\xff\r\n\r\n")), "speak HTTP", AFTER_REFUSAL_S
    ),
    "a byte every two seconds": Row(then(Fault(drip_s=2.0)), "no answer within", AFTER_HANG_S),
    "five seconds of latency": Row(now(Fault(delay_s=2.5)), "", 30.0, stays_up=True),
    "TLS hangs": Row(then(weather.DUMB), "no answer within", AFTER_HANG_S, has_tls=True),
    "RST in TLS": Row(then(Fault(cut_after=50)), "cut|TLS", AFTER_REFUSAL_S, has_tls=True),
    "TLS gets HTTP": Row(http("400 Bad"), "TLS failed", AFTER_REFUSAL_S, has_tls=True),
    # what answers instead of the CSMS
    "redirect": Row(http("302 Found", "Location: ws://else"), "redirects", AFTER_REFUSAL_S),
    "401": Row(http("401 Unauthorized"), "refused the password", AFTER_REFUSAL_S),
    "404": Row(http("404 Not Found"), "does not know this address", AFTER_REFUSAL_S),
    "500": Row(http("500 Oops"), "HTTP 500", AFTER_REFUSAL_S),
    "503": Row(http("503 Away", "Retry-After: 9999999"), "HTTP 503", AFTER_REFUSAL_S),
    "captive portal": Row(http("200 OK", body=PORTAL), "login page", AFTER_REFUSAL_S),
    "wrong subprotocol": Row(speak_16, "did not agree", AFTER_REFUSAL_S, end=speak_201),
    # the CSMS itself
    "answers nothing": Row(
        answers(Silent()), "was not answered", 130.0, end=as_usual, lasts_s=600.0
    ),
    "answers events never": Row(
        answers(Silent(), "TransactionEvent"), "", 130.0, end=as_usual, lasts_s=100.0,
        stays_up=True,
    ),
    "answers events late, after the resend": Row(
        answers(Delayed(45.0), "TransactionEvent"), "", 60.0, end=as_usual, stays_up=True
    ),
    "refuses events for a minute": Row(
        answers(Refused("InternalError"), "TransactionEvent"), "", 60.0, end=as_usual,
        lasts_s=60.0, stays_up=True,
    ),
    "answers events with {}": Row(
        answers({}, "TransactionEvent"), "", 5.0, end=as_usual, stays_up=True
    ),
    "answers events in a wrong shape": Row(
        answers({"idTokenInfo": {"status": 5}}, "TransactionEvent"), "cannot be used", 5.0,
        end=as_usual, stays_up=True,
    ),
    "talks garbage": Row(talk_garbage, "bad frame", 130.0, end=as_usual, lasts_s=600.0),
}  # fmt: skip


async def live_through(rig: Loopback, row: Row) -> None:
    """One charge that ends and one that begins while the fault lasts, and what came of them."""
    loop = asyncio.get_running_loop()
    began_wh = {n: rig.bench.board.meter(n).energy_wh for n in (1, 2)}
    await charge(rig, 1)
    dials = len(rig.dials_s)
    rig.bench.effects.clear()
    struck_s = loop.time()
    await row.begin(rig)
    await asyncio.sleep(20)
    assert rig.charges(1), "the fault ended the charge"
    await stop_charge(rig, 1)
    if row.sells:
        await charge(rig, 2, row.lasts_s)
    await asyncio.sleep(max(0.0, struck_s + row.lasts_s - loop.time()))
    says = "\n".join(rig.journal())
    assert any(word in says for word in row.says.split("|")), says
    await row.end(rig)
    await rig.until(rig.is_back, row.back_s, "back")
    assert (len(rig.dials_s) == dials) is row.stays_up
    await charge_again(rig, 2)
    await rig.until(rig.is_back, 5, "the last events")
    check(rig, began_wh)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority | None:
    if not HAS_OPENSSL:
        return None
    return Authority(Path(tmp_path_factory.mktemp("pki")) / "root")


@pytest.mark.parametrize("name", ROWS)
def test_the_station_charges_on_is_back_in_time_and_loses_nothing(
    name: str, authority: Authority | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ROWS[name]
    if row.has_tls:
        if authority is None:
            pytest.skip("needs the program openssl; install the Debian package openssl")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.roots))

    async def scene(rig: Loopback) -> None:
        await live_through(rig, row)

    run(scene, authority if row.has_tls else None)


# --- how often, how loud, how much ---------------------------------------------------------------


@pytest.mark.parametrize(("minimum_s", "at_least_s"), [("0", 1.0), ("5", 5.0)])
@pytest.mark.parametrize("kind", ["before the handshake", "after it"])
def test_who_accepts_and_closes_in_a_loop_is_not_dialled_sooner_than_allowed(
    kind: str, minimum_s: str, at_least_s: float
) -> None:
    async def hang_up(connection: Any) -> None:
        await connection.close()

    async def scene(rig: Loopback) -> None:
        if kind == "after it":
            other = await rig.stack.enter_async_context(
                serve(hang_up, "127.0.0.1", 0, subprotocols=["ocpp2.0.1"])
            )
            rig.proxy.target_port = other.sockets[0].getsockname()[1]
            await rig.strike(weather.NONE)
        else:
            await rig.proxy.begin(weather.ACCEPT_CLOSE)
        before = len(rig.dials_s)
        await asyncio.sleep(300)
        gaps = [b - a for a, b in pairwise(rig.dials_s[before - 1 :])]
        assert len(gaps) >= 3
        assert min(gaps) >= at_least_s
        assert len(gaps) <= 301 / at_least_s
        assert len(rig.journal()) <= 4

    run(scene, RetryBackOffWaitMinimum=minimum_s, RetryBackOffRandomRange="0")


def test_half_an_hour_without_the_csms_is_four_lines_in_the_journal() -> None:
    async def scene(rig: Loopback) -> None:
        await rig.proxy.begin(weather.REFUSE)
        rig.bench.effects.clear()
        began = len(rig.dials_s)
        await asyncio.sleep(1900)
        lines = rig.journal()
        assert len(rig.dials_s) - began > 20
        assert 4 <= len(lines) <= 5, lines
        assert "failed attempts: " in lines[-1]

    run(scene)


def test_an_event_refused_to_the_end_is_set_aside_and_the_next_one_goes() -> None:
    async def scene(rig: Loopback) -> None:
        rig.bench.csms.gaps_allowed = True
        await answers(Refused("InternalError"), "TransactionEvent")(rig)
        await charge(rig, 1)
        await asyncio.sleep(600)
        await stop_charge(rig, 1)
        await as_usual(rig)
        await rig.until(rig.is_back, 60, "back")
        events = {c.message_id: c for c in rig.bench.csms.calls if c.action == "TransactionEvent"}
        numbers = [call.payload["seqNo"] for call in events.values()]
        assert numbers == list(range(len(numbers)))
        assert 0 < rig.bench.agent.status()["set_aside"] < len(numbers)
        assert len(rig.dials_s) == 1

    run(scene, **{"MessageAttempts[TransactionEvent]": "2"})


def test_a_csms_that_falls_silent_during_a_charge_has_refused_nothing() -> None:
    async def scene(rig: Loopback) -> None:
        began_wh = {n: rig.bench.board.meter(n).energy_wh for n in (1, 2)}
        await charge(rig, 1)
        await answers(Silent())(rig)
        await asyncio.sleep(600)
        assert rig.charges(1)
        await as_usual(rig)
        await rig.until(rig.is_back, 130, "back")
        await stop_charge(rig, 1)
        await rig.until(rig.is_back, 5, "the last events")
        check(rig, began_wh)

    run(scene)


def test_a_heartbeat_shorter_than_the_latency_does_not_starve_the_events() -> None:
    async def scene(rig: Loopback) -> None:
        row = Row(now(Fault(delay_s=2.0)), "", 90.0, stays_up=True)
        await live_through(rig, row)

    run(scene, HeartbeatInterval="3")


def test_a_csms_that_asks_without_end_and_reads_nothing_is_left_in_time() -> None:
    async def scene(rig: Loopback) -> None:
        csms = rig.bench.csms
        get = '{"requestId":1,"reportBase":"FullInventory"}'
        await rig.proxy.begin(Fault(stalls=True))
        for number in range(3000):
            if not csms.is_connected:
                break
            await csms.send_text(f'[2,"ask-{number}","GetBaseReport",{get}]')
            await asyncio.sleep(0.05)
        assert not csms.is_connected
        assert "no pong within" in rig.journal()[-1]
        await rig.proxy.end()
        await rig.until(rig.is_back, AFTER_HANG_S, "back")
        await charge_again(rig, 1)

    run(scene)
