"""The sweep's own row in the table `tasks`."""

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.core.settings import settings


class SweepRow(Model):
    class Meta:
        table_name = settings.resource_name("tasks")

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    last_at = NumberAttribute(attr_name="lastAt", null=True)
    before = NumberAttribute(null=True)
    shards = NumberAttribute(null=True)
    partitions = NumberAttribute(null=True)
    moves_until = NumberAttribute(attr_name="movesUntil", null=True)
    outage_began = NumberAttribute(attr_name="outageBegan", null=True)
    outage_ended = NumberAttribute(attr_name="outageEnded", null=True)
