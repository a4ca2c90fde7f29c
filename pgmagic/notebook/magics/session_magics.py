"""`%pgconnect` and `%pgreset`: where a kernel works."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument

from pgmagic.notebook.magics.lines import in_one_line, manual, parsed
from pgmagic.notebook.session import Session


@magics_class
class SessionMagics(Magics):
    """The magics about the database and the schema of one kernel."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @manual()
    @argument("url", nargs="?", help="postgresql://user:password@host:port/database")
    @argument("--schema", help="the schema to work in (default: one for each notebook)")
    @line_magic
    @in_one_line
    def pgconnect(self, line: str) -> None:
        """Choose the database or the schema of this kernel; without arguments, say which they are.

        Prints one sentence: the version of Postgres, the database and the schema, without a password. If the server
        does not answer, the former connection stays. In a kernel of a Django project, the project's DATABASES setting
        decides: a URL or a schema is an error there.

        A schema is created at its first use. Models that were declared before belong to the former schema: run their
        cells again. Nothing is locked.

        Example:
            %pgconnect

            %pgconnect --schema scratch
        """
        arguments = parsed(self.pgconnect, line)
        print(self.session.connect(arguments.url, arguments.schema))

    @manual()
    @line_magic
    @in_one_line
    def pgreset(self, line: str) -> None:
        """Drop this notebook's schema with everything in it, create it anew, and forget its models.

        Prints one sentence. It is an error if pgmagic did not create the schema, or if the kernel works on a Django
        project: nothing is dropped then. One transaction, which waits for other sessions that use the schema's tables.

        Example:
            %pgreset
        """
        parsed(self.pgreset, line)
        print(self.session.reset())
