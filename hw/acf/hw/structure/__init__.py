"""Engines that change the weights of a layer in memory: optimizer step and rewiring."""
