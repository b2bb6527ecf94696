"""Fields of a form: magicgui widgets that fit a narrow dock and are deaf to a passing wheel."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, cast

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QSizePolicy,
    QWidget,
)

#: Property of a list of layers: what it shows is no setting.
OF_LAYERS = "of_layers"
#: Any field of a form.
Field = ValueWidget[Any]
#: A field whose value a file can keep.
Setting = QCheckBox | QComboBox | QDoubleSpinBox
#: Letters that a combo box shows at least; a longer entry does not widen the dock.
LETTERS = 10
#: Units that say how many: one of them.
ONE = {"frames": "frame", "sites": "site"}


class _WheelGuard(QObject):
    """Lets the wheel scroll the dock: it changes a value only where the user is in the field."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Hand the wheel on where the field has no focus."""
        if (
            event is not None
            and event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return False


_GUARD = _WheelGuard()


def native(widget: Field) -> QWidget:
    """Qt widget of a magicgui widget."""
    return cast(QWidget, widget.native)


def groomed(widget: Field, *, unit: str = "", special: str = "") -> Field:
    """Fit a magicgui widget for a dock: width, focus, wheel, suffix, name, tool tip.

    Parameters
    ----------
    widget : magicgui widget
    unit : str
        Shown behind a number.
    special : str
        Text for the lowest value of a number, for example "auto".
    """
    qt = native(widget)
    qt.setObjectName(widget.name)
    qt.setToolTip(widget.tooltip or "")
    qt.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    qt.installEventFilter(_GUARD)
    if isinstance(qt, QComboBox):
        qt.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        qt.setMinimumContentsLength(LETTERS)
        qt.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    elif isinstance(qt, QDoubleSpinBox):
        qt.setKeyboardTracking(False)  # a number counts once the user is done typing
        qt.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        qt.setSuffix(f" {unit}" if unit else "")
        qt.setSpecialValueText(special)
        if unit in ONE:
            _count_in(qt, unit)
    return widget


def _count_in(box: QDoubleSpinBox, unit: str) -> None:
    """Write the unit of a count: 1 frame, 2 frames."""
    counted = weakref.ref(box)  # a slot that holds its box would keep it

    def write(value: float) -> None:
        there = counted()
        if there is not None:
            there.setSuffix(f" {ONE[unit] if value == 1 else unit}")

    box.valueChanged.connect(write)
    write(box.value())


def number(
    name: str,
    label: str,
    low: float,
    high: float,
    *,
    value: float | None = None,
    decimals: int = 2,
    step: float = 0.5,
    unit: str = "",
    prefix: str = "",
    special: str = "",
    tip: str = "",
) -> FloatSpinBox:
    """Return a field for a number; `special` is the text of the lowest value."""
    box = FloatSpinBox(name=name, label=label, min=low, max=high, step=step, tooltip=tip)
    qt = box.native
    qt.setDecimals(decimals)
    qt.setSingleStep(step)
    qt.setPrefix(prefix)
    groomed(box, unit=unit, special=special)
    box.value = low if value is None else value
    return box


def choice(
    name: str, label: str, items: Sequence[str], *, value: str = "", tip: str = ""
) -> ComboBox:
    """Return a field with a few texts to choose from."""
    box = ComboBox(name=name, label=label, choices=list(items), tooltip=tip)
    groomed(box)
    if value:
        box.value = value
    return box


def check(name: str, text: str, on: bool = False, *, tip: str = "") -> CheckBox:
    """Return a box to tick."""
    box = CheckBox(name=name, text=text, value=on, tooltip=tip)
    groomed(box)
    return box


class _BeforeOpening(QObject):
    """Makes a list anew before the user sees it.

    What it calls must not hold the widget that owns the list: the end of a circle of Qt and
    Python crashes PySide.
    """

    def __init__(self, refresh: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self._refresh = refresh

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the user goes to the list."""
        if event is not None and event.type() in (
            QEvent.Type.MouseButtonPress, QEvent.Type.FocusIn
        ):  # fmt: skip
            self._refresh()
        return False


def before_opening(box: Field, refresh: Callable[[], object]) -> None:
    """Call something before the user sees the list of a field; `refresh` is a bound method."""
    qt, weak = native(box), weakref.WeakMethod(refresh)

    def call() -> None:
        method = weak()
        if method is not None:
            method()

    qt.installEventFilter(_BeforeOpening(call, qt))


def offer_anew(box: Field, offered: Callable[[], Sequence[str]]) -> None:
    """Let a field offer what a plain function returns, asked before the user sees the list."""
    qt, weak = native(box), weakref.ref(box)

    def call() -> None:
        there = weak()
        if there is not None:
            set_choices(there, offered())

    qt.installEventFilter(_BeforeOpening(call, qt))


def set_choices(box: Field, items: Sequence[str], chosen: str | None = None) -> None:
    """Offer other texts without a signal; what is chosen stays where it is still offered."""
    assert isinstance(box, ComboBox)
    wanted = box.value if chosen is None else chosen
    with box.changed.blocked():
        box.choices = list(items)
        if wanted in box.choices:
            box.value = wanted


def is_setting(widget: QWidget) -> TypeGuard[Setting]:
    """Whether a widget is a field that a file can keep; a list of layers is not."""
    if isinstance(widget, QComboBox) and widget.property(OF_LAYERS):
        return False
    return isinstance(widget, (QCheckBox, QComboBox, QDoubleSpinBox))


def shown(field: Setting) -> object:
    """What a field shows, as a plain value that a file can keep."""
    if isinstance(field, QCheckBox):
        return field.isChecked()
    return field.value() if isinstance(field, QDoubleSpinBox) else field.currentText()


def show(field: Setting, value: object) -> None:
    """Let a field show what :func:`shown` gave; a choice that is not offered changes nothing."""
    if isinstance(field, QCheckBox):
        field.setChecked(bool(value))
    elif isinstance(field, QDoubleSpinBox):
        if isinstance(value, (int, float)):
            field.setValue(value)
    elif field.findText(str(value)) >= 0:
        field.setCurrentText(str(value))
