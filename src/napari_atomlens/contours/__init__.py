"""Outlines of atoms, their shape, what is unusual about it, and classes."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
