"""What files say of a measurement, under one name for all formats, and in one unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np

from napari_atomlens.errors import FormatError
from napari_atomlens.image import number_of, text_of, to_nm

#: Name in ``Image.metadata`` -> what it is; what a file does not say is not there.
FACTS: Final = {
    "channel": "what was measured, as the program names it (Z, Current ...)",
    "detector": "of an electron microscope",
    "direction": "of the scan: forward, backward, up, down",
    "unit": "of the pixels: nm for every height, else as the file has it",
    "bias_V": "of the sample, in V",
    "setpoint_A": "current that the feedback held, in A",
    "beam_energy_keV": "of the electrons, in keV",
    "scan_rotation_deg": "of the frame, counter-clockwise as it is drawn, in degrees; of electron "
    "microscopes as their program counts it",
    "offset_nm": "(y, x) of the middle of the frame in the coordinates of the session, y down",
    "recorded": "when, as YYYY-MM-DD HH:MM:SS where the file can be understood",
    "scan_time_s": "how long one frame took, in s",
    "title": "what the user called it",
    "annotations": "what was drawn on it: kind, place (top, left, bottom, right) in pixels, text",
}

_RECIPROCAL = re.compile(
    r"(^|[^\w])1/\s*(nm|pm|å|a|ang|angstrom|m|cm|um|µm)\b|(nm|pm|å|a|angstrom|m)\s*\^?-1\b"
    r"|\b(nm|a|å)\s*⁻¹"
)
_ANGLES = ("mrad", "rad", "µrad", "urad", "deg", "degree", "degrees", "°")


def about(**known: object) -> dict[str, object]:
    """Return what is known of a measurement, without what the file does not say.

    Raises
    ------
    KeyError
        If a name is none of :data:`FACTS`.
    """
    if foreign := set(known) - set(FACTS):
        raise KeyError(", ".join(sorted(foreign)))
    return {k: v for k, v in known.items() if v is not None and v != ""}


def heights_in_nm(data: np.ndarray, unit: object) -> tuple[np.ndarray, str]:
    """Return pixels and their unit: heights become nanometres, all else stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> heights_in_nm(np.array([1e-9], np.float32), "m")
    (array([1.], dtype=float32), 'nm')
    >>> heights_in_nm(np.array([1e-9], np.float32), "A")[1]
    'A'
    """
    name = text_of(unit).strip()
    if name == "A":  # of pixels: ampere
        return data, name
    factor = to_nm(1.0, name)
    if factor is None:
        return data, name
    if factor == 1.0:
        return data, "nm"
    kind = data.dtype.newbyteorder("=") if data.dtype.kind == "f" else np.dtype(np.float64)
    return (data * np.float64(factor)).astype(kind), "nm"


def what_a_unit_says(unit: object) -> str:
    """Return "diffraction" or "spectra" for a unit of an axis that has no place in an image.

    Examples
    --------
    >>> [what_a_unit_says(u) for u in ("1/nm", "$A^{-1}$", "mrad", "eV", "nm", "px")]
    ['diffraction', 'diffraction', 'diffraction', 'spectra', '', '']
    """
    text = text_of(unit).strip().lower().translate(str.maketrans("", "", "$[](){}_ ")).strip()
    text = text.replace("\u212b", "å").replace("\u03bc", "µ").replace("\u2212", "-")
    if text in _ANGLES or _RECIPROCAL.search(text):
        return "diffraction"
    if re.fullmatch(r"[kmgµ]?ev|energy|electronvolt|v|mv|hz|[kmg]hz", text):
        return "spectra"
    return ""


def refuse_spectra(name: str, units: Iterable[object]) -> None:
    """Refuse spectra and diffraction by the units of the two axes of an image.

    Raises
    ------
    FormatError
        That says which unit tells so.
    """
    for unit in units:
        if what := what_a_unit_says(unit):
            said = text_of(unit).strip().strip("[]").replace("_", "")  # of HyperSpy: e_V
            raise FormatError(f"{name} holds {what}, not an image: the unit of an axis is {said}.")


def when(*texts: object) -> str:
    """Return date and time as YYYY-MM-DD HH:MM:SS; as the file has it where it is not clear.

    Examples
    --------
    >>> when("24.09.2021", "15:28:08")
    '2021-09-24 15:28:08'
    >>> when("spring")
    'spring'
    """
    text = " ".join(t for t in (text_of(x).strip() for x in texts) if t)
    for layout in _LAYOUTS:
        try:
            return datetime.strptime(text, layout).strftime("%Y-%m-%d %H:%M:%S")
        except ValueError:
            continue
    return text


# month and day are only taken apart where no other reading is possible
_LAYOUTS = (
    "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M:%S",
    "%d %b %Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%m/%d/%Y %I:%M:%S %p",
)  # fmt: skip


def number_with_unit(text: object) -> tuple[float | None, str]:
    """Take a number and its unit apart, as in ``"1.0E-11 A"``."""
    value, _, unit = text_of(text).strip().partition(" ")
    return number_of(value), unit.strip()


def in_si(value: float | None, unit: str, base: str) -> float | None:
    """Return a value in volts or amperes, None where its unit is no such one.

    Examples
    --------
    >>> in_si(30.0, "mV", "V"), in_si(5.0, "K", "V")
    (0.03, None)
    """
    steps = {"": 1.0, "m": 1e-3, "\u00b5": 1e-6, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
    step = steps.get(unit.removesuffix(base)) if unit.endswith(base) else None
    return None if value is None or step is None else value * step


def in_words(metadata: Mapping[str, object]) -> str:
    """Return what is known of a measurement as one line for people, "" where nothing is.

    Examples
    --------
    >>> in_words({"channel": "Z", "direction": "forward", "unit": "nm", "bias_V": -0.55,
    ...           "setpoint_A": 3e-10, "scan_rotation_deg": 30.0})
    'Z forward in nm, -0.55 V, 300 pA, turned by 30°'
    """
    said = {k: v for k in FACTS if (v := metadata.get(k)) not in (None, "")}
    what = " ".join(str(said[k]) for k in ("channel", "detector", "direction") if k in said)
    if "unit" in said:
        what = f"{what} in {said['unit']}".strip()
    volts, energy = number_of(said.get("bias_V")), number_of(said.get("beam_energy_keV"))
    ampere, angle = number_of(said.get("setpoint_A")), number_of(said.get("scan_rotation_deg"))
    seconds = number_of(said.get("scan_time_s"))
    parts = [
        what,
        "" if volts is None else f"{volts:g} V",
        "" if ampere is None else f"{ampere * 1e12:.4g} pA",
        "" if energy is None else f"{energy:g} keV",
        f"turned by {angle:.4g}°" if angle else "",
        "" if seconds is None else f"{seconds:g} s",
        str(said.get("recorded", "")),
    ]
    return ", ".join(p for p in parts if p)


def middle_of(
    corner: Sequence[float | None], sides: Sequence[float | None], unit: object
) -> tuple[float, float] | None:
    """Return the middle of a frame of Gwyddion, (y, x) in nm, from its upper left corner.

    Corners at (0, 0) are those of programs that write none.

    Examples
    --------
    >>> middle_of((1e-8, 0.0), (2e-9, 4e-9), "m")
    (11.0, 2.0)
    """
    if not any(corner) or None in (*corner, *sides):
        return None
    y, x = (to_nm((c or 0.0) + (s or 0.0) / 2, unit) for c, s in zip(corner, sides, strict=True))
    return None if y is None or x is None else (round(y, 6), round(x, 6))
