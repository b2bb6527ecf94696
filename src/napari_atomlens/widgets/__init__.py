"""What a microscopist sees in napari: one module per dock widget, and what they share."""
