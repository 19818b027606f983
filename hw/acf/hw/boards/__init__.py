"""Boards: the serial link, the memory behind the fabric, and one file for each board."""
