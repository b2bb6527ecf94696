"""Files in and out: images and movies of microscopes, and analysed projects."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
