"""Make `python -m mergershift` equivalent to the command `mergershift`."""

from mergershift.cli.main import main

main()
