"""The model zoo: safetensors files with their cards, bundled or in the user's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from napari_atomlens.errors import ModelError
from napari_atomlens.files import Json, digest, user_folder

BUNDLED = Path(__file__).parent / "weights"

#: What a class of the probability map stands for.
Role = Literal["background", "column", "contamination"]
#: Classes that are no columns; every other class is one kind of them.
_OTHER_ROLES: dict[str, Role] = {
    "background": "background",
    "contamination": "contamination",
    "contaminant": "contamination",
}


def role_of(name: str) -> Role:
    """Role of a class by its name, for models that do not say it themselves."""
    return _OTHER_ROLES.get(name, "column")


def roles_of(classes: Iterable[str]) -> tuple[Role, ...]:
    """Role of each class by its name, for models that do not say them themselves."""
    return tuple(role_of(name) for name in classes)


def columns_among(roles: Iterable[str]) -> list[int]:
    """Numbers of the classes that are columns."""
    return [k for k, role in enumerate(roles) if role == "column"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes
    ----------
    name, material, technique : str
        Name, and what it was made for ("any" for universal models).
    classes : tuple of str
        Classes of the probability map, background first.
    preferred_spacing_px : float
        Distance between nearest columns that the network was trained at.
    card : str
        The model card as Markdown: training data, seeds, figures, known failures.
    path : pathlib.Path
        The weights.
    roles : tuple of str
        What each class stands for: "background", "column" or "contamination".
    calibration : dict
        Constants measured after training (temperature and the like).
    recipe : dict
        What its training scenes were drawn from, where that was a crystal.
    lattice : dict
        What the lattice of its material looks like, see :mod:`~.segmentation.choose`.
    figures : dict
        Measured after training on held-out scenes, beside the universal model.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> model = next(m for m in al.list_models() if m.name == "universal")
    >>> model.material, model.technique, model.preferred_spacing_px
    ('any', 'STEM, STM', 10.0)
    """

    name: str
    material: str
    technique: str
    classes: tuple[str, ...]
    preferred_spacing_px: float
    card: str
    path: Path
    roles: tuple[Role, ...]
    calibration: Json = field(default_factory=dict)
    recipe: Json = field(default_factory=dict)
    lattice: Json = field(default_factory=dict)
    figures: Json = field(default_factory=dict)

    def file_hash(self) -> str:
        """SHA-256 of the weights file."""
        return digest(self.path)


def header_of(path: Path) -> Json:
    """Metadata of a safetensors file, read without PyTorch."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= 10_000_000:
                raise ValueError("header size")
            metadata = json.loads(file.read(size))["__metadata__"]["atomlens"]
            facts = dict(json.loads(metadata))
            if missing := {"classes", "preferred_spacing_px", "architecture"} - facts.keys():
                raise ValueError(f"{', '.join(sorted(missing))} missing")
            return facts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path.name} is not a model of napari-atomlens, or it is damaged ({error})."
        ) from None


def _info(path: Path) -> ModelInfo:
    facts = header_of(path)
    card = path.with_suffix(".md")
    roles = tuple(facts.get("roles") or roles_of(facts["classes"]))
    if len(roles) != len(facts["classes"]) or not set(roles) <= set(get_args(Role)):
        raise ModelError(f"{path.name} does not say of every class what it stands for.")
    return ModelInfo(
        name=path.stem,
        material=facts.get("material", "any"),
        technique=facts.get("technique", ""),
        classes=tuple(facts["classes"]),
        preferred_spacing_px=float(facts["preferred_spacing_px"]),
        card=card.read_text(encoding="utf-8") if card.exists() else "",
        path=path,
        roles=roles,
        calibration=facts.get("calibration", {}),
        recipe=facts.get("recipe", {}),
        lattice=facts.get("lattice", {}),
        figures=facts.get("figures", {}),
    )


def list_models() -> list[ModelInfo]:
    """Bundled models, then the user's own; damaged files are left out.

    Examples
    --------
    >>> import napari_atomlens as al
    >>> "universal" in [model.name for model in al.list_models()]
    True
    """
    found: dict[str, ModelInfo] = {}
    for folder in (BUNDLED, user_folder("models")):
        for path in sorted(folder.glob("*.safetensors")):
            try:
                found[path.stem] = _info(path)
            except ModelError:
                continue
    return list(found.values())


def find_model(name: str = "auto") -> ModelInfo:
    """Look a model up by name, or by the path of a safetensors file.

    Raises
    ------
    ModelError
        If there is no such model, or the file is damaged.
    """
    if not isinstance(name, str):
        raise ModelError(f"A model is named by a text, not {type(name).__name__}.")
    if name.endswith(".safetensors"):
        path = Path(name)
        if not path.exists():
            raise ModelError(f"There is no model file {path.name}.")
        return _info(path)
    models = {m.name: m for m in list_models()}
    wanted = "universal" if name == "auto" else name
    if wanted not in models:
        raise ModelError(
            f"There is no model named {wanted!r}; there are: {', '.join(models) or 'none'}."
        )
    return models[wanted]
