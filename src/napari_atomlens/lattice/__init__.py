"""From atoms to the lattice they form: cell, grains, strain, sites, vacancies."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
