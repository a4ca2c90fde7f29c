"""A timeline as a picture: one lane for each object, or for each field of a single object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.dates
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Rectangle

from pgmagic.tables.frame import is_missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pgmagic.history.timeline import TimelineFrame

# matplotlib.dates has no types.
mdates: Any = matplotlib.dates

# Paul Tol's "muted" scheme: distinct for every kind of colour vision, and readable behind black text when lightened.
# Source: https://sronpersonalpages.nl/~pault/
_COLOURS = (
    "#88ccee", "#ddcc77", "#cc6677", "#44aa99", "#aa99cc", "#c2c95f", "#e0a37e", "#8fa8d6", "#d99ac0",
)  # fmt: skip
_REST, _MISSING = "#c8c8c8", "#ececec"
# Read on a white page and on a dark one alike.
_INK, _GRID = "#7d7d7d", "#7d7d7d44"
_BAR, _LANE_INCHES, _WIDTH_INCHES = 0.72, 0.32, 10.0
# The width of a letter of eight points, in inches.
_LETTER_INCHES = 0.075
_LONGEST = 40


def bars_of(timeline: TimelineFrame, field: str | None, lane: str | None, limit: int) -> tuple[pd.DataFrame, str]:
    """Return the bars to draw (lane, value, from, to), and the title; see `TimelineFrame.plot`."""
    if field is not None or timeline["pgh_obj_id"].nunique() > 1:
        return _bars_of_objects(timeline, field, lane, limit)
    changed = [name for name in timeline.fields if timeline[name].map(_text).nunique() > 1]
    parts = [_joined(timeline, name).assign(lane=name) for name in changed or timeline.fields]
    key, title = _text(timeline["pgh_obj_id"].iloc[0]), timeline.caption or "Timeline"
    return pd.concat(parts), title if title.endswith(f" {key}") else f"{title} · {key}"


def _bars_of_objects(
    timeline: TimelineFrame, field: str | None, lane: str | None, limit: int
) -> tuple[pd.DataFrame, str]:
    if field is None:
        # The changing field with the fewest values; the last field if none changed.
        counts = {}
        for name in timeline.fields:
            texts = timeline[name].map(_text)
            if texts.groupby(timeline["pgh_obj_id"], sort=False).nunique().gt(1).any():
                counts[name] = texts.nunique()
        field = min(counts, key=lambda name: counts[name]) if counts else timeline.fields[-1]
    bars = _joined(timeline, field)
    states = bars.groupby("lane", sort=False).size()
    total = len(states)
    if total > limit:
        most = set(states.sort_values(ascending=False, kind="stable").index[:limit])
        bars = bars[bars["lane"].isin(most)]
    names = bars["lane"]
    if lane is not None:
        names = names.map(timeline.groupby("pgh_obj_id", sort=False)[lane].last())
    bars = bars.assign(lane=[_text(name) for name in names])
    return bars, f"{field}, the {limit} of {total:,} that changed most" if total > limit else field


def _joined(timeline: TimelineFrame, field: str) -> pd.DataFrame:
    """Return lane, value, from and to of each period in which a field kept its value."""
    plain = pd.DataFrame(
        {
            "lane": timeline["pgh_obj_id"],
            "value": [_text(value) for value in timeline[field]],
            "from": timeline["valid_from"],
            "to": timeline["valid_to"],
        }
    )
    same = (
        (plain["lane"] == plain["lane"].shift())
        & (plain["value"] == plain["value"].shift())
        & (plain["from"] == plain["to"].shift())
    )
    runs = (~same.fillna(False)).cumsum()
    # By position: "first" and "last" would skip missing times.
    found = plain.groupby(runs, sort=False)
    ends = found.nth(-1)["to"]
    return found.nth(0).assign(to=ends.array)


def _text(value: object) -> str:
    if not isinstance(value, list | dict) and is_missing(value):
        return "(none)"
    text = str(value)
    if isinstance(value, pd.Timestamp):
        text = f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def draw(bars: pd.DataFrame, title: str, until: pd.Timestamp, ax: Axes | None) -> Axes:
    """Draw bars on axes, or on new axes; until: the end of the bars without an end."""
    lanes = list(dict.fromkeys(bars["lane"]))
    if ax is None:
        size = (_WIDTH_INCHES, 1.1 + _LANE_INCHES * len(lanes))
        _, ax = plt.subplots(figsize=size, layout="constrained", facecolor="none")
    start, end = _bounds(bars, until)
    # The most frequent values have their own colours, the others share a colour. In order of first appearance, so that
    # the first state of a life cycle has the first colour.
    values = bars["value"]
    frequent = set(values[values != "(none)"].value_counts().index[: len(_COLOURS)])
    first = [value for value in dict.fromkeys(values) if value in frequent]
    own = {"(none)": _MISSING, **dict(zip(first, _COLOURS, strict=False))}
    colours = {value: own.get(value, _REST) for value in dict.fromkeys(values)}
    letter = _LETTER_INCHES / (ax.figure.get_figure(root=True).get_figwidth() * 0.8) * (end - start)
    positions = {name: place for place, name in enumerate(lanes)}
    direct = 0
    for bar in bars.to_dict("records"):
        begins, ends = _number(bar["from"], start), _number(bar["to"], end)
        place, value = positions[bar["lane"]], bar["value"]
        ax.barh(place, ends - begins, left=begins, height=_BAR, color=colours[value], edgecolor="white", linewidth=0.8)
        if len(value) * letter < ends - begins:
            ax.text(begins + letter / 2, place, value, va="center", fontsize=8, color="#222222", clip_on=True)
            direct += 1
    ax.set_yticks(range(len(lanes)), labels=lanes, fontsize=9)
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    ax.set_xlim(start, end)
    locator = mdates.AutoDateLocator(minticks=3, maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    ax.set_facecolor("none")
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelcolor=_INK)
    ax.spines["bottom"].set_color(_INK)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if direct < len(bars) and len(set(colours.values())) > 1:
        _legend(ax, bars["value"], colours)
    return ax


def _bounds(bars: pd.DataFrame, until: pd.Timestamp) -> tuple[float, float]:
    known = pd.concat([bars["from"], bars["to"]]).dropna()
    start = float(mdates.date2num(known.min().to_pydatetime())) if len(known) else float(mdates.date2num(until)) - 1
    end = max(
        float(mdates.date2num(until.to_pydatetime())) if bars["to"].isna().any() else start,
        float(mdates.date2num(known.max().to_pydatetime())) if len(known) else start,
    )
    if bars["from"].isna().any():
        # A state that began before any event enters from the left.
        start -= (end - start) * 0.05
    return (start, end) if end > start else (start - 0.5, end + 0.5)


def _number(moment: pd.Timestamp, missing: float) -> float:
    return missing if pd.isna(moment) else float(mdates.date2num(moment.to_pydatetime()))


def _legend(ax: Axes, values: pd.Series[Any], colours: dict[str, str]) -> None:
    own = [value for value, colour in colours.items() if colour != _REST]
    handles = [Rectangle((0, 0), 1, 1, color=colours[value]) for value in own]
    names = list(own)
    others = len(set(values)) - len(own)
    if others:
        handles.append(Rectangle((0, 0), 1, 1, color=_REST))
        names.append(f"{others} others")
    ax.legend(
        handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8,
        handlelength=1.0, handleheight=1.0, labelcolor=_INK,
    )  # fmt: skip
