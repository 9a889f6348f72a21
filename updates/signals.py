"""What happens to releases when something below them changes."""

from typing import Any

from django.db.models.signals import pre_delete
from django.dispatch import receiver

from accounts.models import User
from updates.models import BundleRelease


@receiver(pre_delete, sender=User)
def lock_releases_of(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Lock what this person made before anything of the person is deleted.

    Leaving the groups renews the catalogue's revision, and acts on releases do that after they have locked these: the
    other way about, a deletion and a publication could wait for each other.
    """
    list(BundleRelease.objects.filter(created_by=instance).order_by("pk").select_for_update().values_list("pk"))
