"""napari-atomlens: find, measure and follow every atom in STEM and STM images.

The public names are loaded when they are first used, so that importing the package
(and napari finding the plugin) costs nothing; ``__init__.pyi`` says where they live.
"""

import lazy_loader as lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
