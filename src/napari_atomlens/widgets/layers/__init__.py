"""Every layer of ours in napari: made once, updated in place. No science here."""
