from .restore import offer_restore

__all__ = [
    "offer_restore",
]
