"""The variables of block A."""

from agent.ocpp.blocks.a_security.certificate import MAX_CHAIN_SIZE
from agent.ocpp.device_model import Variable
from agent.ocpp.view import View


def _security_profile(view: View) -> str:
    connection = view.connection
    return str(connection.slots[connection.slot].security_profile)


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "SecurityCtrlr",
        "Identity",
        max_length=48,
        mutability="ReadOnly",
        read=lambda view: view.facts.identity,
    ),
    Variable(
        "SecurityCtrlr",
        "OrganizationName",
        max_length=64,
        resolve=lambda view, kept: kept or view.facts.vendor,
    ),
    Variable(
        "SecurityCtrlr",
        "BasicAuthPassword",
        min_length=16,
        max_length=64,
        mutability="WriteOnly",
        secret=True,
    ),
    Variable(
        "SecurityCtrlr",
        "SecurityProfile",
        data_type="integer",
        mutability="ReadOnly",
        read=_security_profile,
    ),
    Variable(
        "SecurityCtrlr",
        "AllowCSMSTLSWildcards",
        data_type="boolean",
        default="false",
    ),
    Variable(
        "SecurityCtrlr",
        "MaxCertificateChainSize",
        data_type="integer",
        max_limit=MAX_CHAIN_SIZE,
        mutability="ReadOnly",
        persistent=False,
        default=str(MAX_CHAIN_SIZE),
    ),
    Variable(
        "SecurityCtrlr",
        "CertSigningWaitMinimum",
        data_type="integer",
        unit="s",
        min_limit=1,
        max_limit=86_400,
        default="300",
    ),
    Variable(
        "SecurityCtrlr",
        "CertSigningRepeatTimes",
        data_type="integer",
        min_limit=0,
        max_limit=16,
        default="5",
    ),
    Variable(
        "ClockCtrlr",
        "TimeAdjustmentReportingThreshold",
        data_type="integer",
        unit="s",
        min_limit=1,
        max_limit=86_400,
        default="20",
    ),
)
