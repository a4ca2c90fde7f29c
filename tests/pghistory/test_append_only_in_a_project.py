"""Events that cannot be changed, in a project with Django's test cases and with a migration from before."""

from __future__ import annotations

import pytest

from tests.project_support import Project, project  # noqa: F401

pytestmark = pytest.mark.slow

TRUNCATE_TOO = """
@pghistory.track(
    pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), append_only="truncate", hash_chain=True
)
class Item(models.Model):
    price = models.IntegerField(default=0)
"""
LIKE_UPSTREAM = TRUNCATE_TOO.replace('append_only="truncate"', "append_only=True")
MIGRATE = """
import importlib
from django.core.management import call_command
call_command("makemigrations", "shop")
importlib.invalidate_caches()
call_command("migrate", verbosity=0)
"""
USE = """
from unittest import TestResult, TestSuite
from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase
from pgmagic import pghistory
from shop.models import Item

class Selling(TransactionTestCase):
    def test_first(self):
        with pghistory.context(user="ada"):
            item = Item.objects.create(price=1)
        Item.objects.update(price=2)
        self.assertEqual(item.events.count(), 2)

    test_second = test_first

result = TestResult()
TestSuite(map(Selling, ["test_first", "test_second"])).run(result)
print(result.testsRun, [error for _, error in result.errors + result.failures])
Item.objects.create(price=3)
call_command("flush", interactive=False, verbosity=0)
print(Item.objects.count(), Item.pgh_event_model.objects.count())
Item.objects.create(price=4)
try:
    Item.pgh_event_model.objects.update(price=5)
except Exception as error:
    print(str(error).splitlines()[0])
with connection.cursor() as cursor:
    cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname ~ 'append_only' AND NOT tgisinternal ORDER BY 1")
    print(cursor.rowcount)
"""


def test_append_only_lets_flush_and_every_transaction_test_case_work(project: Project) -> None:  # noqa: F811
    # The former migration has the trigger that refused TRUNCATE, as append_only=True did; the next one drops it.
    project.models(TRUNCATE_TOO)
    project.python(MIGRATE)
    assert "append_only_truncate" in project.migration(1)
    project.models(LIKE_UPSTREAM)
    said = project.python(MIGRATE + USE)
    assert "Remove trigger append_only_truncate from model itemevent" in said
    assert said.splitlines()[-4:] == [
        "2 []", "0 0", "pgtrigger: Cannot update or delete rows from shop_itemevent table", "1",
    ]  # fmt: skip
