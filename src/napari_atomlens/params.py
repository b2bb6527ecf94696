"""One definition of a parameter: it serves the API, the widget, the command line and provenance.

A parameter set is a frozen dataclass whose fields are made with :func:`param`. The
metadata (help, unit, bounds, choices) live in the field, so that nothing is typed twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from napari_atomlens.errors import ParameterError


@dataclass(frozen=True)
class ParamInfo:
    """What a form, an option or a docs table needs to know of one parameter.

    Attributes
    ----------
    name, help, unit : str
        Field name, one line of help, and unit ("" where there is none).
    default : Any
        Default value.
    minimum, maximum : float or None
        Inclusive bounds.
    choices : tuple of str
        Allowed values, empty where any is allowed.
    kind : type
        ``bool``, ``int``, ``float`` or ``str``.
    """

    name: str
    help: str
    unit: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    kind: type


def param(
    default: Any,
    help: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Make a dataclass field that knows its help, unit and bounds."""
    return dataclasses.field(
        default=default,
        metadata={"help": help, "unit": unit, "ge": ge, "le": le, "choices": choices},
    )


def describe(params: Any) -> Iterator[ParamInfo]:
    """Yield a :class:`ParamInfo` for each field of a parameter dataclass (type or instance)."""
    for field in dataclasses.fields(params):
        meta = field.metadata
        yield ParamInfo(
            name=field.name,
            help=meta.get("help", ""),
            unit=meta.get("unit", ""),
            default=field.default,
            minimum=meta.get("ge"),
            maximum=meta.get("le"),
            choices=meta.get("choices", ()),
            kind=type(field.default),
        )


def validate(params: Any) -> None:
    """Check every field of a parameter dataclass against its bounds.

    Raises
    ------
    ParameterError
        With one sentence that names the parameter, its value and its bounds.
    """
    for info in describe(params):
        value = getattr(params, info.name)
        if info.choices and value not in info.choices:
            raise ParameterError(
                f"{info.name} is {value!r}, but must be one of {', '.join(info.choices)}."
            )
        if info.kind in (int, float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise ParameterError(f"{info.name} is {value!r}, but must be a number.") from None
            low, high = info.minimum, info.maximum
            if (
                number != number
                or (low is not None and number < low)
                or (high is not None and number > high)
            ):
                raise ParameterError(
                    f"{info.name} is {value:g}{' ' + info.unit if info.unit else ''}, "
                    f"but must lie between {low} and {high}."
                )


def as_dict(params: Any) -> dict[str, Any]:
    """Return the parameters as a plain dictionary, for provenance."""
    return dataclasses.asdict(params)
