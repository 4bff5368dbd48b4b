"""The modules that every part uses: settings, errors, the clock, logs, metrics and base models. No AWS, no HTTP."""
