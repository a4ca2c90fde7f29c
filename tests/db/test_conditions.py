"""Conditions on a live table: a trigger fires for the rows that Django's own `filter()` and `exclude()` find."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from types import FunctionType

import pytest
from django.contrib.postgres.fields import (
    ArrayField,
    DateTimeRangeField,
    DecimalRangeField,
    IntegerRangeField,
)
from django.db import models
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, NumericRange
from django.db.models import functions
from django.test.utils import register_lookup

from pgmagic import pgtrigger

Q, F = pgtrigger.Q, pgtrigger.F
UTC = dt.UTC


class Color(models.TextChoices):
    RED = "r'ed"
    BLUE = "bl%ue"


class Size(models.IntegerChoices):
    SMALL = 1
    LARGE = 2


class Celsius:
    """A value of the user's own."""

    def __init__(self, degrees):
        self.degrees = degrees

    def __eq__(self, other):
        return isinstance(other, Celsius) and other.degrees == self.degrees

    __hash__ = None


class CelsiusField(models.IntegerField):
    """A field of the user's own: the column holds tenths of a degree."""

    def from_db_value(self, value, *_args):
        return None if value is None else Celsius(value / 10)

    def get_prep_value(self, value):
        return round(value.degrees * 10) if isinstance(value, Celsius) else super().get_prep_value(value)


class ShoutField(models.CharField):
    """Another one: the column holds capitals."""

    def get_db_prep_value(self, value, connection, prepared=False):
        return None if value is None else str(value).upper()


def moment(*parts):
    return dt.datetime(*parts, tzinfo=UTC)


FIELDS = {
    "name": models.CharField(max_length=50, db_column="The Name"),
    "text": models.TextField(null=True),
    "order": models.IntegerField(null=True, db_column="select"),
    "big": models.BigIntegerField(default=0),
    "price": models.DecimalField(max_digits=8, decimal_places=2, null=True),
    "ratio": models.FloatField(null=True),
    "good": models.BooleanField(null=True),
    "at": models.DateTimeField(null=True),
    "day": models.DateField(null=True),
    "time": models.TimeField(null=True),
    "length": models.DurationField(null=True),
    "code": models.UUIDField(null=True),
    "data": models.JSONField(null=True, db_column="Data"),
    "raw": models.BinaryField(null=True),
    "ip": models.GenericIPAddressField(null=True),
    "mail": models.EmailField(default=""),
    "file": models.FileField(default=""),
    "color": models.CharField(max_length=9, choices=Color.choices, null=True),
    "size": models.IntegerField(choices=Size.choices, default=Size.SMALL),
    "warm": CelsiusField(null=True),
    "shout": ShoutField(max_length=20, null=True),
    "tags": ArrayField(models.CharField(max_length=20), null=True),
    "grid": ArrayField(ArrayField(models.IntegerField()), null=True),
    "span": IntegerRangeField(null=True),
    "costs": DecimalRangeField(null=True),
    "period": DateTimeRangeField(null=True),
    "shelf": None,
    "doubled": models.GeneratedField(
        expression=models.F("big") * 2, output_field=models.BigIntegerField(), db_persist=True
    ),
}

ROWS = [
    {"name": "empty"},
    {
        "name": "o'k 50%_\\", "text": "Ünïcode OLD.text", "order": 1, "big": 2**40, "price": "1.50", "ratio": 1.5,
        "good": True, "at": moment(2020, 12, 31, 23, 30), "day": dt.date(2020, 2, 29), "time": dt.time(13, 5, 6),
        "length": dt.timedelta(days=1, seconds=2), "code": uuid.UUID(int=3),
        "data": {"a": {"b": [1, {"c'": "x"}]}, "n": None},
        "raw": b"\x00'\\", "ip": "10.0.0.1", "mail": "a@b.c", "file": "a/b'c", "color": Color.RED, "size": Size.LARGE,
        "shelf_id": 7,
        "warm": Celsius(21.5), "shout": "loud", "tags": ["a", "o'k"], "grid": [[1, 2], [3, 4]],
        "span": NumericRange(1, 5),
        "costs": NumericRange(decimal.Decimal("1.5"), None),
        "period": DateTimeTZRange(moment(2020, 1, 1), moment(2021, 1, 1)),
    },
    {
        "name": "other", "text": "", "order": -3, "price": "0", "ratio": float("inf"),
        "good": False, "at": moment(1999, 1, 1), "day": dt.date(1999, 12, 31), "time": dt.time(0),
        "length": dt.timedelta(0), "code": uuid.UUID(int=4), "data": [1, "a", None, {"a": 1}],
        "raw": b"", "ip": "2001:db8::1", "color": Color.BLUE, "warm": Celsius(-3), "shelf_id": 8,
        "tags": [], "grid": [], "span": NumericRange(empty=True), "costs": NumericRange(None, None),
        "period": DateTimeTZRange(None, None),
    },
    {
        "name": "json null", "data": models.Value(None, models.JSONField()), "text": "null", "tags": ["null", "b"],
        "order": 0,
    },
]  # fmt: skip


# By kind: the lookup and its value, or what makes the value of the prefix of a name.
LOOKUPS = {
    "text": [
        ("name", "o'k 50%_\\"), ("name__exact", "other"), ("name__iexact", "OTHER"),
        ("name__in", ["other", "o'k 50%_\\"]),
        ("name__contains", "50%_"), ("name__icontains", "O'K"), ("name__startswith", "o'"), ("name__istartswith", "O"),
        ("name__endswith", "\\"), ("name__iendswith", "ER"), ("name__regex", r"^o.k \d+"), ("name__iregex", "^OTHER$"),
        ("name__gt", "o"), ("name__range", ("a", "o")), ("text__isnull", True), ("text__isnull", False), ("text", None),
        ("text", ""), ("text__contains", "OLD.text"), ("text__in", ["", None]), ("text__in", []),
        ("mail__endswith", "b.c"), ("file", "a/b'c"),
    ],
    "registered transforms": [
        ("name__length", 5), ("name__length__gt", 5), ("name__upper", "OTHER"), ("name__upper__contains", "%"),
        ("text__upper", "NULL"), ("text__length__in", [0, 4]),
    ],
    "numbers": [
        ("order", 1), ("order", True), ("order__gte", 0), ("order__lt", 0), ("order__in", [1, -3, None]),
        ("order__range", (-3, 0)), ("big__gt", 2**39), ("big", 2**70), ("big__lt", 2**70), ("big__lt", 0.5),
        ("order__lt", 0.5), ("order__gte", 0.5), ("price", decimal.Decimal("1.5")), ("price__lte", 1),
        ("price__in", ["1.50", 0]), ("ratio", float("inf")), ("ratio__gt", 1), ("doubled", 2**41), ("doubled__lte", 0),
        ("good", True), ("good", False), ("good__isnull", True), ("good__in", [True]), ("good__exact", None),
    ],
    "time": [
        ("at", moment(2020, 12, 31, 23, 30)),
        ("at", dt.datetime(2021, 1, 1, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
        ("at__year", 2020), ("at__year__in", [1999, 2021]), ("at__year__gt", 1999), ("at__iso_year", 2020),
        ("at__month", 12), ("at__day", 31), ("at__week", 53), ("at__week_day", 5), ("at__iso_week_day", 4),
        ("at__quarter", 4), ("at__hour", 23), ("at__minute", 30), ("at__second__lt", 1),
        ("at__date", dt.date(2020, 12, 31)), ("at__date__gt", dt.date(2000, 1, 1)), ("at__time", dt.time(23, 30)),
        ("at__time__range", (dt.time(1), dt.time(23, 59))), ("at__range", (moment(2020, 1, 1), moment(2021, 1, 1))),
        ("day", dt.date(2020, 2, 29)), ("day__year__lte", 1999), ("day__month", 2), ("day__gt", dt.date(2000, 1, 1)),
        ("day__in", [dt.date(2020, 2, 29)]), ("time", dt.time(13, 5, 6)), ("time__hour", 13), ("time__gt", dt.time(0)),
        ("length", dt.timedelta(0)), ("length__gt", dt.timedelta(hours=1)),
    ],
    "other types": [
        ("code", uuid.UUID(int=3)), ("code", str(uuid.UUID(int=3))), ("code__in", [uuid.UUID(int=4)]),
        ("code__startswith", "0000"), ("raw", b"\x00'\\"), ("raw__in", [b"", b"x"]), ("ip", "10.0.0.1"),
        ("ip__in", ["2001:db8::1"]), ("ip__startswith", "10."), ("color", Color.RED), ("color", "r'ed"),
        ("color__in", [Color.BLUE, None]), ("size", Size.LARGE), ("size__in", Size), ("size__lt", Size.LARGE),
        ("warm", Celsius(21.5)), ("warm__in", [Celsius(-3), 215]), ("warm__lt", Celsius(0)),
        ("warm__range", (Celsius(0), Celsius(30))), ("shout", "loud"), ("shout__in", ["Loud", "x"]),
    ],
    "keys": [
        ("pk", 1), ("pk__in", [0, 2]), ("id__gt", 1), ("shelf", 7), ("shelf_id", 7), ("shelf__pk", 7),
        ("shelf__id__in", [7, 8]), ("shelf_id__lt", 8), ("shelf__in", [7, 9]), ("shelf__isnull", True),
        ("shelf", None), ("shelf__pk__isnull", False),
    ],
    "JSON": [
        ("data", {"a": {"b": [1, {"c'": "x"}]}, "n": None}), ("data", None), ("data__isnull", True),
        ("data__isnull", False), ("data__a__b__0", 1), ("data__a__b__1__c'", "x"), ("data__a__b__contains", [1]),
        ("data__0", 1), ("data__1", "a"),
        ("data__3__a", 1), ("data__a__isnull", True), ("data__a__isnull", False), ("data__n", None),
        ("data__n__isnull", False), ("data__contains", {"n": None}), ("data__has_key", "a"), ("data__has_key", "n"),
        ("data__contained_by", [1, 2, "a", None, {"a": 1}]), ("data__has_keys", ["a", "n"]), ("data__50%", 1),
        ("data__has_any_keys", ["n", "q"]), ("data__a__has_key", "b"), ("data__1__startswith", "a"),
        ("data__1__icontains", "A"), ("data__0__gt", 0), ("data__0__in", [1, 2]), ("data__a__b__0__lte", 1),
        ("data__nope__isnull", True),
    ],
    "arrays": [
        ("tags", ["a", "o'k"]), ("tags", []), ("tags__contains", ["o'k"]), ("tags__contained_by", ["a", "o'k", "z"]),
        ("tags__overlap", ["b", "a"]), ("tags__len", 2), ("tags__len__lt", 1), ("tags__0", "a"),
        ("tags__1__startswith", "o"), ("tags__0_1", ["a"]), ("tags__isnull", True), ("grid", [[1, 2], [3, 4]]),
        ("grid__contains", [[1]]), ("grid__0__1", 2), ("tags__in", [["a", "o'k"], []]),
    ],
    "ranges": [
        ("span", NumericRange(1, 5)), ("span", (1, 5)), ("span__contains", 4), ("span__contains", NumericRange(2, 3)),
        ("span__contained_by", NumericRange(0, 9)), ("span__overlap", NumericRange(4, 9)),
        ("span__fully_lt", NumericRange(5, 9)), ("span__fully_gt", NumericRange(-5, 1)),
        ("span__adjacent_to", NumericRange(5, 7)), ("span__startswith", 1), ("span__endswith__gt", 4),
        ("span__isempty", True), ("span__lower_inc", True), ("span__upper_inf", False), ("costs__upper_inf", True),
        ("costs__overlap", NumericRange(decimal.Decimal("0.5"), decimal.Decimal("1.6"))),
        ("period__contains", moment(2020, 5, 5)), ("period__contains", dt.date(2020, 5, 5)),
        ("period__overlap", DateTimeTZRange(moment(2020, 6, 1), None)), ("period__startswith__year", 2020),
        ("at__contained_by", DateTimeTZRange(moment(2020, 1, 1), moment(2021, 1, 1))),
        ("order__contained_by", NumericRange(0, 3)),
    ],
    "the row with itself": [
        ("name", lambda row: F(f"{row}text")), ("text", lambda row: F(f"{row}name")),
        ("order__lt", lambda row: F(f"{row}big")), ("order__lte", lambda row: F(f"{row}size") * 2),
        ("name__startswith", lambda row: F(f"{row}text")), ("name__contains", lambda row: F(f"{row}text")),
        ("order__in", lambda row: [F(f"{row}size"), -3]), ("at__gt", lambda row: functions.Now()),
        ("at__lte", lambda row: functions.Now() - dt.timedelta(days=1)),
        ("data__a__b__0", lambda row: F(f"{row}data__a__b__0")), ("at__year", lambda row: F(f"{row}size") + 2018),
        ("text", lambda row: functions.Lower(f"{row}name")),
        ("text__in", lambda row: [functions.Upper(f"{row}name"), "null"]),
        ("name__range", lambda row: (F(f"{row}text"), models.Value("z"))),
        ("order", lambda row: functions.Coalesce(f"{row}order", 0)),
        ("order", lambda row: models.Case(models.When(**{f"{row}good": True}, then=1), default=-3)),
        ("good", lambda row: models.Q(**{f"{row}order__gt": 0})), ("tags__contains", lambda row: F(f"{row}tags")),
        ("span__contains", lambda row: F(f"{row}size")), ("shelf", lambda row: F(f"{row}shelf_id")),
        ("name", lambda row: functions.Concat(models.Value("o'k 50%_"), models.Value("\\"))),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", LOOKUPS)
def test_trigger_fires_for_the_rows_that_the_lookup_finds(live, kind):
    shelf = live.declare("Shelf", label=models.TextField())
    fired = live.declare("Fired", trigger=models.TextField(), row=models.IntegerField())
    fields = {name: field.clone() for name, field in FIELDS.items() if field is not None}
    fields["shelf"] = models.ForeignKey(shelf, models.CASCADE, null=True)
    with (
        register_lookup(models.CharField, functions.Length, functions.Upper),
        register_lookup(models.TextField, functions.Length, functions.Upper),
    ):
        lookups = {f"{number}: {lookup}": (lookup, value) for number, (lookup, value) in enumerate(LOOKUPS[kind])}
        triggers = [
            recorder(name + kept, condition)
            for name, (lookup, value) in lookups.items()
            for kept, condition in (
                ("", queried(lookup, value, "old__")),
                (", not", ~queried(lookup, value, "old__")),
            )
        ]
        model = live.declare("Thing", triggers, **fields)
        shelf.objects.bulk_create([shelf(pk=7), shelf(pk=8)])
        for number, row in enumerate(ROWS):
            model.objects.create(pk=number, **row)
        live.sql("UPDATE live_thing SET id = id")
        found, expected = {}, {}
        for name, (lookup, value) in lookups.items():
            condition = models.Q(queried(lookup, value, ""))
            for kept, rows in (
                ("", model.objects.filter(condition)),
                (", not", model.objects.exclude(condition)),
            ):
                expected[name + kept] = sorted(rows.values_list("pk", flat=True))
                records = fired.objects.filter(trigger=name + kept)
                found[name + kept] = sorted(records.values_list("row", flat=True))
    assert found == expected


def queried(lookup, value, row):
    return Q((row + lookup, value(row) if isinstance(value, FunctionType) else value))


def recorder(name, condition):
    """A trigger that writes down for which rows it fires."""
    quoted = name.replace("'", "''")
    return pgtrigger.Trigger(
        name=name, when=pgtrigger.After, operation=pgtrigger.Update, condition=condition,
        func=f"INSERT INTO live_fired (trigger, row) VALUES ('{quoted}', OLD.id); RETURN NULL;",
    )  # fmt: skip
