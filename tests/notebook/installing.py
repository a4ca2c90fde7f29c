"""A kernel's process that runs cells; `argv`: the schema, and whether it hangs instead of committing.

Cells come from the standard input, one JSON text a line; each is answered by a line that says `ok`, or what failed.
"""

import json
import sys
import time

from IPython.core.interactiveshell import InteractiveShell

from pgmagic.notebook import extension, session


def main(schema: str) -> None:
    vars(session)["notebook_schema"] = lambda _shell: schema
    shell = InteractiveShell.instance()
    extension.load(shell)
    for line in sys.stdin:
        cell = json.loads(line)
        if cell == "hang":
            hang_at_commit()
            continue
        result = shell.run_cell(cell)
        error = result.error_before_exec or result.error_in_exec
        print("answer:", "ok" if error is None else repr(error), flush=True)


def hang_at_commit() -> None:
    from django.db import connection

    def hang() -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('application_name', current_schema() || ' hangs', false)")
        time.sleep(60)

    vars(connection._connections["default"])["_commit"] = hang


if __name__ == "__main__":
    main(sys.argv[1])
