"""Compute tiles: lanes, their memories, and what feeds, drains and counts them."""
