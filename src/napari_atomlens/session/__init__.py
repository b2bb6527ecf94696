"""Sessions: one image, what was found in it and what the user did to that; no napari, no Qt."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
