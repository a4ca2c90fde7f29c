"""From frames to HTML and text; rendering never queries.

`html.html(frame)`, `text.text(frame)`, `sql.sql_html(sql)` and `sql.sql_text(sql)` are what the other rooms call.
A frame is first described (`table.describe`), then written down (`html.markup`, `text.lines_of_text`).
"""
