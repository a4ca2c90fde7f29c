"""The cells of a notebook with a table of each kind."""

_DECLARE = """%%pgtrigger
@pghistory.track()
class Post(models.Model):
    title = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    status = models.CharField(max_length=20, default="draft")
    locked = models.BooleanField(default=False)
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__locked=True)),
            pgtrigger.SoftDelete(name="soft", field="is_active", value=False),
            pgtrigger.FSM(name="cycle", field="status", transitions=[("draft", "published"), ("published", "gone")]),
            pgtrigger.Trigger(
                name="trim", when=pgtrigger.Before, operation=pgtrigger.Insert | pgtrigger.Update,
                func="NEW.title = trim(NEW.title); RAISE NOTICE 'trimmed %', NEW.title; RETURN NEW;"),
        ]"""

TABLES = [
    "%load_ext pgmagic",
    _DECLARE,
    "safe = Post.objects.create(title='Safe', locked=True)\n"
    "draft = Post.objects.create(title='Draft')\ndraft.status = 'published'; draft.save()",
    "%%pgsql\nSELECT id, title, now() AS at, jsonb_build_object('a', 1) AS doc, repeat('long ', 100) AS long,\n"
    "       NULL::int AS nothing FROM notebook_post",
    "%%pgsql\nCREATE TABLE plain (a int); INSERT INTO plain SELECT generate_series(1, 1234) AS n",
    "%%pgsql\nSELECT a FROM plain",
    "%%pgtrace\ndraft.title = '  spaced  '; draft.save()\nsafe.delete()\n"
    "Post.objects.filter(title='spaced').update(status='draft')",
    "%pgbypass notebook.Post:keep",
    "%pgtrigger fsm Post.status",
    "%%pgwhatif --ignore notebook.Post:keep\nsafe.delete()",
    "%%pgoutcome\ndraft.title = '  again  '; draft.save()\nsafe.delete()",
    "%pgtrigger ls",
    "%pghistory Post",
    "%pghistory Post --diff",
]
"""The last statement of each is what the browser shows."""
