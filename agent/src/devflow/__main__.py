"""`python -m devflow` runs the `devflow` command."""

from devflow.cli import main

if __name__ == "__main__":
    main()
