"""Block P: datatransfer.

Not written yet: every CALL of it is answered NotSupported.
"""

from agent.ocpp.block import Incoming, OnEvent, OnResponse, Outgoing
from agent.ocpp.device_model import Variable

INCOMING: Incoming = {}
OUTGOING: Outgoing = {}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {}
VARIABLES: tuple[Variable, ...] = ()
