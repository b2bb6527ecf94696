"""A model for one crystal, from the file of its structure to the model in the user's folder."""

from __future__ import annotations

import json
from pathlib import Path

from napari_atomlens import __version__
from napari_atomlens.errors import ModelError
from napari_atomlens.files import user_folder, write_whole
from napari_atomlens.progress import Progress, ProgressLike, as_progress
from napari_atomlens.segmentation.loading import update_facts
from napari_atomlens.segmentation.zoo import ModelInfo, find_model
from napari_atomlens.simulation.material_scenes import Recipe
from napari_atomlens.training.calibrate import calibrate
from napari_atomlens.training.held_out import Figures, figures_facts, held_out, lattice_facts
from napari_atomlens.training.keeping import check_name, check_new, is_kept
from napari_atomlens.training.loop import train
from napari_atomlens.training.materials import from_recipe, load_recipe, save_recipe
from napari_atomlens.training.params import CrystalParams, TrainParams
from napari_atomlens.training.recipes import make_recipe


def card(info: ModelInfo, recipe: Recipe, own: Figures, universal: Figures) -> str:
    """Write the card of a model: what it is for, what it learned from, what it is worth."""
    lines = [
        f"# Model card: {info.name}", "",
        f"Finds the columns of {recipe.material} in {recipe.technique} images, and says what "
        "they are.", "", "| | |", "|---|---|",
        f"| Classes | background (and holes), {', '.join(recipe.species)}, contamination; a last "
        "output marks centres |",
        f"| Preferred sampling | {info.preferred_spacing_px:g} px between nearest columns ("
        + ", ".join(f"{1e3 * v:.0f}" for v in info.lattice.get("spacing_nm", ()))
        + " pm); the image is resampled to it |",
        f"| Training data | simulated only: linear imaging, columns as bright as the sum of Z to "
        f"the power {recipe.exponent[0]:g} to {recipe.exponent[1]:g}, with the defects below and "
        "the noise, scan faults and contamination of the universal model |",
        "| Structures | "
        + ", ".join(f"{s.name} ({', '.join(n for n in c if n)})"
                    for s, c in zip(recipe.structures, recipe.classes, strict=True)) + " |",
        "| Defects | "
        + "; ".join(
            (f"{d.of} replaced by {' or '.join(d.by)}" if d.by else f"{d.of} missing")
            + f" -> {d.becomes or 'hole'}" for d in recipe.defects
        ) + " |",
        f"| Made with | napari-atomlens {__version__} |", "", "## Figures", "",
        f"On {own.images} held-out simulated images of 256 x 256 px, all doses and faults of "
        "training; a column is right within a quarter of the spacing.", "",
        "| model | F1, all columns |", "|---|---|",
        f"| universal | {universal.f1:.4f} |", f"| {info.name} | {own.f1:.4f} |", "",
        ("It beats the universal model on its own material." if own.f1 > universal.f1 else
         "**It does not beat the universal model in finding columns**; `auto` leaves it alone. "
         "What it adds is the names of the columns."), "",
        "| column | F1: found, in place, and called so |", "|---|---|",
        *(f"| {k} | {v:.3f} |" for k, v in own.species_f1().items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def finish(
    path: Path,
    recipe: Recipe,
    n_images: int = 40,
    n_calibration: int = 120,
    progress: ProgressLike = None,
) -> ModelInfo:
    """Calibrate a trained model, measure it beside the universal one and write its card.

    Parameters
    ----------
    path : pathlib.Path
        The trained model; changed in place.
    """
    watch = as_progress(progress)
    watch.say("calibrating")
    calibrate(path, n_calibration)
    goal = from_recipe(recipe)
    watch.say("measuring on held-out images")
    own = held_out(find_model(str(path)), goal, n_images)
    universal = held_out(find_model("universal"), goal, n_images)
    update_facts(path, lattice=lattice_facts(recipe), figures=figures_facts(own, universal))
    info = find_model(str(path))
    write_whole(path.with_suffix(".md"), card(info, recipe, own, universal))
    return find_model(str(path))


def _is_of(name: str, recipe: Recipe) -> bool:
    """Whether the user's model of a name was trained with a recipe: it may go on."""
    try:
        info = find_model(str(user_folder("models") / f"{name}.safetensors"))
    except ModelError:
        return False
    return json.dumps(info.recipe) == json.dumps(recipe.as_dict())


def train_crystal(
    crystal: str | Path,
    recipe: str | Path | None = None,
    p: CrystalParams = CrystalParams(),
    *,
    progress: ProgressLike = None,
) -> ModelInfo | None:
    """Train a model for a crystal, and put it into the user's folder of models.

    A second call with the same name goes on where the first one stopped.

    Parameters
    ----------
    crystal : path
        CIF, or anything else that ASE reads.
    recipe : path, optional
        A recipe file (see :mod:`napari_atomlens.training.recipes`).
    p : CrystalParams
    progress : Progress or callable, optional
        Told (step, steps) and the loss, then what happens after the training; where it asks
        to stop, training stops with a checkpoint written.

    Returns
    -------
    ModelInfo or None
        The model; None if it was cancelled.

    Raises
    ------
    FormatError, ParameterError, ModelError
        If a file cannot be used, the checkpoints in the folder are of another recipe, or the user
        has another model of that name.
    """
    name = p.name or Path(crystal).stem
    check_name(name)
    made = make_recipe(name, crystal, recipe)
    folder = Path(p.out or f"runs/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "recipe.json"
    if kept.exists() and load_recipe(kept).as_dict() != made.as_dict():
        raise ModelError(
            f"The folder {folder.name} holds the training of another recipe; choose another "
            "name or folder, or remove it."
        )
    if is_kept(name) and not _is_of(name, made):
        check_new(name)
    save_recipe(kept, made)
    stopped, watch = False, as_progress(progress)

    def stop() -> bool:
        nonlocal stopped
        stopped = stopped or watch.stopped
        return stopped

    path = train(
        TrainParams(
            material=str(kept), out=str(folder), steps=p.steps, batch=p.batch, size_px=p.size_px,
            learning_rate=p.learning_rate, workers=p.workers, reuse=3, threads=p.threads,
            device=p.device, seed=p.seed, start=p.start,
        ),
        Progress(watch, stop),
    )  # fmt: skip
    if stopped:
        return None
    info = finish(path, made, p.images, progress=watch)
    for suffix in (".md", ".safetensors"):  # the card first: no model is without
        content = info.path.with_suffix(suffix).read_bytes()
        write_whole(user_folder("models") / f"{name}{suffix}", content)
    return find_model(name)
