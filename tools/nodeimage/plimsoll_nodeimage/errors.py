"""The one error that this package raises on purpose."""

from __future__ import annotations


class NodeImageError(Exception):
    """The image could not be built; the text says why and what to do."""
