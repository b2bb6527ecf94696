"""Forms made from the one definition of a parameter (:mod:`napari_atomlens.params`).

A form is a magicgui container: a widget for each field of a parameter dataclass, with the
bounds, choices, unit and help that the dataclass says, and the dataclass back as its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from magicgui.widgets import Container, create_widget
from magicgui.widgets.bases import ValueWidget, Widget
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_atomlens.params import ParamInfo, Params, describe
from napari_atomlens.widgets.base.fields import Field, groomed

P_co = TypeVar("P_co", bound=Params, covariant=True)
#: Bound of numbers that have none of their own.
LARGE = 1e9


def label_of(info: ParamInfo) -> str:
    """Label of a parameter: its name in words, without the unit that the field shows."""
    name = info.name.removesuffix(f"_{info.unit}") if info.unit else info.name
    words = name.replace("_", " ").replace("min ", "min. ")
    return words[:1].upper() + words[1:]


def when_empty(help_text: str) -> str:
    """What a field for text says while it is empty: what that means, or what it is for."""
    return help_text.partition("; empty: ")[2] or help_text


def field(info: ParamInfo, special: str = "", choices: Sequence[str] = ()) -> Field:
    """Make the magicgui widget of one parameter.

    Parameters
    ----------
    info : ParamInfo
    special : str
        Text for the lowest value of a number, for example "auto".
    choices : sequence of str
        What to choose from where the dataclass leaves it open.
    """
    # whole numbers too: the field for them has neither unit nor a text for its lowest value
    kind = float if info.kind in (int, float) else info.kind if info.kind is bool else str
    options: dict[str, object] = {"tooltip": info.help[:1].upper() + info.help[1:]}
    offered = choices or info.choices
    if offered:
        options["choices"] = list(offered)
    elif kind is float:
        low = -LARGE if info.minimum is None else info.minimum
        if info.optional:  # the lowest value is shown as `special` and stands for None
            low = min(low, 0.0)
        high = LARGE if info.maximum is None else info.maximum
        step = 1 if info.kind is int else 0.05 if high - low <= 1 else 0.5
        options |= {"min": low, "max": high, "step": step}
    made = create_widget(
        annotation=kind, name=info.name, label=label_of(info), options=options,
        widget_type="ComboBox" if offered else None,
    )  # fmt: skip
    assert isinstance(made, ValueWidget)
    if isinstance(made.native, QDoubleSpinBox):
        made.native.setDecimals(0 if info.kind is int else 2)
    if isinstance(made.native, QLineEdit) and info.default == "":
        made.native.setPlaceholderText(when_empty(info.help))
    if kind is bool:
        made.text = made.label  # type: ignore[attr-defined]
    groomed(made, unit=info.unit if kind is float else "", special=special)
    _show(made, info.default)
    return made


def _show(widget: Field, value: object) -> None:
    widget.value = widget.min if value is None else value  # type: ignore[attr-defined]


class _Aligned(QObject):
    """Makes the labels of a container equally wide once their font is known."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Align when the container is shown, or looks different."""
        if (
            event is not None
            and event.type() in (QEvent.Type.Show, QEvent.Type.FontChange, QEvent.Type.StyleChange)
            and isinstance(watched, QWidget)
        ):
            lines = watched.findChildren(QHBoxLayout)
            firsts = [item.widget() for x in lines if (item := x.itemAt(0)) is not None]
            labels = [x for x in firsts if isinstance(x, QLabel)]
            widest = max((x.sizeHint().width() for x in labels), default=0)
            for label in labels:
                label.setFixedWidth(widest)
        return False


_ALIGNED = _Aligned()


def rows(*widgets: Widget) -> Container[Widget]:
    """Return a container with a labelled row for each widget, without margins."""
    box: Container[Widget] = Container(widgets=list(widgets), labels=True)
    box.margins = (0, 0, 0, 0)
    layout = box.native.layout()
    if layout is not None:
        layout.setSpacing(4)
    box.native.installEventFilter(_ALIGNED)
    return box


class ParamForm(Generic[P_co]):
    """The widgets of a parameter dataclass, and the dataclass that they add up to.

    Parameters
    ----------
    params : type
        A dataclass of :func:`napari_atomlens.params.param` fields.
    special : mapping of str to str
        Text for the lowest value of some numbers.
    choices : mapping of str to sequence of str
        What to choose from where the dataclass leaves it open.
    leave_out : sequence of str
        Parameters that have no widget; :meth:`value` takes them as arguments.

    Attributes
    ----------
    fields : dict of str to magicgui widget
        By the name of the parameter.
    """

    def __init__(
        self,
        params: type[P_co],
        *,
        special: Mapping[str, str] | None = None,
        choices: Mapping[str, Sequence[str]] | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        self._make: Callable[..., P_co] = params
        self._about = {info.name: info for info in describe(params)}
        self.fields: dict[str, Field] = {
            info.name: field(
                info, (special or {}).get(info.name, ""), (choices or {}).get(info.name, ())
            )
            for info in self._about.values()
            if info.name not in leave_out
        }

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields.values())

    def section(self, *names: str) -> Container[Widget]:
        """Return a container with the rows of some parameters, of all where none is named."""
        return rows(*(self.fields[n] for n in names or self.fields))

    def rest(self, *names: str) -> Container[Widget]:
        """Return a container with the rows of all parameters but those named."""
        return rows(*(w for n, w in self.fields.items() if n not in names))

    def value(self, **others: object) -> P_co:
        """Return the dataclass as the widgets are now, with `others` for what has none."""
        return self._make(**{n: self._value(n) for n in self.fields}, **others)

    def _value(self, name: str) -> object:
        widget, about = self.fields[name], self._about[name]
        value = widget.value
        if about.optional and value == getattr(widget, "min", None):
            return None
        return int(value) if about.kind is int else value

    def show(self, params: Params) -> None:
        """Show the values of a dataclass."""
        for name, widget in self.fields.items():
            _show(widget, getattr(params, name))
