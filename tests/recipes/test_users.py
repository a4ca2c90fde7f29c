"""Triggers on tables of somebody else's models, through proxies."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from pgmagic import pgtrigger
from pgmagic.errors import TriggerError
from tests.recipes.conftest import copy, raw, rejected

AUTH = (ContentType, Permission, Group, User)


def test_profile_for_every_user_at_commit(cell):
    """Who makes a user has until COMMIT to make the profile, whichever way."""
    with cell(*AUTH):

        class Profile(models.Model):
            user = models.OneToOneField(User, models.CASCADE)

        class UserProxy(User):
            class Meta:
                proxy = True
                triggers = [
                    pgtrigger.Trigger(
                        name="has_profile",
                        when=pgtrigger.After,
                        operation=pgtrigger.Insert,
                        timing=pgtrigger.Deferred,
                        func=pgtrigger.Func(
                            """
                            IF NOT EXISTS (SELECT FROM blog_profile WHERE user_id = NEW.{columns.id}) THEN
                                RAISE EXCEPTION 'user "%" has no profile', NEW.{columns.username};
                            END IF;
                            RETURN NULL;
                            """
                        ),
                    ),
                ]

    with transaction.atomic():
        user = User.objects.create(username="ann")
        Profile.objects.create(user=user)
    with transaction.atomic():
        users = User.objects.bulk_create([User(username="bob"), User(username="eve")])
        Profile.objects.bulk_create([Profile(user=user) for user in users])

    columns = [
        "username",
        "password",
        "is_superuser",
        "first_name",
        "last_name",
        "email",
        "is_staff",
        "is_active",
    ]
    row = ("%s", "", False, "", "", "", False, True)
    for create in (
        lambda: User.objects.create(username="%s"),
        lambda: User.objects.bulk_create([User(username="%s")]),
        lambda: copy(User, [*columns, "date_joined"], [(*row, "2020-01-01")]),
    ):
        with pytest.raises(TriggerError, match='user "%s" has no profile'), transaction.atomic():
            create()
        # Without a transaction of its own, each statement is one.
        with pytest.raises(TriggerError, match='user "%s" has no profile'):
            create()
    assert User.objects.count() == 3


def test_users_cannot_be_deleted(cell):
    with cell(*AUTH):

        class UserProxy(User):
            class Meta:
                proxy = True
                triggers = [
                    pgtrigger.Protect(name="keep", operation=pgtrigger.Delete),
                    pgtrigger.ReadOnly(name="joined", fields=["date_joined"]),
                ]

    user = User.objects.create_user("ann", password="secret")
    for delete in (user.delete, User.objects.all().delete, lambda: raw("DELETE FROM auth_user")):
        with rejected("Cannot delete rows from auth_user table"):
            delete()
    with rejected("Cannot update rows from auth_user table"):
        raw("UPDATE auth_user SET date_joined = now() + interval '1 day'")
    user.set_password("other")
    user.save()
    with pgtrigger.ignore("blog.UserProxy:keep"):
        user.delete()
    assert not User.objects.exists()


def test_memberships_cannot_change(cell):
    """The table behind a many-to-many field has a model, too: `.through`."""
    with cell(*AUTH):

        class Membership(User.groups.through):
            class Meta:
                proxy = True
                triggers = [
                    pgtrigger.Protect(
                        name="admins_stay",
                        operation=pgtrigger.Delete,
                        condition=pgtrigger.Q(old__group=1),
                    ),
                ]

    admins, others = Group.objects.bulk_create([Group(pk=1, name="admins"), Group(pk=2, name="others")])
    user = User.objects.create(username="ann")
    user.groups.add(admins, others)
    user.groups.remove(others)
    for remove in (
        lambda: user.groups.remove(admins),
        user.groups.clear,
        lambda: user.groups.set([others]),
        user.delete,
        lambda: raw("DELETE FROM auth_user_groups"),
    ):
        with rejected("Cannot delete rows from auth_user_groups table"):
            remove()
    assert list(user.groups.all()) == [admins]
