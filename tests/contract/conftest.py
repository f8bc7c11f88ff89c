"""The rigs: CHARGEPOINT_RIG=rig.yaml adds a real controller or meter to the simulated ones."""

import os
from collections.abc import Awaitable, Callable

import pytest

from drivers.registry import roles_of
from tests.contract.real_rig import RealRig, rig_file
from tests.contract.rigs import SIMULATED, Rig, Watch

Scenario = Callable[[Rig, Watch], Awaitable[None]]


def is_real(role: str) -> bool:
    """The rig file is of such a device: "pilot" or "meter"."""
    path = os.environ.get("CHARGEPOINT_RIG")
    return bool(path) and role in roles_of(rig_file(str(path)).device)[:1]


NAMES = [*SIMULATED, *(["real"] if is_real("pilot") else [])]


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
