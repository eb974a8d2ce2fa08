"""Differential privacy, one obligation a module: clipping, sampling, noise, accounting; a step couples."""
