"""The masked sum: ring, masks, shares, messages, two state machines; no network, clock or disk."""
