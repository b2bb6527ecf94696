"""Opening and saving in napari: what the manifest names."""
