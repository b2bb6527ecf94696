"""What every test needs before napari, Qt or torch is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

# The workers of pytest-xdist are the parallelism: more threads in each only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("QT_API", "pyside6")
# Never the settings, nor the models, of whoever runs the tests.
_home = tempfile.TemporaryDirectory(prefix="atomlens-tests-")
os.environ["NAPARI_CONFIG"] = str(Path(_home.name) / "napari.yaml")
os.environ["ATOMLENS_MODELS"] = str(Path(_home.name) / "models")
os.environ["ATOMLENS_AUTOSAVE"] = str(Path(_home.name) / "autosave")
# Bare pytest without a screen: hidden windows still work; `make test` brings a real display.
if sys.platform.startswith("linux") and not (
    os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

ROOT = Path(__file__).resolve().parents[1]
UNIVERSAL = ROOT / "src/napari_atomlens/segmentation/weights/universal.safetensors"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the bundled model where its weights are not there yet."""
    if UNIVERSAL.exists():
        return
    skip = pytest.mark.skip(reason="the weights of the universal model are not there")
    for item in items:
        if item.get_closest_marker("needs_model"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return ROOT
