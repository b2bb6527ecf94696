"""One definition of a parameter: it serves the API, the widget, the command line and provenance.

A parameter set is a frozen dataclass that derives from :class:`Params` and whose fields are made
with :func:`param`. The type of a field says what it takes (the choices of a ``Literal`` too), its
metadata hold help, unit and bounds, so that nothing is typed twice; and a set that exists is a
valid one, because it is checked when it is made.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from napari_atomlens.errors import ParameterError

T = TypeVar("T")
P = TypeVar("P", bound="Params")

#: What was found out about each parameter dataclass: its types are looked up once.
_DESCRIBED: dict[type, tuple[ParamInfo, ...]] = {}


@runtime_checkable
class _Scalar(Protocol):
    """A number of numpy or torch, or an array of no dimensions."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def item(self) -> object: ...


@dataclass(frozen=True)
class ParamInfo:
    """What a form, an option or a docs table needs to know of one parameter.

    Attributes
    ----------
    name, help, unit : str
        Field name, one line of help, and unit ("" where there is none).
    default : object
        Default value.
    minimum, maximum : float or None
        Inclusive bounds.
    choices : tuple of str
        Allowed values, empty where any is allowed.
    kind : type
        ``bool``, ``int``, ``float`` or ``str`` (``tuple`` in chemical rules).
    optional : bool
        Whether None is allowed, which stands for "not known".
    """

    name: str
    help: str
    unit: str
    default: object
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    kind: type
    optional: bool = False


def param(
    default: T, help: str, *, unit: str = "", ge: float | None = None, le: float | None = None
) -> T:
    """Make a dataclass field that knows its help, unit and bounds."""
    return dataclasses.field(
        default=default, metadata={"help": help, "unit": unit, "ge": ge, "le": le}
    )


@dataclass(frozen=True)
class Params:
    """Base of every parameter set: checks its fields when it is made.

    Numbers of numpy become plain ones, and paths become text.

    Raises
    ------
    ParameterError
        With one sentence that names the parameter, its value and what is allowed.
    """

    def __post_init__(self) -> None:
        for info in describe(type(self)):
            given = self.__dict__[info.name]
            value = _checked(info, given)
            if value is not given:
                object.__setattr__(self, info.name, value)


def describe(params: type[Params]) -> tuple[ParamInfo, ...]:
    """Return a :class:`ParamInfo` for each field of a parameter dataclass."""
    if params not in _DESCRIBED:
        hints = get_type_hints(params)
        fields = dataclasses.fields(params)
        _DESCRIBED[params] = tuple(_info(field, hints[field.name]) for field in fields)
    return _DESCRIBED[params]


def _info(field: dataclasses.Field[object], hint: object) -> ParamInfo:
    """What is known of one field whose type is `hint`."""
    optional = get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    if optional:
        hint = next(part for part in get_args(hint) if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    plain = type(choices[0]) if choices else get_origin(hint) or hint
    return ParamInfo(
        name=field.name,
        help=field.metadata.get("help", ""),
        unit=field.metadata.get("unit", ""),
        default=field.default,
        minimum=field.metadata.get("ge"),
        maximum=field.metadata.get("le"),
        choices=choices,
        kind=plain if isinstance(plain, type) else object,
        optional=optional,
    )


def _checked(info: ParamInfo, value: object) -> object:
    """Return `value` as the plain kind that a parameter holds, or refuse it."""
    if value is None and info.optional:
        return None
    if isinstance(value, _Scalar) and value.shape == ():
        value = value.item()
    if info.choices and not (isinstance(value, str) and value in info.choices):
        raise _refused(info, value, f"must be one of {', '.join(info.choices)}")
    if info.kind is bool and not isinstance(value, bool):
        raise _refused(info, value, "must be True or False")
    if info.kind is str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            raise _refused(info, value, "must be text")
        return str(value)
    if info.kind in (int, float):
        return _number(info, value)
    return value


def _number(info: ParamInfo, value: object) -> float:
    """Return a number within its bounds, whole where the parameter is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _refused(info, value, "must be a number")
    if isinstance(value, int) and abs(value) > 2**62:
        raise ParameterError(f"{info.name} is absurdly large.")
    low, high = info.minimum, info.maximum
    if value != value or (low is not None and value < low) or (high is not None and value > high):
        bounds = f"must lie between {low} and {high}"
        if low is None or high is None:
            bounds = "must be a number" if low is None else f"must be at least {low}"
        raise ParameterError(
            f"{info.name} is {value:g}{' ' + info.unit if info.unit else ''}, but {bounds}."
        )
    if not math.isfinite(value):
        raise _refused(info, value, "must be a finite number")
    if info.kind is float:
        return float(value)
    if value != value // 1:
        raise _refused(info, value, "must be a whole number")
    return int(value)


def _refused(info: ParamInfo, value: object, why: str) -> ParameterError:
    return ParameterError(f"{info.name} is {_shown(value)}, but {why}.")


def _shown(value: object) -> str:
    """A value in one line of an error."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def of_kind(kind: type[P], given: object) -> P:
    """Return parameters that were given whole, if they are of the right kind.

    Raises
    ------
    ParameterError
        If they are not.
    """
    if not isinstance(given, kind):
        raise ParameterError(
            f"The parameters are of type {type(given).__name__}, but must be {kind.__name__}."
        )
    return given


def number_between(
    name: str, value: object, low: float, high: float, *, whole: bool = False
) -> float:
    """Return a number that the user gave to a function, which must lie in bounds.

    Raises
    ------
    ParameterError
        With one sentence that names it, its value and the bounds.
    """
    if isinstance(value, _Scalar) and value.shape == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParameterError(f"{name} is {_shown(value)}, but must be a number.")
    if not low <= value <= high or (whole and value != value // 1):
        kind = "be a whole number between" if whole else "lie between"
        raise ParameterError(f"{name} must {kind} {low:g} and {high:g}.")
    return int(value) if whole else float(value)


def check_choice(name: str, value: object, choices: object) -> None:
    """Check an argument of a function against the ``Literal`` of its annotation.

    Raises
    ------
    ParameterError
        With one sentence that names the argument, its value and what is allowed.
    """
    if not isinstance(value, str) or value not in get_args(choices):
        allowed = ", ".join(get_args(choices))
        raise ParameterError(f"{name} is {_shown(value)}, but must be one of {allowed}.")


def merged(kind: type[P], given: P | None, settings: Mapping[str, object]) -> P:
    """Make parameters of an object and settings by name: one door for settings.

    Parameters
    ----------
    kind : type
        Parameter dataclass that is wanted.
    given : Params or None
        Parameters to start from; None takes the defaults.
    settings : mapping
        Values by name, which win over those of `given`.

    Raises
    ------
    ParameterError
        If `given` is of another kind, or a setting is unknown or out of bounds.

    Examples
    --------
    >>> from napari_atomlens import AnalysisParams
    >>> merged(AnalysisParams, AnalysisParams(window=3), {"model": "universal"}).window
    3
    >>> merged(AnalysisParams, None, {"spacing": 12})
    Traceback (most recent call last):
    ...
    napari_atomlens.errors.ParameterError: AnalysisParams has no 'spacing'; ...
    """
    if given is not None:
        given = of_kind(kind, given)
    names = [info.name for info in describe(kind if given is None else type(given))]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}."
            raise ParameterError(f"{kind.__name__} has no {name!r}; {hint}")
    return kind(**settings) if given is None else dataclasses.replace(given, **settings)


def as_dict(params: Params) -> dict[str, object]:
    """Return the parameters as a plain dictionary, for provenance."""
    return dataclasses.asdict(params)
