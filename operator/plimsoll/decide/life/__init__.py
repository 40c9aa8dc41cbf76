"""The parts of one VMNode's life: what is seen, what follows, and the steps. See lifecycle.py."""
