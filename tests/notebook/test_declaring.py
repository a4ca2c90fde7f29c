"""`%%pgtrigger`: what a cell declares is installed wholly or not at all."""

POST = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""


def test_cell_creates_table_and_trigger(shell):
    frame = shell.run(POST)
    assert list(zip(frame["object"], frame["kind"], frame["action"], frame["status"], strict=True)) == [
        ("notebook.Post", "table", "create", "done"),
        ("notebook.Post:keep", "function", "create", "done"),
        ("notebook.Post:keep", "trigger", "create", "done"),
    ]


def test_unchanged_cell_changes_nothing(shell):
    shell.run(POST)
    assert set(shell.run(POST)["action"]) == {"unchanged"}
