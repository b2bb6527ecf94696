"""Analysed images and windows as ``.atomlens`` folders."""
