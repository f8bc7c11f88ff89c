"""One tree of errors. Every text is for a human and ends with the next step."""


class ChargepointError(Exception):
    """Base of what the agent raises on purpose."""

    exit_code = 1


class SettingsError(ChargepointError):
    """charger.yaml cannot be used; power stays off (exit code 78, EX_CONFIG)."""

    exit_code = 78


class UsageError(ChargepointError):
    """A command was given what it cannot use."""

    exit_code = 2


class StoreError(ChargepointError):
    """The data directory or its database cannot be used."""


class LinkError(ChargepointError):
    """The CSMS could not be reached, or the link to it ended. `security_event`: what it is in the
    standard's list of security events, if anything."""

    def __init__(self, text: str, security_event: str = "") -> None:
        super().__init__(text)
        self.security_event = security_event
