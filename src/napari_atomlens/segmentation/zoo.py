"""The model zoo: safetensors files with their cards, bundled or in the user's folder."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_atomlens.errors import ModelError

if TYPE_CHECKING:
    from napari_atomlens.segmentation.network import ColumnNet

BUNDLED = Path(__file__).parent / "weights"


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
    calibration : dict
        Constants measured after training (temperature and the like).
    recipe : dict
        What its training scenes were drawn from, where that was a crystal.
    lattice : dict
        What the lattice of its material looks like, see :mod:`~.segmentation.choose`.
    figures : dict
        Measured after training on held-out scenes, beside the universal model.
    """

    name: str
    material: str
    technique: str
    classes: tuple[str, ...]
    preferred_spacing_px: float
    card: str
    path: Path
    calibration: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    lattice: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def file_hash(self) -> str:
        """SHA-256 of the weights file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def user_folder() -> Path:
    """Folder of the user's own models (``ATOMLENS_MODELS`` overrides it)."""
    override = os.environ.get("ATOMLENS_MODELS")
    return Path(override) if override else Path.home() / ".atomlens" / "models"


def _header(path: Path) -> dict[str, Any]:
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
    facts = _header(path)
    card = path.with_suffix(".md")
    return ModelInfo(
        name=path.stem,
        material=facts.get("material", "any"),
        technique=facts.get("technique", ""),
        classes=tuple(facts["classes"]),
        preferred_spacing_px=float(facts["preferred_spacing_px"]),
        card=card.read_text(encoding="utf-8") if card.exists() else "",
        path=path,
        calibration=facts.get("calibration", {}),
        recipe=facts.get("recipe", {}),
        lattice=facts.get("lattice", {}),
        figures=facts.get("figures", {}),
    )


def list_models() -> list[ModelInfo]:
    """Bundled models, then the user's own; damaged files are left out."""
    found: dict[str, ModelInfo] = {}
    for folder in (BUNDLED, user_folder()):
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


def load_network(info: ModelInfo) -> ColumnNet:
    """Load the weights of a model, ready for inference (cached by file and its age)."""
    try:
        stamp = info.path.stat().st_mtime_ns
    except OSError as error:
        raise ModelError(f"The model file {info.path.name} cannot be read ({error}).") from None
    return _load(info.path, stamp)


@lru_cache(maxsize=4)
def _load(path: Path, stamp: int) -> ColumnNet:
    import torch

    from napari_atomlens.segmentation.runtime import half_precision

    fused = _build(path).fused()
    if half_precision():
        fused.to(torch.bfloat16)
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def unfused_network(info: ModelInfo) -> ColumnNet:
    """Load a network that can learn on: float32, the batch normalisation not folded in."""
    return _build(info.path)


def _build(path: Path) -> ColumnNet:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_atomlens.segmentation.network import ARCHITECTURE, ColumnNet

    facts = _header(path)["architecture"]
    if facts.get("name") != ARCHITECTURE:
        raise ModelError(
            f"{path.name} holds a network of another kind ({facts.get('name', 'unnamed')}); "
            "it needs another version of napari-atomlens."
        )
    try:
        state = load_file(str(path))
        net = ColumnNet(facts["n_classes"], tuple(facts["widths"]))
        missing = net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        wrong = [k for k in missing.missing_keys if not k.endswith("num_batches_tracked")]
        if wrong or missing.unexpected_keys:
            raise KeyError(f"{len(wrong)} weights are missing")
    except (SafetensorError, RuntimeError, KeyError, OSError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(f"The weights in {path.name} are damaged: {first}") from None
    return net


def write_model(path: Path, net: ColumnNet, facts: dict[str, Any]) -> Path:
    """Write weights and what is known of them as one safetensors file, atomically."""
    from safetensors.torch import save_file

    from napari_atomlens.segmentation.network import UNIVERSAL_CLASSES

    metadata = {
        "classes": list(UNIVERSAL_CLASSES),
        "preferred_spacing_px": 10.0,
        **facts,
        "architecture": net.architecture(),
    }
    state = {
        k: v.detach().cpu().contiguous()
        for k, v in net.state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    fresh = path.with_suffix(".tmp")
    save_file(state, str(fresh), metadata={"atomlens": json.dumps(metadata)})
    fresh.replace(path)
    return path


def update_facts(path: Path, **facts: Any) -> Path:
    """Change what a model file says of itself, atomically; the weights stay as they are."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(str(path), "pt") as file:
        known = json.loads(file.metadata()["atomlens"])
    fresh = path.with_suffix(".tmp")
    text = json.dumps({**known, **facts})
    save_file(load_file(str(path)), str(fresh), metadata={"atomlens": text})
    fresh.replace(path)
    return path
