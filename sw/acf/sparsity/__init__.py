"""Sparse training: how many weights each layer keeps, where they stand at first, and when and how that changes.

``distributions`` shares a sparsity among layers, ``patterns`` makes the first masks, ``schedules`` says when and how
much, ``Pruner`` asks for structure updates, and ``reference`` does them in NumPy as the structure engine does.
"""
