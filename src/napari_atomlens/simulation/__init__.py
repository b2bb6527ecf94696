"""Simulated STEM and STM images with exact truth."""

from napari_atomlens.simulation.scenes import Scene, seed_for, simulate

__all__ = ["Scene", "seed_for", "simulate"]
