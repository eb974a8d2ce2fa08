"""Images in: an index of a folder or a manifest, decoding, fixed preprocessing, splits, generated smears.

Nothing here is computed from the images of a hospital: every number of the preprocessing is a constant,
so the preprocessing itself tells nobody anything about a patient.
"""
