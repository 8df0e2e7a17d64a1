"""`python -m ibt`: the command `ibt`."""

from ibt.cli import main

if __name__ == "__main__":
    main()
