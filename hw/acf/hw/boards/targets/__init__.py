"""One file for each board; ``acf.hw.boards.catalog`` finds all that stand here."""
