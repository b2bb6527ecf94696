"""The dock that follows a movie."""
