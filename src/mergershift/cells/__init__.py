"""One training on disk: its folders, its files, and the state from which an interrupted training resumes."""
