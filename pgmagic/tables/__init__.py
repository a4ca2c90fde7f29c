"""Result frames, and how frames and SQL are shown as HTML and as text. Nothing here sends a query.

Other rooms derive their frames from `frame.ResultFrame`, store the database's values with `faithful.faithful`, and show
a frame with `html.html(frame)` and `text.text(frame)`, SQL with `highlighting.sql_html(sql)` and `sql_text(sql)`.
A frame is first described as data (`grid.describe`) and then written down, as HTML or as text, from that description.
"""
