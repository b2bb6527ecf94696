"""In which ways positions can be measured: the names that functions and parameters share."""

from __future__ import annotations

from typing import Literal

#: Joint fit of round or of elliptic columns, centre of mass, or the peaks as they are.
Refine = Literal["fit", "elliptic", "centroid", "off"]

#: Widths in the fit: as the data allow, one per group of columns, or free.
Width = Literal["auto", "shared", "free"]

#: Noise in the fit: found in the image, counting statistics, or the same everywhere.
NoiseKind = Literal["auto", "poisson", "uniform"]
