"""What of a widget cannot be read or reached: clipped text, cut boxes, what sticks out."""

from __future__ import annotations

from collections.abc import Iterator

from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QGraphicsView,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QTabBar,
    QTabWidget,
    QToolButton,
    QWidget,
)

#: Rounding of fractional scales.
SLACK = 1
#: So many characters of a choice can be read, fewer only where all choices are shorter.
CHARACTERS = 8


def misfits(top: QWidget) -> list[str]:
    """Sentences about everything in a visible widget that does not fit."""
    return [f"{label(w)}: {what}" for w in [top, *parts(top)] for what in wrong(w, top)]


def parts(top: QWidget) -> Iterator[QWidget]:
    """Visible widgets inside another; of lists, tables and plots only the outside."""
    for child in top.children():
        shown = isinstance(child, QWidget) and child.isVisible() and not child.isWindow()
        if shown and child.height() > 0:  # what a closed section holds has no height
            yield child
            if not isinstance(child, (QAbstractItemView, QGraphicsView, QAbstractSpinBox)):
                yield from parts(child)


def label(widget: QWidget) -> str:
    """What a widget is called in a sentence."""
    text = widget.text() if isinstance(widget, (QAbstractButton, QLabel)) else ""
    name = widget.objectName()
    return f"{type(widget).__name__} {name or '-'} {text[:30]!r}" if text else (
        f"{type(widget).__name__} {name or '-'}"
    )  # fmt: skip


def wrong(widget: QWidget, top: QWidget) -> Iterator[str]:
    """What is wrong with one widget."""
    if widget is not top:
        yield from sticking_out(widget)
    if isinstance(widget, (QCheckBox, QRadioButton, QPushButton, QToolButton)):
        yield from clipped_button(widget)
    elif isinstance(widget, QLabel):
        yield from clipped_label(widget)
    elif isinstance(widget, QComboBox):
        yield from cut_combo(widget)
    elif isinstance(widget, QAbstractSpinBox):
        field = widget.findChild(QLineEdit)
        if field is not None:
            yield from cut_line(field)
    elif isinstance(widget, QTabBar):
        yield from cut_tab(widget)


def sticking_out(widget: QWidget) -> Iterator[str]:
    """A widget is cut off by the left or the right edge of the one that holds it."""
    around = widget.parentWidget()
    if around is None or isinstance(around, (QTabBar, QTabWidget, QComboBox)):
        return  # the arrows of a bar of tabs, and what the style places itself
    left, right = widget.x(), widget.x() + widget.width()
    if left < -SLACK or right > around.width() + SLACK:
        yield f"reaches from {left} to {right} in {around.width()} px of {label(around)}"


def width_of(widget: QWidget, text: str) -> int:
    """Width of the widest line of a text."""
    plain = text.replace("&&", "\0").replace("&", "").replace("\0", "&")
    return max((widget.fontMetrics().horizontalAdvance(x) for x in plain.split("\n")), default=0)


def clipped_button(button: QAbstractButton) -> Iterator[str]:
    """The text of a button is wider or taller than the button."""
    if not button.text() or (isinstance(button, QToolButton) and (
        button.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonIconOnly
    )):  # fmt: skip
        return
    room = button.contentsRect()
    if not isinstance(button, QToolButton):
        option = QStyleOptionButton()
        button.initStyleOption(option)
        what = (
            QStyle.SubElement.SE_PushButtonContents
            if isinstance(button, QPushButton)
            else QStyle.SubElement.SE_CheckBoxContents
            if isinstance(button, QCheckBox)
            else QStyle.SubElement.SE_RadioButtonContents
        )
        room = button.style().subElementRect(what, option, button)
        room = room.intersected(button.rect())
    needed = width_of(button, button.text())
    if not button.icon().isNull():
        needed += button.iconSize().width()
    if needed > room.width() + SLACK:
        yield f"the text needs {needed} px and has {room.width()}"
    if button.fontMetrics().height() > button.height() + SLACK:
        yield f"the text is {button.fontMetrics().height()} px tall in {button.height()} px"


def clipped_label(text: QLabel) -> Iterator[str]:
    """The text of a label is wider, or wraps to more lines, than there is room for."""
    if not text.text():
        return
    room = text.contentsRect().width() - 2 * text.margin()
    if text.wordWrap():
        needed = text.heightForWidth(text.width())
        if needed > text.height() + SLACK:
            yield f"the lines need {needed} px and have {text.height()}"
        return
    rich = text.textFormat() == Qt.TextFormat.RichText or (
        text.textFormat() == Qt.TextFormat.AutoText and Qt.mightBeRichText(text.text())
    )
    needed = width_of(text, text.text())
    if rich:
        page = QTextDocument()
        page.setDefaultFont(text.font())
        page.setDocumentMargin(0)
        page.setHtml(text.text())
        needed = round(page.idealWidth())
    if needed > room + SLACK:
        yield f"the text needs {needed} px and has {room}"


def cut_combo(combo: QComboBox) -> Iterator[str]:
    """Too little of what is chosen can be read."""
    option = QStyleOptionComboBox()
    combo.initStyleOption(option)
    room = combo.style().subControlRect(
        QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, combo
    )
    metrics = combo.fontMetrics()
    longest = max((width_of(combo, combo.itemText(k)) for k in range(combo.count())), default=0)
    needed = min(longest, CHARACTERS * metrics.averageCharWidth())
    if needed > room.intersected(combo.rect()).width() + SLACK:
        yield f"a choice needs {needed} px and has {room.width()}"


def cut_line(field: QLineEdit) -> Iterator[str]:
    """The value of a box does not fit."""
    needed = width_of(field, field.text())
    if needed > field.contentsRect().width() + SLACK:
        yield f"the value {field.text()!r} needs {needed} px and has {field.contentsRect().width()}"


def cut_tab(bar: QTabBar) -> Iterator[str]:
    """A tab is too narrow for its title, or the one in front is not there as a whole."""
    for k in range(bar.count()):
        if bar.isTabVisible(k) and width_of(bar, bar.tabText(k)) > bar.tabRect(k).width() + SLACK:
            yield f"the tab {bar.tabText(k)!r} has {bar.tabRect(k).width()} px"
    front: QRect = bar.tabRect(bar.currentIndex())
    if front.left() < -SLACK or front.right() > bar.width() + SLACK:
        yield f"the tab {bar.tabText(bar.currentIndex())!r} is cut"


def in_window(widget: QWidget) -> bool:
    """Whether any of a widget can be seen."""
    if not widget.isVisible() or widget.visibleRegion().isEmpty():
        return False
    corner = widget.mapTo(widget.window(), QPoint(0, 0))
    return widget.window().rect().intersects(QRect(corner, widget.size()))
