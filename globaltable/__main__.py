"""`python -m globaltable` is the `globaltable` command."""

from globaltable.cli import main

if __name__ == "__main__":
    main()
