"""The rigs: CHARGEPOINT_RIG=rig.yaml adds a real controller to the simulated ones."""

import os
from collections.abc import Awaitable, Callable

import pytest

from tests.contract.real_rig import RealRig
from tests.contract.rigs import SIMULATED, Rig, Watch

Scenario = Callable[[Rig, Watch], Awaitable[None]]
NAMES = [*SIMULATED, *(["real"] if os.environ.get("CHARGEPOINT_RIG") else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A simulated rig is not given to a test of what its device does not have."""
    if "rig" not in metafunc.fixturenames:
        return
    wanted = {mark.args[0] for mark in metafunc.definition.iter_markers("feature")}
    fit = [name for name in NAMES if name == "real" or wanted <= SIMULATED[name]().features]
    metafunc.parametrize("rig", fit, indirect=True)


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "real":
        return RealRig(os.environ["CHARGEPOINT_RIG"])
    return SIMULATED[request.param]()


@pytest.fixture
def play(rig: Rig) -> Callable[[Scenario], None]:
    """Runs a scenario on the rig, in virtual time where it is simulated."""

    async def whole(scenario: Scenario) -> None:
        await rig.start()
        watch = Watch(rig)
        try:
            await scenario(rig, watch)
        finally:
            await watch.end()
            await rig.end()

    return lambda scenario: rig.run(whole(scenario))
