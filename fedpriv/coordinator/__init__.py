"""The operator: rounds, checkpoints, records, and the Flower side."""
