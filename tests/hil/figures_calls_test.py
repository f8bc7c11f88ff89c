"""`make bench --parts calls`: its arithmetic, and a short run against the real agent."""

import asyncio

import pytest

from hil.figures import as_installed
from hil.figures_calls import ASKED, Calls, Inventory, call_figures, measure_calls


def test_calls_are_set_against_what_they_can_be_compared_with() -> None:
    calls = Calls(
        starts_s=[0.080, 0.020, 0.040],
        answer_s=0.002,
        inventories=[Inventory(0.05, 10, 2048, 0.004), Inventory(0.03, 10, 2048, 0.009)] * 2,
        ping_pong_s=0.001,
        idle_stall_s=0.001,
        questions=10_000,
        questions_s=20.0,
        before_kb=40_960,
        after_kb=42_496,
    )
    start, ratio, report, stall, memory = call_figures(calls)
    assert start.value == pytest.approx(40.0)
    assert "3 starts, ms: least 20.0, median 40.0, nine of ten below 80.0, most 80.0" in start.note
    assert ratio.value == pytest.approx(20.0)
    assert report.value == pytest.approx(4.0)
    assert "10 parts, 20 kB: 40.0 ms, as bare frames 10.0 ms" in report.note
    assert stall.value == pytest.approx(9.0)
    assert memory.value == pytest.approx(1.5)
    assert memory.name == "RSS after 10 000 incoming calls, more by"
    assert "41.5 MB against 40.0 MB; 500/s" in memory.note


def test_a_short_run_against_the_real_agent_is_measured() -> None:
    with as_installed():
        calls = asyncio.run(measure_calls(starts=1, reports=1, questions=len(ASKED)))
    assert len(calls.starts_s) == len(calls.inventories) == 1
    assert 0 < calls.answer_s < calls.starts_s[0]
    (inventory,) = calls.inventories
    assert inventory.parts * inventory.part_bytes > 10_000, "all of the device model"
    assert inventory.stall_s > 0
    assert calls.questions == len(ASKED)
    assert min(calls.before_kb, calls.after_kb) > 5_000
