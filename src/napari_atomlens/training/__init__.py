"""Training of the networks on simulated images, and adapting them to corrected ones."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
