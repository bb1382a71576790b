"""`python -m mergershift` is the command `mergershift`."""

from mergershift.cli import main

main()
