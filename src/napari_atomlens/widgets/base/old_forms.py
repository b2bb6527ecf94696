"""Form fields made from the one definition of a parameter (:mod:`napari_atomlens.params`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_atomlens.params import ParamInfo, Params, describe

P_co = TypeVar("P_co", bound=Params, covariant=True)


def label_of(info: ParamInfo) -> str:
    """Label of a parameter: its name in words, without the unit that the field shows."""
    name = info.name.removesuffix(f"_{info.unit}") if info.unit else info.name
    words = name.replace("_", " ").replace("min ", "min. ")
    return words[:1].upper() + words[1:]


def shrinkable_combo(width: int = 8) -> QComboBox:
    """Return a combo box that does not force a dock to the width of its longest entry."""
    combo = QComboBox()
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(width)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def number_box(
    low: float, high: float, *, decimals: int = 2, step: float = 0.5, unit: str = ""
) -> QDoubleSpinBox:
    """Return a box for a number that takes effect when the user is done typing."""
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setKeyboardTracking(False)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    # A wheel over the dock scrolls, it does not change numbers unseen.
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if unit:
        box.setSuffix(f" {unit}")
    return box


def make_field(info: ParamInfo, special: str = "") -> QWidget:
    """Make the field of one parameter.

    Parameters
    ----------
    info : ParamInfo
    special : str
        Text for the lowest value of a number, for example "auto".
    """
    field: QWidget
    if info.kind is bool:
        field = QCheckBox()
    elif info.choices:
        field = shrinkable_combo()
        field.addItems(list(info.choices))
    elif info.kind is float:
        low = -1e9 if info.minimum is None else info.minimum
        if info.optional:  # the lowest value is shown as `special` and stands for None
            low = min(low, 0.0)
        high = 1e9 if info.maximum is None else info.maximum
        field = number_box(low, high, step=0.05 if high - low <= 1 else 0.5, unit=info.unit)
        field.setSpecialValueText(special)
    elif info.kind is int:
        field = QSpinBox()
        field.setRange(
            int(-(2**31) if info.minimum is None else info.minimum),
            int(2**31 - 1 if info.maximum is None else info.maximum),
        )
        field.setSpecialValueText(special)
    else:
        field = QLineEdit()
    field.setProperty("optional", info.optional)
    set_value(field, info.default)
    field.setToolTip(info.help[:1].upper() + info.help[1:])
    field.setObjectName(info.name)
    return field


def get_value(field: QWidget) -> object:
    """Value that a field shows; a combo box gives its data where it has some."""
    if isinstance(field, QCheckBox):
        return field.isChecked()
    if isinstance(field, QComboBox):
        data = field.currentData()
        return field.currentText() if data is None else data
    if isinstance(field, (QDoubleSpinBox, QSpinBox)):
        value = field.value()
        return None if field.property("optional") and value == field.minimum() else value
    return field.text()  # type: ignore[attr-defined]


def set_value(field: QWidget, value: object) -> None:
    """Show a value in a field."""
    if isinstance(field, QCheckBox):
        field.setChecked(bool(value))
    elif isinstance(field, QComboBox):
        field.setCurrentText(str(value))
    elif isinstance(field, QDoubleSpinBox):
        field.setValue(field.minimum() if value is None else _number(value))
    elif isinstance(field, QSpinBox):
        field.setValue(int(_number(value)))
    else:
        field.setText(str(value))  # type: ignore[attr-defined]


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"a field for numbers cannot show {value!r}")
    return value


class ParamForm(Generic[P_co]):
    """The fields of a parameter dataclass, and the dataclass that they add up to.

    Parameters
    ----------
    params : type
        A dataclass of :func:`napari_atomlens.params.param` fields.
    special : mapping of str to str
        Text for the lowest value of some numbers.
    fields : mapping of str to QWidget
        Fields made elsewhere.
    leave_out : sequence of str
        Parameters that have no field; :meth:`value` takes them as arguments.
    """

    def __init__(
        self,
        params: type[P_co],
        *,
        special: Mapping[str, str] | None = None,
        fields: Mapping[str, QWidget] | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        self._make: Callable[..., P_co] = params
        self.labels: dict[str, str] = {}
        self.fields: dict[str, QWidget] = {}
        for info in describe(params):
            if info.name in leave_out:
                continue
            field = (fields or {}).get(info.name)
            if field is None:
                field = make_field(info, (special or {}).get(info.name, ""))
            else:
                field.setToolTip(info.help[:1].upper() + info.help[1:])
                field.setObjectName(info.name)
            self.fields[info.name] = field
            self.labels[info.name] = label_of(info)

    def add_row(self, layout: QFormLayout, name: str) -> None:
        """Put the field `name` and its label into a form layout."""
        field = self.fields[name]
        if isinstance(field, QCheckBox):
            field.setText(self.labels[name])
            layout.addRow(field)
        else:
            layout.addRow(self.labels[name], field)
            layout.labelForField(field).setToolTip(field.toolTip())

    def value(self, **others: object) -> P_co:
        """Return the dataclass as the fields are now, with `others` for what has no field."""
        return self._make(**{n: get_value(f) for n, f in self.fields.items()}, **others)


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """Return a form without margins whose fields take all of the width."""
    form = QFormLayout(parent) if parent is not None else QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def fill_combo(combo: QComboBox, items: list[tuple[str, str]], chosen: str | None) -> None:
    """Fill a combo box anew without a signal; a choice that is gone becomes the first."""
    combo.blockSignals(True)
    combo.clear()
    for name, key in items:
        combo.addItem(name, key)
    keys = [key for _, key in items]
    combo.setCurrentIndex(keys.index(chosen) if chosen in keys else (0 if keys else -1))
    combo.blockSignals(False)
