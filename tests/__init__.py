"""Tests: unit (pure rules), service, http (in process), events (SQS and schedule), e2e (real processes)."""
