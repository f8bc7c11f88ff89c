"""What the generated validators raise; they import nothing else."""


class SchemaError(ValueError):
    """A payload breaks its schema; `rule` is the JSON schema keyword ("required", "type", ...)."""

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


def unknown_fields(noted: list[str] | None, where: str, fields: set[str]) -> None:
    """Fields that the schema does not know: noted when somebody listens, refused otherwise."""
    names = ", ".join(sorted(fields))
    if noted is None:
        raise SchemaError(f"{where} must not contain {names}", rule="additionalProperties")
    noted.append(f"{where} has unknown {names}")
