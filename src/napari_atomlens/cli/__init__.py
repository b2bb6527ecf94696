"""The command line: ``atomlens``. Nothing heavy is loaded before a command is asked for."""

# Not by lazy_loader: the module and the application in it are both called "app".
from napari_atomlens.cli.app import app as app
