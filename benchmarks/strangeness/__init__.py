"""Strange images with exact truth, made apart from the package, and how they are judged.

Nothing here takes from :mod:`napari_atomlens.simulation`: columns, noise and faults are written
anew with numpy and scipy, so that a mistake of the one is not repeated by the other.
"""
