"""The technician's file, typed. What each key means stands beside it; `settings_load` reads it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from drivers.contract import DeviceOptions, SerialLine

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,50}$")]


class Station(Struct, frozen=True, forbid_unknown_fields=True):
    """Who this charger is."""

    identity: Annotated[str, Meta(min_length=1, max_length=48, pattern="^[^:]*$")]
    """Name of the station at the CSMS; no colon (OCPP-J 3.1.1)."""
    vendor: Annotated[str, Meta(min_length=1, max_length=50)]
    model: Annotated[str, Meta(min_length=1, max_length=20)]
    serial: Annotated[str, Meta(max_length=25)] = ""
    firmware_version: Annotated[str, Meta(max_length=50)] = ""
    firmware_version_file: str | None = None
    """File of the image that names its own version, read at every start, so that the CSMS hears the
    new one after an update: IMAGE_VERSION or VERSION_ID of an os-release file, else the first
    line. Where it names none, firmware_version counts."""


class CsmsEndpoint(Struct, frozen=True, forbid_unknown_fields=True):
    """A back end; the first one is used first, the others are fallbacks."""

    url: Annotated[str, Meta(pattern="^wss?://[^/]+", max_length=512)]
    """Endpoint without the identity, which is added: wss://csms.example.com/ocpp. Where the CSMS
    wants it elsewhere, or a slash behind it: wss://csms.example.com/ocpp/{identity}/."""
    password: Annotated[str, Meta(min_length=16, max_length=64)] | None = None
    """Better: password_file, or the systemd credential csms-password."""
    password_file: str | None = None
    security_profile: Literal[1, 2, 3] | None = None
    """1: ws:// and password; 2: wss:// and password; 3: wss:// and the station's own certificate.
    Default: 1 for ws://, 2 for wss://, 3 where security.certificate_file is given, too."""
    lab_unsecured: bool = False
    """Allows ws:// without a password. For a desk only."""


class Security(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates to begin with: each file is taken over once, then the CSMS keeps them."""

    ca_file: str | None = None
    """PEM of the roots that may sign the certificate of the CSMS. Default: those of the system,
    until the CSMS installs one."""
    manufacturer_ca_file: str | None = None
    """PEM of the maker's roots that may sign the certificates firmware is signed with, from the
    factory on; the CSMS may install more (ManufacturerRootCertificate)."""
    certificate_file: str | None = None
    """PEM of this station's own certificate with its chain, itself first (security profile 3)."""
    key_file: str | None = None
    """Its private key, or the handle of one in a TPM; stays where it is, mode 0600."""
    known_hosts_file: str | None = None
    """Keys of the SFTP servers that files may be fetched from and sent to, as OpenSSH keeps them
    (`ssh-keyscan HOST`); without it there is no SFTP. Needs the package's extra `sftp`."""
    additional_root_check: bool = False
    """AdditionalRootCertificateCheck: one root for the CSMS at a time, and a new one must be signed
    by the one it replaces."""


class Supply(Struct, frozen=True, forbid_unknown_fields=True):
    """The site's supply that all EVSEs share."""

    current_a: Annotated[float, Meta(ge=6, le=6000)]
    """Current per phase that the fuse allows for all EVSEs together."""
    phases: Literal[1, 3] = 3
    voltage_v: Annotated[float, Meta(ge=100, le=300)] = 230.0


class Connector(Struct, frozen=True, forbid_unknown_fields=True):
    """One plug or socket."""

    id: Annotated[int, Meta(ge=1, le=16)]
    pilot: Name
    """Name under `devices` of its pilot controller."""
    cable: Literal["fixed", "socket"] = "fixed"
    current_a: Annotated[float, Meta(ge=6, le=125)] = 32.0
    """Rated current per phase."""
    phases: Literal[1, 3] = 3
    type: str = "cType2"
    """ConnectorEnumType of OCPP, for example cType2, sType2."""


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    """A digital input of a device."""

    device: Name
    input: Name


class Evse(Struct, frozen=True, forbid_unknown_fields=True):
    """One charge point: charges one EV at a time through one of its connectors."""

    id: Annotated[int, Meta(ge=1, le=64)]
    connectors: Annotated[tuple[Connector, ...], Meta(min_length=1, max_length=16)]
    meter: Name
    """Name under `devices` of its energy meter; or, where no energy is sold, of its own pilot
    controller, if that is an OpenEVSE with an ammeter and the connector has one phase."""
    bay_sensor: Input | None = None
    """Active while an EV stands in the parking bay."""
    start_button: Input | None = None
    """Starts a charge without identification, and ends it."""


class ComponentName(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None
    evse: int | None = None
    connector: int | None = None


class VariableName(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=50)]
    instance: Annotated[str, Meta(max_length=50)] | None = None


class FirstValue(Struct, frozen=True, forbid_unknown_fields=True):
    """First value of an OCPP variable, used once, on an empty store."""

    component: ComponentName
    variable: VariableName
    value: Annotated[str, Meta(max_length=2500)]
    attribute: Literal["Actual", "Target", "MinSet", "MaxSet"] = "Actual"


class Ocpp(Struct, frozen=True, forbid_unknown_fields=True):
    variables: tuple[FirstValue, ...] = ()


class CommandInstaller(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="command"
):
    """Installs by a program of the maker's."""

    command: Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)]
    """Program and arguments; the path of the verified file is added. Exit status 0: installed,
    2: the file is no good. A line such as `40 %` on its output is shown as progress."""
    confirm: tuple[str, ...] = ()
    """Asked after the restart: exit status 0 when the new firmware runs. None: it is believed."""
    restart: Literal["board", "process", "none"] = "board"
    """What has to start anew for the new firmware to run."""
    timeout_s: Annotated[float, Meta(ge=1, le=86_400)] = 1800.0


class RaucInstaller(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rauc"):
    """Installs RAUC bundles over D-Bus; needs the extra `rauc` of this package."""

    bus: str = ""
    """Address of the D-Bus; the system's where it is empty."""
    timeout_s: Annotated[float, Meta(ge=1, le=86_400)] = 1800.0


class Firmware(Struct, frozen=True, forbid_unknown_fields=True):
    """How UpdateFirmware of the CSMS is carried out (OCPP L01, L02)."""

    installer: CommandInstaller | RaucInstaller
    unsigned: bool = False
    """Accept updates without OCPP signature: only where the installer itself checks the maker's."""
    largest_mb: Annotated[int, Meta(ge=1, le=65_536)] = 1024
    """A file that is larger is not fetched."""


class Safety(Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided for this place beside the ratings; docs/safety.md says who keeps it."""

    rcd_needs_service: bool = False
    """After a residual current the charge is over and never goes on by itself. true, for public
    places: the connector stays out of order, too, until `chargepoint service` was called."""
    random_delay_s: Annotated[int, Meta(ge=0, le=1800)] = 0
    """Most that is waited, by chance, before load comes back: after a loss of mains, and where a
    schedule of the CSMS allows a running charge more. 600 in Great Britain."""
    csms_silent_s: Annotated[int, Meta(ge=0, le=604_800)] = 0
    """After this long without the CSMS no more than failsafe_a is offered; 0: no such rule."""
    failsafe_a: Annotated[float, Meta(ge=0, le=125)] = 6.0
    """A per phase at each connector; 0: nothing. From 0 to 6 it is nothing, too."""
    derate_from_c: Annotated[int, Meta(ge=40, le=120)] | None = None
    """Temperature of the controller above which less is offered. Default: the controller alone
    looks after its temperature."""
    stop_at_c: Annotated[int, Meta(ge=41, le=150)] = 80
    """Temperature at which nothing is offered any more, until it is down at derate_from_c."""
    wake_up_s: Annotated[int, Meta(ge=0, le=3600)] = 30
    """An EV that does not take its offer for this long is woken once by a pause of the offer; 0:
    never."""


class EnergyManager(Struct, frozen=True, forbid_unknown_fields=True):
    """A program of this place that says how much may be drawn, by `chargepoint limit` or over the
    console socket (docs/local-limit.md). It can lower what is offered, never raise it."""

    silent_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    """After so long without a word no more than failsafe_a is offered until there is one; also
    after a start, and where a limit ran out."""
    failsafe_a: Annotated[float, Meta(ge=0, le=6000)] = 6.0
    """A per phase for all EVSEs together; 0: nothing. From 0 to 6 it is nothing, too."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """charger.yaml."""

    station: Station
    csms: Annotated[tuple[CsmsEndpoint, ...], Meta(min_length=1, max_length=8)]
    supply: Supply
    evses: Annotated[tuple[Evse, ...], Meta(min_length=1, max_length=64)]
    devices: dict[str, DeviceOptions]
    main_meter: Name | None = None
    """Name under `devices` of the meter at the station's grid connection, where there is one; it
    measures for the CSMS (as EVSE 0) and never stops a charge."""
    reset: Literal["process", "board"] = "process"
    """What a Reset of the station by the CSMS starts anew: the agent, or the whole board."""
    lines: dict[str, SerialLine] = field(default_factory=dict)
    """RS-485 lines by name; several devices may share one."""
    safety: Safety = Safety()
    energy_manager: EnergyManager | None = None
    """Without it nobody but the CSMS steers this station."""
    security: Security = Security()
    data_directory: str = "/var/lib/chargepoint"
    console_socket: str | None = None
    """Default: console.sock in the data directory."""
    queue_rows: Annotated[int, Meta(ge=1_000, le=5_000_000)] = 50_000
    """Messages that may wait for the CSMS, about 1 kB each; above it intermediate meter values are
    thinned out (E04.FR.08), starts and ends of transactions never."""
    ocpp: Ocpp = Ocpp()
    firmware: Firmware | None = None
    """Without it the CSMS cannot update this station."""
