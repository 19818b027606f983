"""Measures products over a grid of patterns, densities and layers, and draws what comes of it."""
