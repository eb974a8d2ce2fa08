"""The masked sum: ring, masks, shares, messages and the two state machines, without network, clock or disk."""
