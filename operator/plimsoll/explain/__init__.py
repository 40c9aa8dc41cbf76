"""``plimsoll explain``: decides as the operator does, says why, and changes nothing."""
