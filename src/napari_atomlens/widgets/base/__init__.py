"""What every dock is made of: the dock itself, forms, choices of layers, jobs, plots, tables."""
