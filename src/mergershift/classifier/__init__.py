"""A network together with its stretch, stored and run without the library that trains it."""
