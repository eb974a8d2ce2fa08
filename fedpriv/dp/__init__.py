"""Differential privacy, one obligation a module: clipping, sampling, noise, accounting; coupled by the step."""
