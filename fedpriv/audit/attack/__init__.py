"""Attacks on what fedpriv would send and publish, run on generated or public smears only.

Each group has a *control*, where the attack must succeed, a *null* that knows nothing of the victim, and
*chance*. A claim that survives has survived no more than the control shows: every row says what it could
have shown.
"""
