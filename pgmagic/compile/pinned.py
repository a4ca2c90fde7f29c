"""The settings under which a value always has the same text.

Source: https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from __future__ import annotations

from typing import Final

PINNED: Final = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
}
