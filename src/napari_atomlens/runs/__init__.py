"""Runs: from pixels to every table, once, for an image, a movie, a batch, a watched folder."""
