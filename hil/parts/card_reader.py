"""A card reader that writes one line for each card on its serial port."""

from hil.parts.pty_port import PtyPort


class CardReader:
    """Writes `prefix` + card number + `ending` when a card is presented."""

    def __init__(self, port: PtyPort, *, prefix: str = "", ending: str = "\r\n") -> None:
        self._port = port
        self._prefix = prefix
        self._ending = ending

    def swipe(self, uid: str) -> None:
        """Presents a card."""
        self._port.write(f"{self._prefix}{uid}{self._ending}".encode("ascii"))

    def noise(self, data: bytes) -> None:
        """Whatever else may come over such a line."""
        self._port.write(data)
