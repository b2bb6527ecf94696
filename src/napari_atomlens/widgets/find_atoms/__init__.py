"""The dock that finds the atoms of an image or a movie."""
