"""`manage.py pgtrigger`."""
