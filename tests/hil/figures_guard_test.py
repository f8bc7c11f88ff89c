"""`make bench --parts guard`: its arithmetic, and a short run against the real agent."""

import asyncio

import pytest

from hil.figures import as_installed
from hil.figures_guard import Guarding, Stops, at_share, guard_figures, measure_guard


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 501.0), (0.99, 991.0), (0.999, 1000.0), (1.0, 1000.0)]
)
def test_a_share_of_a_distribution(share: float, value: float) -> None:
    assert at_share([float(n) for n in range(1, 1001)], share) == value


def test_the_distribution_and_what_went_on_meanwhile_are_told() -> None:
    idle = Stops([0.001] * 9 + [0.005], [0.0002] * 10, 0.004)
    loaded = Stops([0.002] * 9 + [0.021], [0.0003] * 10, 0.018)
    figures = guard_figures(Guarding(idle, loaded, 9_000, 12, 3, 8.5))
    idle_p999, idle_stall, loaded_p999, loaded_stall = figures
    assert (idle_p999.value, idle_stall.value) == (pytest.approx(5.0), pytest.approx(4.0))
    assert (loaded_p999.value, loaded_stall.value) == (pytest.approx(21.0), pytest.approx(18.0))
    assert "NOT met" in loaded_p999.line()
    assert "10 stops, ms: median 2.0, p99 21.0" in loaded_p999.note
    assert "a bare process at the same time: 10 bytes, ms: median 0.3" in loaded_p999.note
    assert "9000 events drained, 12 inventories, 3 uploads" in loaded_stall.note
    assert "the machine is shared: load average 8.5" in loaded_stall.note


def test_a_short_run_against_the_real_agent_is_measured() -> None:
    with as_installed():
        found = asyncio.run(measure_guard(stops=1, met_s=0.0))
    for stops in (found.idle, found.loaded):
        assert len(stops.took_s) == 1
        assert len(stops.bare_s) > 2
        assert min(stops.took_s) > 0
        assert stops.stall_s > 0
    assert found.drained > 0
    assert found.reports > 0
