import pytest

from drivers.bus.place import Host, host_of


@pytest.mark.parametrize(
    ("port", "host"),
    [
        ("/dev/serial/by-id/usb-bus", None),
        ("tcp://192.168.1.9", Host("tcp", "192.168.1.9", 502)),
        ("tcp://meter.local:1502", Host("tcp", "meter.local", 1502)),
        ("rtu-tcp://[fe80::1]:4196", Host("rtu-tcp", "fe80::1", 4196)),
    ],
)
def test_a_port_names_a_device_or_a_host(port: str, host: Host | None) -> None:
    assert host_of(port) == host


@pytest.mark.parametrize("port", ["udp://h", "tcp://", "tcp://h:0x", "tcp://h:70000", "tcp://u@h"])
def test_what_is_no_address_is_refused_with_an_example(port: str) -> None:
    with pytest.raises(ValueError, match="write "):
        host_of(port)
