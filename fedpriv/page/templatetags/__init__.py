"""Filters for the templates of the page."""
