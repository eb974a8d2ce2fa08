"""Images in: index, decoding, fixed preprocessing, splits, generated smears."""
