from django.db import models


class Counter(models.Model):
    """A counter with an expiry, written by `config.cache` alone.

    The table is UNLOGGED: counts are cheap to write, and starting anew after a crash only forgives some requests.
    """

    key = models.CharField(primary_key=True, max_length=250)
    value = models.BigIntegerField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
