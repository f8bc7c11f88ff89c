"""What a CSMS can make the journal write."""

from msgspec.structs import replace

from agent.core.effects import Log, SendFrame, SetAside
from agent.core.events import Now
from agent.ocpp.chatter import LINE_EVERY_S, LINES_AT_ONCE, Chatter
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")


def at(mono_s: float) -> Now:
    return replace(NOW, mono_s=mono_s)


def lines(chatter: Chatter, count: int, now: Now) -> list[str]:
    found = [chatter.thin([Log(4, "bad"), SendFrame("x")], now) for _ in range(count)]
    assert all(SendFrame("x") in effects for effects in found)
    return [e.text for effects in found for e in effects if isinstance(e, Log)]


def test_a_flood_writes_few_lines_and_then_one_now_and_then() -> None:
    chatter = Chatter()
    assert lines(chatter, 1000, NOW) == ["bad"] * LINES_AT_ONCE
    assert lines(chatter, 1000, at(100.0 + LINE_EVERY_S)) == [
        "bad (970 lines like this were left out)"
    ]
    assert len(lines(chatter, 1000, at(100_000.0))) == LINES_AT_ONCE


def test_what_a_frame_may_always_tell() -> None:
    chatter = Chatter()
    lines(chatter, 1000, NOW)
    aside: list[object] = [SetAside(1, "refused"), Log(3, "set aside")]
    assert chatter.thin(aside, NOW) == aside
    assert chatter.thin([Log(6, "detail")], NOW) == [Log(6, "detail")]


def test_a_line_stays_a_line() -> None:
    (told,) = Chatter().thin([Log(5, "a\nfake line\x1b[2J" + "x" * 1000)], NOW)
    assert isinstance(told, Log)
    assert told.text.startswith("a?fake line?[2Jx")
    assert len(told.text) == 300
