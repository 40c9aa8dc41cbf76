"""What only a running operator knows, because it watched over time. No I/O, no clock."""
