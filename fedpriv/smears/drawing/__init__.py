"""Drawn blood smears: stains, cells, and whole fields of view, as light through stained cells."""
