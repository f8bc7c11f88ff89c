"""A contactor on mock GPIO lines: its auxiliary contact follows the coil, or is stuck."""

import asyncio

from gpiozero.pins.mock import MockFactory, MockPin


class CoilPin(MockPin):  # type: ignore[misc]
    """An output that tells its relay."""

    relay: "Relay | None" = None

    def _change_state(self, value: bool) -> bool:
        changed = bool(super()._change_state(value))
        if changed and self.relay is not None:
            self.relay.coil_changed()
        return changed


class Relay:
    """Contact between `coil` and `aux` (GPIO numbers); moves `lag_s` after the coil."""

    def __init__(
        self,
        factory: MockFactory,
        coil: int,
        aux: int,
        *,
        lag_s: float = 0.02,
        inverted: bool = False,
    ) -> None:
        """`inverted`: the coil is on while its line is low."""
        self._lag_s = lag_s
        self._inverted = inverted
        self._aux = factory.pin(f"GPIO{aux}")
        self._coil = factory.pin(f"GPIO{coil}", pin_class=CoilPin)
        self._coil.relay = self
        self.stuck: bool | None = None
        """Closed or open for good; None: it moves."""
        self.moves: list[tuple[float, bool]] = []
        """(time, coil on) of each change of the coil."""

    @property
    def is_on(self) -> bool:
        """The coil has current: its line is an output and on."""
        return self._coil.function == "output" and bool(self._coil.state) is not self._inverted

    @property
    def is_closed(self) -> bool:
        """Current can flow."""
        return bool(self._aux.state)

    def weld(self, closed: bool = True) -> None:
        """The contact stays where `closed` says."""
        self.stuck = closed
        self._arrive()

    def coil_changed(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.moves or self.moves[-1][1] is not self.is_on:
            self.moves.append((loop.time(), self.is_on))
        loop.call_later(self._lag_s, self._arrive)

    def _arrive(self) -> None:
        if self.is_on if self.stuck is None else self.stuck:
            self._aux.drive_high()
        else:
            self._aux.drive_low()
