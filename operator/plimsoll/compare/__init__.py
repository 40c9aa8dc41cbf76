"""Containers, VMs or both: one cluster's containers run in four ways, side by side."""
