"""The truth in NumPy: number formats, products and the meaning of commands, without hardware or time."""
