"""A newcomer's mistakes: one clear line each, and nothing half-installed."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.db import connection as default
from IPython.core.error import UsageError

from pgmagic.db import backend
from pgmagic.db.connect import Choice
from pgmagic.declare import registry

SECRET = "s3cr3t"


def post(triggers="[]", fields='title = models.CharField(max_length=20, default="draft")'):
    return f"%%pgtrigger\nclass Post(models.Model):\n    {fields}\n    class Meta:\n        triggers = {triggers}\n"


MISTAKES = {
    "syntax error": (
        "%%pgtrigger\nclass Post(models.Model)\n    a = 1\n",
        "SyntaxError in line 1 of the cell: expected ':'",
    ),
    "indentation": (
        "%%pgtrigger\nclass Post(models.Model):\na = 1\n",
        "SyntaxError in line 2 of the cell: expected an indented block",
    ),
    "unclosed": ("%%pgtrigger\nx = (1,\n", "SyntaxError in line 1 of the cell: '(' was never closed"),
    "await in a function": (
        "%%pgtrigger\ndef f():\n    await g()\n",
        "SyntaxError in line 2 of the cell: 'await' outside async function",
    ),
    "return": ("%%pgtrigger\nreturn 3\n", "SyntaxError in line 1 of the cell: 'return' outside function"),
    "unknown field in a condition": (
        post('[pgtrigger.Protect(name="t", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__titel="x"))]'),
        "Post has no field named 'titel'; its fields are id, title.",
    ),
    "unknown field": (
        post('[pgtrigger.ReadOnly(name="t", fields=["titel"])]'),
        "Post has no field named 'titel'; its fields are id, title.",
    ),
    "condition without old or new": (
        post('[pgtrigger.Protect(name="t", operation=pgtrigger.Delete, condition=pgtrigger.Q(title="x"))]'),
        "A condition on Post names a field as old__… or new__…, but 'title' was given.",
    ),
    "Meta.triggers is no list": (
        post('pgtrigger.Protect(name="t", operation=pgtrigger.Delete)'),
        "Meta.triggers of Post is a list of triggers, but <Protect: t> was given.",
    ),
    "Meta.triggers holds a class": (
        post("[pgtrigger.Protect]"),
        "Meta.triggers of Post holds triggers, but <class ",
    ),
    "FSM without transitions": (
        post('[pgtrigger.FSM(name="t", field="title")]'),
        'Must provide "transitions" for FSM: a list of (from, to) pairs.',
    ),
    "FSM without field": (
        post('[pgtrigger.FSM(name="t", transitions=[("a", "b")])]'),
        'Must provide "field" for FSM.',
    ),
    "no name": (
        post("[pgtrigger.Protect(operation=pgtrigger.Delete)]"),
        'Protect must have "name" attribute: a text that is not empty',
    ),
    "no operation": (
        post('[pgtrigger.Protect(name="t")]'),
        'Invalid "operation" attribute of trigger "t": expected pgtrigger.Operation, got None.',
    ),
    "two of a name": (
        post('[pgtrigger.Protect(name="t", operation=o) for o in (pgtrigger.Delete, pgtrigger.Update)]'),
        'Post has two triggers named "t": give one of them another name.',
    ),
    "no body": (
        post('[pgtrigger.Trigger(name="t", when=pgtrigger.Before, operation=pgtrigger.Insert)]'),
        'Must define func attribute or implement get_func: trigger "t" has no body.',
    ),
    "placeholder in a plain text": (
        post(
            '[pgtrigger.Trigger(name="t", when=pgtrigger.Before, operation=pgtrigger.Insert, '
            'func="NEW.{columns.title} := 1; RETURN NEW;")]'
        ),
        'The func of "t" has the placeholder {columns.title}, but nothing is filled in a plain text: '
        'write func=pgtrigger.Func("...").',
    ),
    "new row in a delete": (
        post('[pgtrigger.Protect(name="t", operation=pgtrigger.Delete, condition=pgtrigger.Q(new__title="x"))]'),
        'A delete has no new row, so the condition of "t" cannot name it: use old__… alone, or declare the rule for ',
    ),
    "old row in an insert": (
        post('[pgtrigger.Protect(name="t", operation=pgtrigger.Insert, condition=pgtrigger.Q(old__title="x"))]'),
        'An insert has no old row, so the condition of "t" cannot name it: use new__… alone, or declare the rule for ',
    ),
    "a change in an insert or update": (
        post(
            '[pgtrigger.Protect(name="t", operation=pgtrigger.Insert | pgtrigger.Update, '
            "condition=pgtrigger.AnyChange())]"
        ),
        'An insert has no old row, so the condition of "t" cannot name it: use new__… alone, or declare the rule for ',
    ),
    "OLD in the SQL of an insert's condition": (
        post(
            '[pgtrigger.Protect(name="t", operation=pgtrigger.Insert, '
            "condition=pgtrigger.Condition('OLD.title = NEW.title'))]"
        ),
        'An insert has no old row, so the condition of "t" cannot name it: use new__… alone, or declare the rule for ',
    ),
    "when as a text": (
        post('[pgtrigger.Protect(name="t", when="before", operation=pgtrigger.Delete)]'),
        'Invalid "when" attribute of trigger "t": expected pgtrigger.When, got \'before\'. The choices are '
        "pgtrigger.Before, pgtrigger.After, pgtrigger.InsteadOf.",
    ),
    "operation as a text": (
        post('[pgtrigger.Protect(name="t", operation="delete")]'),
        'Invalid "operation" attribute of trigger "t": expected pgtrigger.Operation, got \'delete\'. The choices '
        "are pgtrigger.Update, pgtrigger.Delete, pgtrigger.Truncate, pgtrigger.Insert.",
    ),
    "register without parentheses": (
        "%%pgtrigger\n@pgtrigger.register\nclass Post(models.Model):\n    a = models.TextField()\n",
        "pgtrigger.register was given the model Post, but it takes the triggers of a model: write @pgtrigger.register(",
    ),
    "ignore without parentheses": (
        "%%pgtrigger\n@pgtrigger.ignore\ndef tidy_up():\n    pass\n",
        "pgtrigger.ignore was given the function tidy_up, because its parentheses are missing: "
        "write @pgtrigger.ignore() above it.",
    ),
    "schema without parentheses": (
        "%%pgtrigger\n@pgtrigger.schema\ndef tidy_up():\n    pass\n",
        "pgtrigger.schema was given the function tidy_up, because its parentheses are missing: ",
    ),
    "context without parentheses": (
        "%%pgtrigger\n@pghistory.context\nasync def tidy_up():\n    pass\n",
        "pghistory.context was given the function tidy_up, because its parentheses are missing: ",
    ),
    "context without names": (
        "%%pgtrigger\nwith pghistory.context({'user': 1}):\n    pass\n",
        "pghistory.context takes metadata by name, but {'user': 1} was given: write context(user=\"ann\").",
    ),
    "tracked class that is no model": (
        "%%pgtrigger\n@pghistory.track()\nclass Post:\n    pass\n",
        "A model can be tracked, but <class '__main__.Post'> was given: write `class Post(models.Model):`.",
    ),
    "bare track on a class that is no model": (
        "%%pgtrigger\n@pghistory.track\nclass Post:\n    pass\n",
        "A model can be tracked, but <class '__main__.Post'> was given: write `class Post(models.Model):`.",
    ),
    "trigger on a class that is no model": (
        '%%pgtrigger\n@pgtrigger.register(pgtrigger.Protect(name="t", operation=pgtrigger.Delete))\n'
        "class Post:\n    pass\n",
        "A trigger is registered for a model, but <class '__main__.Post'> was given: write `class "
        "Post(models.Model):`.",
    ),
    "fields in a class that is no model": (
        "%%pgtrigger\nclass Post:\n    title = models.TextField()\n",
        "Post is not a model, so its field title gets no column: write `class Post(models.Model):`.",
    ),
    "one percent sign": (
        "%pgtrigger\nclass Post(models.Model):\n    title = models.TextField()\n",
        "%pgtrigger, with one percent sign, takes a command, as in `%pgtrigger ls`: to declare the models of "
        "this cell, "
        "write %%pgtrigger, with two.",
    ),
    "one percent sign and an option": (
        "%pgtrigger --app shop\nclass Post(models.Model):\n    title = models.TextField()\n",
        "%pgtrigger, with one percent sign, takes a command, as in `%pgtrigger ls`: to declare",
    ),
    "unknown model": (
        "%%pgtrigger\nclass Comment(models.Model):\n    post = models.ForeignKey('Pots', models.CASCADE)\n",
        "Comment.post refers to Pots, but there is no such model: declare it first",
    ),
    "app of Django's": (
        "%%pgtrigger --app auth\nclass Post(models.Model):\n    a = models.TextField()\n",
        'The app label "auth" belongs to the installed app',
    ),
    "app that is no name": (
        "%%pgtrigger --app my-app\nx = 1\n",
        'An app label is a Python identifier, but "my-app" was given.',
    ),
    "unknown option": ("%%pgtrigger --dryrun\nx = 1\n", "unrecognized arguments: --dryrun"),
    "option without value": ("%%pgtrigger --app\nx = 1\n", "argument --app: expected one argument"),
    "wrong URL": (
        "%pgconnect postgres//ann:s3cr3t@host/shop",
        "This is not a database URL: expected postgresql://user:password@host",
    ),
    "password with an @": ("%pgconnect postgresql://ann:p@s3cr3t@host/shop", "This is not a database URL: "),
    "nobody there": (
        "%pgconnect postgresql://ann:s3cr3t@127.0.0.1:1/shop",
        "Cannot connect to postgresql://ann:***@127.0.0.1:1/shop: ",
    ),
    "two URLs": ("%pgconnect postgresql:///a postgresql:///b", "unrecognized arguments: postgresql:///b"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_reported_in_one_line(shell, capsys, mistake):
    cell, sentence = MISTAKES[mistake]
    before = {name for name in shell.shell.user_ns if name[0] != "_"}
    where = backend.choice.url, backend.choice.schema
    error = shell.error(cell)
    assert isinstance(error, UsageError)
    assert str(error).startswith(sentence), error
    assert "\n" not in str(error)
    shown = capsys.readouterr()
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.out + shown.err)
    assert f"UsageError: {error}" in text
    assert "Traceback" not in text
    assert SECRET not in text
    # Nothing is left of it.
    assert registry.registered() == []
    assert not {model for model in apps.get_models() if model.__module__ == "__main__"}
    assert {name for name in shell.shell.user_ns if name[0] != "_"} == before
    assert (backend.choice.url, backend.choice.schema) == where
    with default.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
        assert cursor.fetchall() == []
        cursor.execute("SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace")
        assert cursor.fetchall() == []
    # And the right cell works behind it.
    shell.run(post('[pgtrigger.Protect(name="t", operation=pgtrigger.Delete)]'))


def test_error_in_the_cells_own_code_shows_only_its_line(shell, capsys):
    error = shell.error("%%pgtrigger\nx = 1\ny = x / 0\n")
    assert isinstance(error, ZeroDivisionError)
    text = capsys.readouterr()
    text = re.sub(r"\x1b\[[\d;]*m", "", text.out + text.err)
    assert "y = x / 0" in text
    assert "pgmagic" not in text
    assert "x" not in shell.shell.user_ns


BODY = (
    "%%pgtrigger\n"
    "class Post(models.Model):\n    title = models.TextField()\n"
    "pgtrigger.Trigger(name='t', when=pgtrigger.Before, operation=pgtrigger.Update, func={}).register(Post)"
)
BODIES = {
    "no PL/pgSQL": (
        "IF NEW.title = 'x' THEN\n  RETRUN NULL;\nEND IF;\nRETURN NEW;",
        'Postgres refused to create the function notebook.Post:t: syntax error at or near "RETRUN", in line 5. '
        "Nothing of this cell was kept.",
        "  RETRUN NULL;",
        "RETRUN",
    ),
    "unknown variable": (
        "x := 1;\nRETURN NEW;",
        'Postgres refused to create the function notebook.Post:t: "x" is not a known variable, in line 4. ',
        "x := 1;",
        "x",
    ),
    "unknown column": (
        "-- NEW.titel\n\tIF OLD.title <> 'x' AND new.titel = 'NEW.other' THEN RETURN NULL; END IF; RETURN NEW;",
        "The body of notebook.Post:t names new.titel in line 5, but notebook_post has no column titel "
        "(did you mean title?); its columns are id, title. Nothing of this cell was kept.",
        "\tIF OLD.title <> 'x' AND new.titel = 'NEW.other' THEN RETURN NULL; END IF; RETURN NEW;",
        "titel",
    ),
}


@pytest.mark.parametrize("slip", BODIES)
def test_error_in_a_body_shows_line_caret_and_body(shell, slip):
    func, sentence, line, word = BODIES[slip]
    error = shell.error(BODY.format(repr(func)))
    assert isinstance(error, UsageError)
    first, *listing = str(error).split("\n")
    assert first.startswith(sentence)
    [place] = [number for number, text in enumerate(listing) if text[8:] == line]
    assert listing[place + 1].rstrip("^").replace("      | ", "", 1).expandtabs() == " " * len(
        line.partition(word)[0].expandtabs()
    )
    assert f"{listing[place][:5].strip()}. " in first or f"line {listing[place][:5].strip()}," in first
    assert any("RETURN NEW;" in text for text in listing)
    assert registry.registered() == []


@pytest.mark.parametrize(
    "func",
    [
        "NEW.title := OLD.title || NEW.tableoid; RETURN NEW;",
        "IF TG_TABLE_NAME = 'other' THEN NEW.only_there := 1; END IF; RETURN NEW;",
        "/* {columns.title} NEW.nope */ RETURN NEW;",
        "NEW.title := '{}'::jsonb; RETURN NEW;",
    ],
)
def test_body_that_may_work_is_installed(shell, func):
    shell.run(BODY.format(repr(func)))


def test_refused_body_is_shown_outside_of_cells_of_declarations(shell, capsys):
    shell.run(BODY.format("'RETURN NEW;'"))
    shell.run("bad = pgtrigger.Trigger(name='b', when=pgtrigger.Before, operation=pgtrigger.Update, func='x := 1;')")
    shell.run("bad.register(Post)")
    assert "    4 | x := 1;\n      | ^" in str(shell.error("%pgtrigger install"))
    capsys.readouterr()
    shell.error("bad.install(Post)")
    shown = capsys.readouterr()
    assert "4 | x := 1;" in re.sub(r"\x1b\[[\d;]*m", "", shown.out + shown.err)


def test_column_that_the_database_alone_has_may_be_named(shell):
    shell.run(post())
    shell.run("%%pgsql\nALTER TABLE notebook_post ADD COLUMN extra text")
    shell.run(
        "pgtrigger.Trigger(name='t', when=pgtrigger.Before, operation=pgtrigger.Update, "
        "func='NEW.extra := 1; RETURN NEW;').register(Post)"
    )
    shell.run("%pgtrigger install Post:t")


EXPLAINED = {
    "no magic": (
        "class Post(models.Model):\n    title = models.TextField()\n",
        "RuntimeError: The model Post is declared in an ordinary cell, so it has no app and no table: write "
        "%%pgtrigger in "
        "the first line of the cell.",
    ),
    "another magic": (
        "%%pgoutcome\nclass Post(models.Model):\n    title = models.TextField()\n",
        "RuntimeError: The model Post is declared in an ordinary cell, so it has no app and no table: write "
        "%%pgtrigger in ",
    ),
    "magic in the second line": (
        "import json\n%%pgtrigger\nclass Post(models.Model):\n    title = models.TextField()\n",
        "UsageError: %%pgtrigger is not in the first line of the cell: move it there, and what is above it "
        "into a cell of "
        "its own or below it.",
    ),
    "magic with options after a comment": (
        "# posts\n%%pgoutcome --rollback\nprint(1)\n",
        "UsageError: %%pgoutcome is not in the first line of the cell: ",
    ),
    "other errors as ever": ("raise RuntimeError('mine')", "RuntimeError: mine"),
    "other magics as ever": ("1\n%%nope", "UsageError: Line magic function `%%nope` not found."),
    "other options as ever": ("%pgtrigger nope", "UsageError: argument COMMAND: invalid choice: 'nope'"),
}


@pytest.mark.parametrize("slip", EXPLAINED)
def test_slip_outside_of_a_declaration_is_explained(shell, capsys, slip):
    cell, sentence = EXPLAINED[slip]
    error = shell.error(cell)
    assert isinstance(error, (RuntimeError, UsageError))
    shown = capsys.readouterr()
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.out + shown.err)
    assert sentence in " ".join(text.split())
    assert "app_label" not in text
    assert ("Traceback" in text) == isinstance(error, RuntimeError)
    assert "site-packages" not in text
    assert "Post" not in shell.shell.user_ns


def test_class_with_fields_that_the_notebook_had_before_does_not_matter(shell):
    shell.run("class Mine:\n    field = models.TextField()")
    shell.run(post())


@pytest.fixture
def lost(shell, monkeypatch):
    """A kernel whose database is gone."""
    default.close()
    former = backend.choice
    monkeypatch.setattr(backend, "choice", Choice(url="postgresql://ann:s3cr3t@127.0.0.1:1/shop", schema=former.schema))
    yield shell
    default.close()
    backend.choice = former


@pytest.mark.parametrize(
    "cell",
    [
        post(),
        "%pgconnect",
        "%pgreset",
        "%%pgtrigger --dry-run\nclass P(models.Model):\n    a = models.TextField()\n",
    ],
)
def test_server_that_is_down_is_reported_in_one_line(lost, capsys, cell):
    error = lost.error(cell)
    assert isinstance(error, UsageError)
    assert str(error).startswith("Cannot connect to postgresql://ann:***@127.0.0.1:1/shop: ")
    assert str(error).endswith("or choose another database with %pgconnect.")
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert SECRET not in shown.out + shown.err
    assert registry.registered() == []
    assert not {model for model in apps.get_models() if model.__module__ == "__main__"}


def test_ordinary_cell_reports_in_one_line_that_the_server_is_down(lost, capsys):
    lost.error("from django.contrib.auth.models import User\nUser.objects.count()")
    shown = capsys.readouterr()
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.out + shown.err)
    assert "Cannot connect to postgresql://ann:***@127.0.0.1:1/shop" in text
    assert SECRET not in text
    assert "site-packages" not in text
