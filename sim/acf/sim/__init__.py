"""Simulators of the fabric, its area and energy, and the tools that they need."""
