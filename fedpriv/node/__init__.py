"""The hospital: policy, journal, trainer, and the Flower side."""
