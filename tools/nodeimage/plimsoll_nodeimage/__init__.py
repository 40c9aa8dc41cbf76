"""Builds the disk image of a node from Debian packages and the pinned kubelet."""

from plimsoll_nodeimage.image import build, image_path

__all__ = ["build", "image_path"]
