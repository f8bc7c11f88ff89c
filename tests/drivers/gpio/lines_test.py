"""A bank of lines on mock pins."""

import pytest
from gpiozero.pins.mock import MockFactory

from drivers.gpio.lines import Bank, Pins
from drivers.gpio_options import GpioOutput


async def test_a_line_that_cannot_be_given_back_leaves_no_other_one_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factory = MockFactory()
    bank = Bank(Pins(board=factory), lambda: None)
    coils = [bank.output(GpioOutput(f"GPIO{number}")) for number in (17, 27, 22)]
    for coil in coils:
        coil.set(True)
    broken = coils[0]._device

    def fail() -> None:
        raise RuntimeError("the chip is gone")

    monkeypatch.setattr(broken, "close", fail)
    with pytest.raises(RuntimeError, match="the chip is gone"):
        bank.close()
    assert not any(coil.is_on for coil in coils)
    assert all(coil._device.closed for coil in coils[1:])
    bank.close()
    monkeypatch.undo()
    broken.close()
