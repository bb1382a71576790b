"""What every layer may use: errors, files, processes, progress; imports nothing else of the package."""
