"""What every part of the platform uses: settings, errors, the clock, logs, metrics and base models. No AWS, no HTTP."""
