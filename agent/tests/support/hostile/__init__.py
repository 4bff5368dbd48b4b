"""An engine that attacks the machine. `e2e/test_attacks.py` runs it, once for each attack.

    python -m agent.tests.support.hostile FACTS

FACTS is a JSON file with what an attacker could find out: paths, process ids, addresses. The task's description has
the names of attacks: functions of this package. Each returns whether it succeeded; one that raises OSError did not.
Attacks that use up something stop at a bound that does not hurt the machine, whether a limit ends them or not.

It needs nothing but Python's standard library, because a sandbox shows it no other file of this project.
"""
