"""A text that is shown again and again in the same place of a terminal."""

import shutil
import sys

HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def show(text: str) -> None:
    """On a terminal over what was shown before, without a flicker; otherwise below it."""
    if sys.stdout.isatty():
        size = shutil.get_terminal_size()
        sys.stdout.write(in_place(text, size.columns, size.lines))
    else:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def in_place(text: str, columns: int, rows: int) -> str:
    """What makes a terminal of this size show `text` from its first line on, cut to what fits."""
    lines = text.splitlines()
    room = max(2, rows - 1)
    if len(lines) > room:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], f"... {hidden} more lines: make the window taller"]
    shown = [line[:columns] + END_OF_LINE for line in lines]
    return HOME + "\n".join(shown) + "\n" + END_OF_SCREEN
