"""Block J: which measurands may be asked for."""

import pytest

from agent.core.policy import Policy
from agent.ocpp.blocks import j_meter_values
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.meter_value import MEASURANDS

MODEL = DeviceModel(j_meter_values.VARIABLES, (), {})
SAMPLED = {"name": "SampledDataCtrlr"}


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("TxUpdatedMeasurands", "Voltage,Current.Import", "Accepted"),
        ("TxEndedMeasurands", "Energy.Active.Import.Register", "Accepted"),
        ("TxStartedMeasurands", "SoC", "Rejected"),
        ("TxUpdatedMeasurands", "Voltage,Nonsense", "Rejected"),
        ("TxUpdatedInterval", "0", "Accepted"),
        ("TxUpdatedInterval", "-1", "Rejected"),
        ("TxUpdatedInterval", "often", "Rejected"),
    ],
)
def test_only_what_the_meter_can_tell_is_accepted(name: str, value: str, status: str) -> None:
    assert MODEL.check(SAMPLED, {"name": name}, "Actual", value) == status


def test_the_defaults_are_measurands_we_have_and_the_policy_agrees() -> None:
    for name in ("TxStartedMeasurands", "TxUpdatedMeasurands", "TxEndedMeasurands"):
        assert set(MODEL.value("SampledDataCtrlr", name).split(",")) <= set(MEASURANDS)
    assert MODEL.policy().tx_updated_interval_s == Policy().tx_updated_interval_s
