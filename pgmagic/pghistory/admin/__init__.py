"""The Django app `pgmagic.pghistory.admin`: events in the admin, for reading only.

List it before `django.contrib.admin`, so that the pages of objects link to their events.
"""

from pgmagic.pghistory.admin.core import EventModelAdmin, EventsAdmin

__all__ = ["EventModelAdmin", "EventsAdmin"]
