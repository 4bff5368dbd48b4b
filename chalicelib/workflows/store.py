"""What the scheduled function remembers of itself: one row in the table `tasks`, beside the tasks it looks after."""

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib import db
from chalicelib.settings import settings


class SweepRow(Model):
    class Meta:
        table_name = settings.named("tasks")

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    last_at = NumberAttribute(attr_name="lastAt", null=True)
    before = NumberAttribute(null=True)
    shards = NumberAttribute(null=True)
    outage_began = NumberAttribute(attr_name="outageBegan", null=True)
    outage_ended = NumberAttribute(attr_name="outageEnded", null=True)


def _row() -> SweepRow:
    return SweepRow("~sweep", "~sweep")


def start(now: int) -> db.Row:
    """Note that a sweep starts; the row tells when the one before did (`before`; now, at the very first)."""
    actions = [
        SweepRow.before.set(SweepRow.last_at | now),
        SweepRow.last_at.set(now),
        SweepRow.shards.set(SweepRow.shards | settings.shards),
    ]
    return db.update(_row(), actions)


def widen(shards: int) -> None:
    """Remember the largest number of shards there ever was: rows written then are still found when it is lowered."""
    try:
        db.update(_row(), [SweepRow.shards.set(shards)], SweepRow.shards < shards)
    except db.Failed:
        return


def note_outage(began: int, ended: int) -> None:
    actions = [SweepRow.outage_began.set(began), SweepRow.outage_ended.set(ended)]
    db.update(_row(), actions)
