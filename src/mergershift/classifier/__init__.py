"""A network with its stretch in front, stored and run without the library that trains it."""
