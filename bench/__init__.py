"""What DevFlow costs, measured: `make bench`. docs/performance.md has the results and says how to read them."""
