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


def start(now: int, gap: int) -> db.Row:
    """Note that a sweep starts, and an outage if the last one is longer ago than `gap`: in one write, so that neither a
    second sweep nor one that dies can miss it."""
    usual = [SweepRow.last_at.set(now), SweepRow.shards.set(SweepRow.shards | settings.shards)]
    recent = SweepRow.last_at.does_not_exist() | (SweepRow.last_at >= now - gap)
    try:
        return db.update(_row(), usual, recent)
    except db.Failed as failed:
        began = (failed.row or {}).get("lastAt", now)
    try:
        outage = [SweepRow.outage_began.set(began), SweepRow.outage_ended.set(now)]
        return db.update(_row(), [*usual, *outage], SweepRow.last_at == began)
    except db.Failed:
        return db.update(_row(), usual)


def widen(shards: int) -> None:
    """Remember the largest number of shards there ever was: rows written then are still found when it is lowered."""
    try:
        db.update(_row(), [SweepRow.shards.set(shards)], SweepRow.shards < shards)
    except db.Failed:
        return
