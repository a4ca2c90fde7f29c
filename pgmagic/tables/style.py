"""The style sheet of everything that pgmagic shows, for light and dark pages.

Colours come from the page: JupyterLab's variables, then VS Code's, then literals, so that a saved notebook is also
readable as a static page. JupyterLab (and nbconvert's pages) and VS Code mark `<body>` if they are dark; on any other
page the reader's preference decides, and the output then has a background of its own, because the page's may not fit.
Selectors name the table, or repeat the class, because JupyterLab styles `table`, `td`, `pre` and `code` of every
output, and our rules must take precedence. A shade at a side shows that a table continues there: the shade stays with
the frame, and the part that covers it scrolls with the table. Some viewers remove the style; a plain table remains.
"""

from __future__ import annotations

import re

_SOURCE = """
.pgm {
  --pgm-ink: var(--jp-content-font-color1, var(--vscode-editor-foreground, #1f2328));
  --pgm-soft: var(--jp-content-font-color2, var(--vscode-descriptionForeground, #59636e));
  --pgm-faint: color-mix(in srgb, var(--pgm-ink) 42%, transparent);
  --pgm-rule: color-mix(in srgb, var(--pgm-ink) 11%, transparent);
  --pgm-line: color-mix(in srgb, var(--pgm-ink) 30%, transparent);
  --pgm-wash: color-mix(in srgb, var(--pgm-ink) 4%, transparent);
  --pgm-good: #146c2e; --pgm-bad: #c4232e; --pgm-warn: #8f5b00; --pgm-info: #0a62c9; --pgm-more: #7a3fc4;
  --pgm-paper: #ffffff;
  --pgm-ground: var(--jp-layout-color0, var(--vscode-editor-background, var(--pgm-paper)));
  --pgm-shade: color-mix(in srgb, var(--pgm-ink) 22%, transparent);
  --pgm-sans: var(--jp-ui-font-family, var(--vscode-font-family, system-ui, -apple-system, "Segoe UI", sans-serif));
  --pgm-mono: var(--jp-code-font-family, var(--vscode-editor-font-family, ui-monospace, Menlo, Consolas, monospace));
  color: var(--pgm-ink); background: var(--pgm-paper);
  font: 13px/1.45 var(--pgm-sans); text-align: left; margin: 2px 0 6px; padding: 2px 0 4px; max-width: 100%;
}
[data-jp-theme-light] .pgm, [data-vscode-theme-kind] .pgm, .vscode-body .pgm { --pgm-paper: transparent; }
[data-jp-theme-light="false"] .pgm, .vscode-dark .pgm, .vscode-high-contrast:not(.vscode-high-contrast-light) .pgm {
  --pgm-good: #57b869; --pgm-bad: #ff8078; --pgm-warn: #dcab48; --pgm-info: #6cb2ff; --pgm-more: #c5a1ff;
}
@media (prefers-color-scheme: dark) {
  body:not([data-jp-theme-light]):not([data-vscode-theme-kind]):not(.vscode-body) .pgm {
    --pgm-ink: #e6e8eb; --pgm-soft: #9aa4ae; --pgm-paper: #16191d;
    --pgm-good: #57b869; --pgm-bad: #ff8078; --pgm-warn: #dcab48; --pgm-info: #6cb2ff; --pgm-more: #c5a1ff;
  }
}
.pgm .pgm-caption { font-weight: 600; margin: 0 0 4px; padding: 0 8px; }
.pgm .pgm-scroll {
  overflow-x: auto; scrollbar-width: thin; background:
    linear-gradient(to right, var(--pgm-ground) 40%, transparent) 0 0 / 24px 100% no-repeat local,
    linear-gradient(to left, var(--pgm-ground) 40%, transparent) 100% 0 / 24px 100% no-repeat local,
    linear-gradient(to right, var(--pgm-shade), transparent) 0 2px / 9px calc(100% - 4px) no-repeat scroll,
    linear-gradient(to left, var(--pgm-shade), transparent) 100% 2px / 9px calc(100% - 4px) no-repeat scroll;
}
.pgm table.pgm-table {
  border-collapse: collapse; table-layout: auto; margin: 0; border: 0; width: auto;
  color: inherit; font: inherit; background: none;
}
.pgm table.pgm-table thead { border: 0; }
.pgm table.pgm-table tr, .pgm table.pgm-table tbody tr:nth-child(n) { background: none; border: 0; }
.pgm table.pgm-table tbody tr:hover { background: var(--pgm-wash); }
.pgm table.pgm-table th {
  color: var(--pgm-soft); font-weight: 500; font-size: 12px; white-space: nowrap; text-align: left;
  vertical-align: bottom; padding: 2px 10px 4px 8px; border: 0; border-bottom: 1px solid var(--pgm-line);
}
.pgm table.pgm-table td {
  text-align: start; vertical-align: baseline; line-height: 1.45; padding: 3px 10px 3px 8px; max-width: 64ch;
  white-space: pre; tab-size: 4; border: 0; border-top: 1px solid var(--pgm-rule);
}
.pgm table.pgm-table tbody tr:first-child td { border-top: 0; }
.pgm table.pgm-table td.pgm-long { white-space: pre-wrap; overflow-wrap: break-word; min-width: 20ch; }
.pgm table.pgm-table td.pgm-roomy { min-width: 25ch; }
.pgm table.pgm-table td.pgm-solid { overflow-wrap: anywhere; }
.pgm table.pgm-table .pgm-right { text-align: right; font-variant-numeric: tabular-nums; }
.pgm table.pgm-table .pgm-time { font-variant-numeric: tabular-nums; }
.pgm table.pgm-table tr.pgm-under td {
  border-top: 0; padding: 0 10px 3px 24px; max-width: none; white-space: pre-wrap; color: var(--pgm-soft);
  font-size: 12px;
}
.pgm table.pgm-table tr.pgm-gap td { color: var(--pgm-soft); font-size: 12px; padding: 5px 8px; }
.pgm .pgm-severity { font-weight: 600; letter-spacing: .02em; }
.pgm.pgm.pgm code, .pgm.pgm.pgm pre {
  font-family: var(--pgm-mono); font-size: 12px; line-height: inherit; color: inherit; background: none;
  padding: 0; margin: 0; border: 0; white-space: inherit; overflow-wrap: inherit; word-break: normal;
}
.pgm .pgm-missing { color: var(--pgm-faint); }
.pgm .pgm-null { color: var(--pgm-soft); font-style: italic; }
.pgm .pgm-key { color: var(--pgm-soft); }
.pgm .pgm-pair { display: inline-block; vertical-align: top; margin-right: 10px; max-width: 100%; }
.pgm .pgm-word { white-space: nowrap; border-radius: 4px; }
.pgm .pgm-sign { display: inline-block; min-width: 1.15em; text-align: center; margin-right: 3px; }
.pgm .pgm-good .pgm-sign { color: var(--pgm-good); }
.pgm .pgm-info .pgm-sign { color: var(--pgm-info); }
.pgm .pgm-quiet { color: var(--pgm-soft); }
.pgm .pgm-bad, .pgm .pgm-warn { padding: 1px 7px 1px 2px; margin-left: -2px; font-weight: 500; }
.pgm .pgm-bad { color: var(--pgm-bad); background: color-mix(in srgb, var(--pgm-bad) 12%, transparent); }
.pgm .pgm-warn { color: var(--pgm-warn); background: color-mix(in srgb, var(--pgm-warn) 13%, transparent); }
.pgm del, .pgm ins { text-decoration: none; border-radius: 3px; padding: 1px 5px 1px 3px; }
.pgm del { color: var(--pgm-bad); background: color-mix(in srgb, var(--pgm-bad) 10%, transparent); }
.pgm ins { color: var(--pgm-good); background: color-mix(in srgb, var(--pgm-good) 12%, transparent); }
.pgm details > summary { cursor: pointer; }
.pgm details > summary::marker { color: var(--pgm-faint); }
.pgm details[open] > summary .pgm-start { display: none; }
.pgm .pgm-more { color: var(--pgm-soft); font: 12px var(--pgm-sans); font-style: normal; white-space: nowrap; }
.pgm .pgm-foot { color: var(--pgm-soft); font-size: 12px; padding: 3px 8px 0; }
.pgm .pgm-foot p { margin: 2px 0 0; max-width: 88ch; text-align: left; }
.pgm.pgm.pgm pre.pgm-sql { padding: 2px 8px; line-height: 1.5; white-space: pre; overflow-x: auto; }
.pgm .pgm-sql-keyword { color: var(--pgm-info); }
.pgm .pgm-sql-type { color: var(--pgm-more); }
.pgm .pgm-sql-string { color: var(--pgm-good); }
.pgm .pgm-sql-number { color: var(--pgm-warn); }
.pgm .pgm-sql-comment { color: var(--pgm-soft); font-style: italic; }
"""

CSS = re.sub(r"\s*\n\s*", " ", _SOURCE).strip()
"""The style sheet on one line, because every output that a notebook saves contains it."""
