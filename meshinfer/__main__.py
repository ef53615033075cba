"""`python -m meshinfer` is the `meshinfer` command."""

from meshinfer.cli import main

main()
