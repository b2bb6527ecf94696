"""Networks read from and written to the files of models."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_atomlens.errors import ModelError
from napari_atomlens.files import Json, write_whole
from napari_atomlens.segmentation.network import ARCHITECTURE, UNIVERSAL_CLASSES, ColumnNet
from napari_atomlens.segmentation.normalise import two_views
from napari_atomlens.segmentation.runtime import half_precision
from napari_atomlens.segmentation.zoo import ModelInfo, header_of, roles_of

if TYPE_CHECKING:
    import torch

    from napari_atomlens.segmentation.network import ColumnNet


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

    facts = header_of(path)["architecture"]
    if facts.get("name") != ARCHITECTURE:
        raise ModelError(
            f"{path.name} holds a network of another kind ({facts.get('name', 'unnamed')}); "
            "it needs another version of napari-atomlens."
        )
    try:
        state = load_file(str(path))
        _check_weights(path, state)
        net = ColumnNet(facts["n_classes"], tuple(facts["widths"]))
        missing = net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
        wrong = [k for k in missing.missing_keys if not k.endswith("num_batches_tracked")]
        if wrong or missing.unexpected_keys:
            raise KeyError(f"{len(wrong)} weights are missing")
        _check_answer(path, net)
    except ModelError:
        raise
    except (SafetensorError, RuntimeError, KeyError, OSError, TypeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"The weights in {path.name} are damaged: {first}") from None
    return net


def _check_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Refuse weights that make every image a failure.

    Raises
    ------
    ModelError
        If some are no numbers, or all weights of a layer are zero.
    """
    for name, values in state.items():
        if not values.numel() or not values.float().isfinite().all():
            raise ModelError(f"The weights in {path.name} are damaged: {name} holds no numbers.")
        if values.ndim > 1 and not values.any():
            raise ModelError(f"The weights in {path.name} are damaged: {name} is nothing but zero.")
        if name.endswith("running_var") and (values < 0).any():
            raise ModelError(f"The weights in {path.name} are damaged: {name} is negative.")


def _check_answer(path: Path, net: ColumnNet) -> None:
    """Refuse weights that are numbers, but give none: that is no fault of an image.

    Raises
    ------
    ModelError
        If what the network says of a small patch is not finite.
    """
    import torch

    y, x = torch.meshgrid(torch.linspace(0, 6, 16), torch.linspace(0, 6, 16), indexing="ij")
    learning = net.training
    with torch.inference_mode():
        answer = net.eval()(two_views((torch.sin(y) + torch.cos(x))[None]))
    net.train(learning)
    if not answer.isfinite().all():
        raise ModelError(f"The weights in {path.name} are damaged: its network gives no numbers.")


def write_model(path: Path, net: ColumnNet, facts: Json) -> Path:
    """Write weights and what is known of them as one safetensors file, atomically.

    Raises
    ------
    ModelError
        If it cannot be written; what was there is left as it was.
    """
    from safetensors.torch import save

    classes = facts.get("classes", list(UNIVERSAL_CLASSES))
    metadata = {
        "classes": classes,
        "roles": list(roles_of(classes)),
        "preferred_spacing_px": 10.0,
        **facts,
        "architecture": net.architecture(),
    }
    state = {
        k: v.detach().cpu().contiguous()
        for k, v in net.state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    return _write(path, save(state, {"atomlens": json.dumps(metadata)}))


def _write(path: Path, content: bytes) -> Path:
    try:
        return write_whole(path, content)
    except OSError as error:
        why = error.strerror or error
        raise ModelError(f"The model {path.name} could not be written: {why}.") from error


def update_facts(path: Path, **facts: object) -> Path:
    """Change what a model file says of itself, atomically; the weights stay as they are."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save

    with safe_open(str(path), "pt") as file:
        known = json.loads(file.metadata()["atomlens"])
    text = json.dumps({**known, **facts})
    return _write(path, save(load_file(str(path)), {"atomlens": text}))
