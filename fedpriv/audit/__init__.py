"""What an auditor runs: conformance of the training that is installed here, and recomputation of every claim.

`fedpriv.audit.conformance` runs the trainers of `fedpriv node start` on drawn records. `fedpriv.audit.verify`
reads what runs and hospitals left on disk, trusts nothing of it but a roster, and needs no TensorFlow.
"""
