"""Names of the models, for the lists of forms."""

from __future__ import annotations

from napari_atomlens.errors import AtomLensError
from napari_atomlens.segmentation.zoo import left_out, list_models


def model_names() -> list[str]:
    """Names of the models that there are, from their cards alone; "auto" first."""
    try:
        return ["auto", *(m.name for m in list_models() if m.name != "auto")]
    except (AtomLensError, OSError):
        return ["auto"]


def models_left_out() -> str:
    """Sentences of the models of the user that the lists do not offer, empty where all are well."""
    try:
        return " ".join(left_out())
    except (AtomLensError, OSError):
        return ""
