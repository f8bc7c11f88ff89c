"""What a keyboard's events (struct input_event of the kernel) type; pure."""

import struct

EVENT = struct.Struct("llHHi")
"""Seconds, microseconds, type, code, value: 24 bytes on 64-bit boards, 16 on 32-bit ones."""
EV_KEY = 1
DOWN = 1
ENTER, KEYPAD_ENTER = 28, 96
SHIFTS = frozenset({42, 54})
MAX_LENGTH = 64

ROWS = {2: "1234567890-", 16: "QWERTYUIOP", 30: "ASDFGHJKL;", 44: "ZXCVBNM,./"}
KEYPAD = {71: "789-456+1230."}
KEYS = {
    first + offset: letter
    for first, letters in (ROWS | KEYPAD).items()
    for offset, letter in enumerate(letters)
}
"""Key code (linux/input-event-codes.h) -> what it types on the keyboard that readers imitate (US).
Shift is not looked at but for the colon: letters are upper case anyway."""


class Typing:
    """Collects the letters of key presses into lines; a line ends with Enter."""

    def __init__(self) -> None:
        self._line = ""
        self._rest = b""
        self._shifts: set[int] = set()
        self._too_long = False

    def feed(self, data: bytes) -> list[str]:
        """Lines that `data` finishes. Never raises; a line of more than 64 letters is dropped."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        lines = []
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            if kind != EV_KEY:
                continue
            if code in SHIFTS:
                (self._shifts.add if value else self._shifts.discard)(code)
            elif value == DOWN:
                line = self._press(code)
                if line:
                    lines.append(line)
        return lines

    def _press(self, code: int) -> str:
        """The line that this key finishes, or nothing."""
        if code not in (ENTER, KEYPAD_ENTER):
            letter = KEYS.get(code, "")
            self._line += ":" if letter == ";" and self._shifts else letter
            self._too_long = self._too_long or len(self._line) > MAX_LENGTH
            self._line = self._line[:MAX_LENGTH]
            return ""
        line, self._line = "" if self._too_long else self._line, ""
        self._too_long = False
        return line
