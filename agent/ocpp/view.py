"""What block handlers may look at: the charger, the variables, the connection, fixed facts."""

from collections.abc import Callable

from msgspec import Struct

from agent.core.events import CertificateChecked, RowsFound
from agent.core.station import Station
from agent.ocpp.certificates import Certificates
from agent.ocpp.charging.profiles import ChargingProfiles
from agent.ocpp.connection import Connection
from agent.ocpp.customers import Customers
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.firmware import Firmware
from agent.ocpp.network import Network
from agent.ocpp.passwords import Passwords
from agent.ocpp.security import SecurityMemory
from agent.ocpp.station_certificate import StationCertificate
from agent.ocpp.uploads import Uploads
from drivers.contract import Counters

Place = tuple[int, int]


class Plug(Struct, frozen=True):
    """What a connector is: ConnectorEnumType, and how many phases reach it."""

    type: str
    phases: int


class Facts(Struct, frozen=True):
    """What the technician's file says and no CSMS may change."""

    identity: str
    vendor: str
    model: str
    serial: str = ""
    firmware_version: str = ""
    voltage_v: float = 230.0
    phases_by_evse: dict[int, int] = {}
    plugs: dict[Place, Plug] = {}
    has_sftp: bool = False
    """Files go by SFTP, too."""
    queue_rows: int = 0
    """Messages that may wait for the CSMS; 0: not known."""

    def phases(self, evse_id: int) -> int:
        """Phases of the EVSE, 3 when not known (K01.FR.49)."""
        return self.phases_by_evse.get(evse_id, 3)


class View:
    """Read by handlers; each block changes only its own state, in ON_EVENT."""

    def __init__(
        self,
        station: Station,
        variables: DeviceModel,
        connection: Connection,
        profiles: ChargingProfiles,
        facts: Facts,
        set_aside: Callable[[], int] = lambda: 0,
        network: Network | None = None,
        passwords: Passwords | None = None,
        firmware: Firmware | None = None,
        cache_bytes: Callable[[], int] = lambda: 0,
        certificates: Certificates | None = None,
        station_certificate: StationCertificate | None = None,
        counters: Callable[[str], Counters | None] = lambda device: None,
    ) -> None:
        self.station = station
        self.variables = variables
        self.connection = connection
        self.profiles = profiles
        self.facts = facts
        self.set_aside = set_aside
        """Messages refused to the end, which wait for a human."""
        self.cache_bytes = cache_bytes
        """What the authorization cache takes."""
        self.counters = counters
        """What went wrong with a device, by its name in charger.yaml."""
        self.network = network or Network(facts.identity, connection.slots, {})
        self.rows_found: RowsFound | None = None
        """Block E: what the store said last of messages that wait."""
        self.passwords = passwords or Passwords({})
        self.firmware = firmware or Firmware({})
        self.uploads = Uploads()
        self.customers = Customers()
        self.told_status: dict[Place, str] = {}
        """Block G: what the CSMS was last told of each connector."""
        self.told_locks: dict[Place, bool] = {}
        """Block G: whether the CSMS was last told that a lock does not close."""
        self.last_event_id = 0
        """Of the last NotifyEvent."""
        self.certificates = certificates or Certificates({})
        self.station_certificate = station_certificate or StationCertificate({})
        self.certificates_checked: dict[str, CertificateChecked] = {}
        """What a job said last of a certificate, by the question."""
        self.security = SecurityMemory()
        """Block A: what was noted last."""
