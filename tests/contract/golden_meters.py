"""Registers of meters, worked out by hand from what their makers publish, and what they mean.

Nothing here comes from config/meters or from the driver's coding: each word is written as it would
stand on the wire, so that a mistake shared by map, driver and bench is seen.
"""

from typing import Any

from msgspec import Struct

HOLDING, INPUT = 3, 4


class Golden(Struct, frozen=True):
    """A meter's registers at one moment, by function and first address; gaps read 0."""

    words: dict[int, dict[int, tuple[int, ...]]]
    energy_wh: float
    voltage_v: tuple[float, ...] = ()
    current_a: tuple[float, ...] = ()
    power_w: float | None = None
    power_phase_w: tuple[float, ...] = ()
    frequency_hz: float | None = None
    serial: str = ""

    def reading(self) -> dict[str, Any]:
        """The fields of a MeterReading that are the meter's."""
        names = ("energy_wh", "voltage_v", "current_a", "power_w", "power_phase_w")
        return {name: getattr(self, name) for name in (*names, "frequency_hz", "serial")}


ONE_PHASE: dict[str, Any] = {
    "voltage_v": (230,),
    "current_a": (16,),
    "power_w": 3_680,
    "power_phase_w": (3_680,),
    "frequency_hz": 50,
}
THREE_PHASES: dict[str, Any] = {
    "voltage_v": (230, 230, 230),
    "current_a": (16, 16, 16),
    "power_w": 11_040,
    "power_phase_w": (3_680, 3_680, 3_680),
    "frequency_hz": 50,
}
"""What a charge at 16 A looks like; the registers differ, their meaning does not."""

GOLDEN = {
    # IEEE 754 single precision, high word first: 230.0 = 0x43660000, 16.0 = 0x41800000,
    # 3680.0 = 0x45660000, 50.0 = 0x42480000, 1234.5 = 0x449A5000, 11040.0 = 0x462C8000
    "eastron_sdm630_v2": Golden(
        {
            INPUT: {
                0: (0x4366, 0, 0x4366, 0, 0x4366, 0),
                6: (0x4180, 0, 0x4180, 0, 0x4180, 0),
                12: (0x4566, 0, 0x4566, 0, 0x4566, 0),
                52: (0x462C, 0x8000),
                70: (0x4248, 0),
                72: (0x449A, 0x5000),  # kWh
            },
            HOLDING: {0xFC00: (0x0123, 0x4567)},
        },
        energy_wh=1_234_500,
        serial="19088743",
        **THREE_PHASES,
    ),
    # The same numbers, low word first, in holding registers, Wh: 1234500.0 = 0x4996B220
    "phoenix_eem_ma370": Golden(
        {
            HOLDING: {
                0x8006: (0, 0x4366, 0, 0x4366, 0, 0x4366),
                0x800C: (0, 0x4248),
                0x800E: (0, 0x4180, 0, 0x4180, 0, 0x4180),
                0x8016: (0x8000, 0x462C),
                0x801E: (0, 0x4566, 0, 0x4566, 0, 0x4566),
                0x8100: (0xB220, 0x4996),
            }
        },
        energy_wh=1_234_500,
        **THREE_PHASES,
    ),
    # INT32, low word first: 2300 (0.1 V), 16000 mA, 36800 (0.1 W) = 0x8FC0, 110400 = 0x0001AF40,
    # -36800 = 0xFFFF7040, -16000 = 0xFFFFC180; 765432 hWh = 0x000BADF8; serial in seven registers
    # of two letters
    "carlo_gavazzi_em340": Golden(
        {
            INPUT: {
                0: (2300, 0, 2310, 0, 2290, 0),
                0x0C: (16_000, 0, 0xC180, 0xFFFF, 16_000, 0),
                0x12: (0x8FC0, 0, 0x7040, 0xFFFF, 0x8FC0, 0),
                0x28: (0x8FC0, 0),
                0x33: (500,),
                0x34: (0xADF8, 0x000B),
                0x5000: (0x4259, 0x3132, 0x3334, 0x3536, 0x3700, 0, 0),
            }
        },
        energy_wh=76_543_200,
        voltage_v=(230, 231, 229),
        current_a=(16, 16, 16),
        power_w=3_680,
        power_phase_w=(3_680, -3_680, 3_680),
        frequency_hz=50,
        serial="BY1234567",
    ),
    # One phase; the serial number has one letter in the low byte of each register
    "carlo_gavazzi_em111": Golden(
        {
            INPUT: {
                0: (2300, 0),
                2: (16_000, 0),
                4: (0x8FC0, 0),
                0x0B: (103,),
                0x0F: (500,),
                0x10: (0xADF8, 0x000B),
                0x5000: (0x42, 0x59, 0x31, 0x32, 0x33, 0x34, 0x35),
            }
        },
        energy_wh=76_543_200,
        serial="BY12345",
        **ONE_PHASE,
    ),
    # INT64 in Wh, low word first: 5000000000 = 0x0000_0001_2A05_F200
    "carlo_gavazzi_em580": Golden(
        {
            INPUT: {
                0: (2300, 0, 2310, 0, 2290, 0),
                0x0C: (16_000, 0, 16_000, 0, 16_000, 0),
                0x12: (0x8FC0, 0, 0x8FC0, 0, 0x8FC0, 0),
                0x28: (0xAF40, 0x0001),
                0x33: (500,),
                0x0500: (0xF200, 0x2A05, 0x0001, 0x0000),
                0x5000: (0x4259, 0x3132, 0x3334, 0x3536, 0x3700, 0, 0),
            }
        },
        energy_wh=5_000_000_000,
        serial="BY1234567",
        **(THREE_PHASES | {"voltage_v": (230, 231, 229)}),
    ),
    # UINT64 in 10 Wh, UINT32 and INT32, high word first; L2 and L3 are not measured (all ones)
    "abb_b23": Golden(
        {
            HOLDING: {
                0x5000: (0, 0, 0x0001, 0xE23A),  # 123450
                0x5B00: (0, 2300, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF),
                0x5B0C: (0, 1600, 0, 0, 0, 0),
                0x5B14: (0xFFFA, 0x6280, 0xFFFA, 0x6280, 0x7FFF, 0xFFFF, 0x7FFF, 0xFFFF),
                0x5B2C: (5000,),
                0x8900: (0x0001, 0x0002),
            }
        },
        energy_wh=1_234_500,
        current_a=(16, 0, 0),
        power_w=-3_680,  # -368000 = 0xFFFA6280
        frequency_hz=50,
        serial="65538",
    ),
    # INT64 in Wh and floats in kW, high word first: 11.04 kW = 0x4130A3D7, 3.68 = 0x406B851F
    "schneider_iem3155": Golden(
        {
            HOLDING: {
                2999: (0x4180, 0, 0x4180, 0, 0x4180, 0),
                3027: (0x4366, 0, 0x4366, 0, 0x4366, 0),
                3053: (0x406B, 0x851F, 0x406B, 0x851F, 0x406B, 0x851F),
                3059: (0x4130, 0xA3D7),
                3109: (0x4248, 0),
                3203: (0, 0x0001, 0x2A05, 0xF200),
                129: (0x0123, 0x4567),
            }
        },
        energy_wh=5_000_000_000,
        serial="19088743",
        **THREE_PHASES,
    ),
    # Decimal floats: 0xFF is times 10^-1, 0xFE 10^-2; T6 is signed: -36800 = 0xFF7040 in 24 bits.
    # The counter is an INT32 times ten to the power that stands elsewhere (-1).
    "iskra_wm3m4c": Golden(
        {
            INPUT: {
                9: (0x3132, 0x3334, 0x3536, 0x3738),
                105: (0xFE00, 5000),
                107: (0xFF00, 2300, 0xFF00, 2310, 0xFF00, 2290),
                126: (0xFF00, 160, 0xFF00, 160, 0xFF00, 160),
                140: (0xFFFF, 0x7040),
                142: (0xFFFF, 0x7040, 0xFF00, 0x8FC0, 0xFFFF, 0x7040),
                414: (0xFFFF,),
                418: (0x0001, 0xE23A),
            }
        },
        energy_wh=12_345,
        voltage_v=(230, 231, 229),
        current_a=(16, 16, 16),
        power_w=-3_680,
        power_phase_w=(-3_680, 3_680, -3_680),
        frequency_hz=50,
        serial="12345678",
    ),
    # UINT16 and UINT32, one phase, 10 Wh
    "orno_we514_515": Golden(
        {
            HOLDING: {
                0x0130: (5000, 23_000),
                0x0139: (0, 16_000),
                0x0140: (0, 3_680),
                0xA000: (0x0001, 0xE23A),
            }
        },
        energy_wh=1_234_500,
        **ONE_PHASE,
    ),
    # UINT32 in 0.01 V and 0.1 mA: 160000 = 0x00027100; INT32 in 0.01 W: 368000 = 0x00059D80
    "lovato_dmg610": Golden(
        {
            INPUT: {
                1: (0, 23_000, 0, 23_000, 0, 23_000),
                7: (2, 0x7100, 2, 0x7100, 2, 0x7100),
                19: (5, 0x9D80, 5, 0x9D80, 5, 0x9D80),
                49: (0, 50_000),
                57: (0x0010, 0xD880),
                6943: (0, 0, 0x0001, 0xE23A),
            }
        },
        energy_wh=1_234_500,
        **THREE_PHASES,
    ),
    # UINT64 in 0.1 Wh beside floats
    "phoenix_eem_em357": Golden(
        {
            INPUT: {
                0x1000: (0x4366, 0, 0x4366, 0, 0x4366, 0),
                0x100E: (0x4180, 0, 0x4180, 0, 0x4180, 0),
                0x1020: (0x4566, 0, 0x4566, 0, 0x4566, 0),
                0x1026: (0x462C, 0x8000),
                0x1038: (0x4248, 0),
                0x010C: (0, 0, 0x00BC, 0x5EA8),  # 12345000
            },
            HOLDING: {0x0500: (0x4142, 0x4331, 0x3233, 0, 0, 0)},
        },
        energy_wh=1_234_500,
        serial="ABC123",
        **THREE_PHASES,
    ),
    # SunSpec model 203: INT16 with powers of ten (A -1, V -1, Hz -2, W 1, Wh 2), ACC32
    "sunspec_meter": Golden(
        {
            HOLDING: {
                40000: (0x5375, 0x6E53, 1, 66),
                40052: (0x5331, 0x3233),
                40070: (203, 105),
                40072: (480, 160, 160, 160, 0xFFFF),
                40078: (2300, 2310, 2290),
                40085: (0xFFFF, 5000, 0xFFFE),
                40088: (1104, 368, 368, 0xFE90, 1),  # -368
                40116: (0x0000, 0x3039),  # 12345
                40124: (2,),
                40177: (0xFFFF, 0),
            }
        },
        energy_wh=1_234_500,
        voltage_v=(230, 231, 229),
        current_a=(16, 16, 16),
        power_w=11_040,
        power_phase_w=(3_680, 3_680, -3_680),
        frequency_hz=50,
        serial="S123",
    ),
}
