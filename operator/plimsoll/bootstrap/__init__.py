"""How a VM becomes a node: user data, tokens, and which certificates are approved."""
