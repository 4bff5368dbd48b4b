"""`python -m devflow` is `devflow`."""

from devflow.cli import main

if __name__ == "__main__":
    main()
