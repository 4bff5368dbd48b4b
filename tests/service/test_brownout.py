"""A small fleet in a brown-out of DynamoDB, simulated by bench/brownout.py.

`make bench ARGS=brownout` simulates a large one.
"""

import pytest

from bench import brownout, quiet


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", brownout.VARIANTS)
def test_fleet_survives_a_brown_out_of_dynamodb(aws: None, variant: str) -> None:
    with quiet.capture_log():
        result = brownout.run(variant, brownout.SMALL)
    assert result.broken == [], result.table()
