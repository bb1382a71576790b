"""One training on disk: its folders, its files, and what an interrupted one needs to go on."""
