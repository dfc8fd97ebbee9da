"""`python -m headend`."""

from headend.cli import main

main()
