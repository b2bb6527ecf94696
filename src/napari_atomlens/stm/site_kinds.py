"""Numbers of the surfaces that the STM part knows, in nm."""

from __future__ import annotations

#: Lattice constant of silicon (543.1 pm): dimers along a row, rows, and a single step.
SILICON_NM = 0.5431
ALONG_NM = SILICON_NM / 2**0.5
ROW_NM = SILICON_NM * 2**0.5
STEP_NM = SILICON_NM / 4

#: Kinds of defects of H-Si(100) that the bundled network tells apart, in the order of its
#: classes. "adatom" is any small bright spot, "anomaly" what fits none of the others.
KINDS = (
    "dangling bond", "bare dimer", "missing dimer", "dihydride", "3x1", "1x1", "raised silicon",
    "etch pit", "adatom", "dopant", "anomaly", "contaminant",
)  # fmt: skip
#: Kind of a defect that is a line, not a place.
STEP_EDGE = "step edge"
