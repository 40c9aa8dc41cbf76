"""Deciding: pure functions from a snapshot and a clock reading to a plan with reasons."""
