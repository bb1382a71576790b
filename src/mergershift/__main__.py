"""`python -m mergershift` is the command `mergershift`."""

from mergershift.cli.main import main

main()
