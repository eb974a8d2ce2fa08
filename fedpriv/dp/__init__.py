"""Differential privacy, one obligation a module: clipping, sampling, noise, accounting; the step couples them."""
