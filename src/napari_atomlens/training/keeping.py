"""Models that the user keeps: under names of their own, none replaced unasked."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from napari_atomlens.errors import ModelError
from napari_atomlens.files import user_folder, write_whole
from napari_atomlens.segmentation.zoo import BUNDLED, ModelInfo, find_model

if TYPE_CHECKING:
    from napari_atomlens.training.adaptation import Adapted


def check_name(name: str) -> None:
    """Check the name of a new model.

    Raises
    ------
    ModelError
        If it cannot be a file name, or is that of a bundled model.
    """
    if not name or name == "auto" or any(c in name for c in '/\\:*?"<>|') or name.startswith("."):
        raise ModelError(f"{name!r} cannot be the name of a model; use letters, digits and -.")
    if (BUNDLED / f"{name}.safetensors").exists():
        raise ModelError(f"{name} is a bundled model, which stays as it is; choose another name.")


def is_kept(name: str) -> bool:
    """Whether the user's folder of models has a model, or the card of one, of this name."""
    place = user_folder("models") / name
    return any(place.with_name(name + end).exists() for end in (".safetensors", ".md"))


def check_new(name: str) -> None:
    """Check that a model of the user is not replaced unasked.

    Raises
    ------
    ModelError
        If there is one of that name.
    """
    if is_kept(name):
        raise ModelError(
            f"There is a model {name} already, which stays as it is; choose another name."
        )


def keep(adapted: Adapted, name: str = "", *, replace: bool = False) -> ModelInfo:
    """Move an adapted model and its card into the user's folder of models.

    Parameters
    ----------
    adapted : Adapted
    name : str
        Another name than that it was adapted under.
    replace : bool
        Replace an earlier model of that name.

    Raises
    ------
    ModelError
        If it cannot be written, or there is a model of that name.
    """
    if name and name != adapted.name:
        check_name(name)
        adapted.name = name
    if not replace:
        check_new(adapted.name)
    folder = user_folder("models")
    target = folder / f"{adapted.name}.safetensors"
    try:
        card = adapted.path.with_suffix(".md").read_text(encoding="utf-8")
        if name:
            card = f"# {name}\n" + card.partition("\n")[2]
        write_whole(target.with_name(f"{adapted.name}.md"), card)
        write_whole(target, adapted.path.read_bytes())  # last: no model is without its card
    except OSError as error:
        raise ModelError(f"The model could not be saved: {error.strerror}.") from error
    discard(adapted)
    adapted.path = target
    return find_model(adapted.name)


def discard(adapted: Adapted) -> None:
    """Remove an adapted model that is not kept."""
    if adapted.path.parent != user_folder("models"):
        shutil.rmtree(adapted.path.parent, ignore_errors=True)
