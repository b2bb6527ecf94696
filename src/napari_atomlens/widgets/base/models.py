"""Names of the models, for the lists of forms."""

from __future__ import annotations

from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation.zoo import list_models


def model_names() -> list[str]:
    """Names of the models that there are, from their cards alone; "auto" first."""
    try:
        return ["auto", *(m.name for m in list_models() if m.name != "auto")]
    except (AtomLensError, OSError):
        return ["auto"]
