"""``python -m napari_atomlens.cli``."""

from napari_atomlens.cli.app import app

if __name__ == "__main__":
    app()
