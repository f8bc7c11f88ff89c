"""One line of `chargepoint doctor`, and the board it looks at."""

import contextlib
from pathlib import Path
from typing import Literal

from msgspec import Struct

Level = Literal["ok", "warn", "bad"]


class Finding(Struct, frozen=True):
    """What was found; unless it is ok, `next_step` says what to do."""

    level: Level
    what: str
    next_step: str = ""


class Board(Struct, frozen=True):
    """The file system of the board; a test gives another root. Writes nothing but a test file in
    the data directory."""

    root: Path = Path("/")
    service_user: str = "chargepoint"

    def path(self, absolute: str) -> Path:
        """Where an absolute path of the board is."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str:
        """Content of a small file; empty where it cannot be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def exists(self, absolute: str) -> bool:
        return self.path(absolute).exists()

    def links_to(self, directory: str, target: str) -> str:
        """A link in `directory` that leads to the device `target`; empty where there is none."""
        wanted = self.path(target).resolve()
        for link in self._entries(directory):
            if link.is_symlink() and link.resolve() == wanted:
                return f"{directory}/{link.name}"
        return ""

    def names(self, directory: str) -> list[str]:
        """What stands in a directory; nothing where there is none."""
        return [entry.name for entry in self._entries(directory)]

    def targets(self, directory: str) -> list[Path]:
        """Where the links in a directory lead; those that may not be read are left out."""
        found = []
        for link in self._entries(directory):
            with contextlib.suppress(OSError):
                found.append(link.readlink())
        return found

    def _entries(self, directory: str) -> list[Path]:
        try:
            return sorted(self.path(directory).iterdir())
        except OSError:
            return []

    def groups_of_service(self) -> dict[str, int] | None:
        """Groups of the service's user by name; None where there is no such user."""
        users = [line.split(":") for line in self.text("/etc/passwd").splitlines()]
        own = {row[0]: row[3] for row in users if len(row) > 3}
        if self.service_user not in own:
            return None
        found = {}
        for line in self.text("/etc/group").splitlines():
            name, _, number, members = (*line.split(":"), "", "", "", "")[:4]
            if number == own[self.service_user] or self.service_user in members.split(","):
                found[name] = int(number)
        return found

    def user_id(self) -> int | None:
        """Of the service's user."""
        for line in self.text("/etc/passwd").splitlines():
            row = line.split(":")
            if row[0] == self.service_user and len(row) > 2:
                return int(row[2])
        return None
