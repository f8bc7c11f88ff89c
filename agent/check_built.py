"""`chargepoint check`: what only shows once the devices are built: that they can be, and whether
the first values of OCPP variables will be taken."""

from collections.abc import Iterator

from msgspec import ValidationError

from agent.devices import DeviceBook, registry_of
from agent.ocpp.device_model import DeviceModel
from agent.ocpp.entry import component_named, named
from agent.ocpp.variable import Variable
from agent.settings import FirstValue, Settings
from agent.settings_finding import Finding
from agent.settings_walk import advice, convert
from agent.wiring import declared, places_of, wire
from drivers.contract import DriverError


def built_findings(settings: Settings) -> Iterator[Finding]:
    """Nothing where the settings have holes; opens no port."""
    try:
        settings = convert(settings, Settings)
    except (ValidationError, TypeError):  # holes
        return
    try:
        wiring = wire(settings, registry_of(settings).build)
    except DriverError as error:
        yield Finding(("devices",), str(error))
        return
    variables = declared(settings, wiring, DeviceBook(settings, wiring.devices))
    model = DeviceModel(variables, places_of(settings), {})
    for index, first in enumerate(settings.ocpp.variables):
        yield from _first_value(index, first, variables, model)


def _first_value(
    index: int, first: FirstValue, variables: tuple[Variable, ...], model: DeviceModel
) -> Iterator[Finding]:
    """The station starts without a value that it does not take, and never asks for it again."""
    place, variable = first.component, first.variable
    verdict = model.judge(
        component_named(place.name, place.instance, place.evse or 0, place.connector or 0),
        named(variable.name, variable.instance),
        first.attribute,
        first.value,
        by_station=True,
    )
    of_component = [it for it in variables if it.component.lower() == place.name.lower()]
    one = next((it for it in of_component if it.name.lower() == variable.name.lower()), None)
    here = ("ocpp", "variables", index)
    if verdict.change is not None and not (one is not None and one.secret):
        return
    if not of_component:
        names = sorted({it.component for it in variables})
        text = f"there is no component {place.name!r} here; {advice(place.name, names)}"
        yield Finding((*here, "component", "name"), text, fatal=False)
    elif one is None:
        names = sorted({it.name for it in of_component})
        text = f"{place.name} has no variable {variable.name!r}; {advice(variable.name, names)}"
        yield Finding((*here, "variable", "name"), text, fatal=False)
    elif verdict.reason == "InvalidValue":
        yield Finding((*here, "value"), f"is {first.value!r}; write {_wanted(one)}", fatal=False)
    else:
        why = "is a secret" if one.secret else f"cannot be set here ({_why(verdict.status)})"
        text = f"{place.name}.{one.name} {why}; remove this entry, or correct its place"
        yield Finding(here, text, fatal=False)


def _why(status: str) -> str:
    """Of the OCPP statuses those that do not speak for themselves."""
    if status in ("UnknownComponent", "UnknownVariable"):
        return "of another instance, EVSE or connector"
    return "only its Actual value" if status == "NotSupportedAttributeType" else "the station's own"


def _wanted(one: Variable) -> str:
    """What a variable takes."""
    if one.values:
        many = one.data_type in ("MemberList", "SequenceList")
        listed = ", ".join(one.values)
        return f"some of these with commas between: {listed}" if many else f"one of: {listed}"
    if one.data_type == "boolean":
        return "true or false"
    kind = {"integer": "a whole number", "decimal": "a number"}.get(one.data_type, one.data_type)
    low, high = one.min_limit, one.max_limit
    bounds = f" from {low:g}" if low is not None else ""
    bounds += f" up to {high:g}" if high is not None else ""
    if one.max_length is not None:
        bounds += f" of at most {one.max_length} characters"
    return f"{kind}{bounds}{f' ({one.unit})' if one.unit else ''}"
