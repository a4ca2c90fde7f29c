"""A timeline as a picture: one lane for each object, or for each field of a single one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import matplotlib.dates
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Rectangle

from pgmagic.tables.faithful import is_missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pgmagic.history.timeline import TimelineFrame

# Untyped, all of it.
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
# What a text of eight points takes, in inches for each of its letters.
_LETTER_INCHES = 0.075
_LONGEST = 40


def draw(
    timeline: TimelineFrame,
    field: str | None,
    *,
    lane: str | None,
    limit: int,
    until: Any,
    ax: Axes | None,
) -> Axes:
    """Draw a timeline; see `TimelineFrame.plot`."""
    for name in (field, lane):
        if name is not None and name not in timeline.fields:
            raise ValueError(
                f"The timeline has no field {name!r} to draw; its fields are {', '.join(timeline.fields)}."
            )
    if timeline.empty:
        raise ValueError("There is nothing to draw: the timeline has no rows.")
    single = timeline["pgh_obj_id"].nunique() == 1
    bars, title = (
        _bars_of_fields(timeline)
        if single and field is None
        else _bars_of_objects(timeline, field, lane, limit)
    )
    return _drawn(bars, title, _end(until), ax)


def _end(until: Any) -> pd.Timestamp:
    moment = pd.Timestamp(datetime.now(UTC) if until is None else until)
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def _bars_of_objects(
    timeline: TimelineFrame, field: str | None, lane: str | None, limit: int
) -> tuple[pd.DataFrame, str]:
    chosen = field or _telling_field(timeline)
    bars = _joined(timeline, chosen)
    states = bars.groupby("lane", sort=False).size()
    total = len(states)
    if total > limit:
        most = set(states.sort_values(ascending=False, kind="stable").index[:limit])
        bars = bars[bars["lane"].isin(most)]
    if lane is not None:
        latest = timeline.groupby("pgh_obj_id", sort=False)[lane].last()
        bars = bars.assign(lane=[_text(latest[key]) for key in bars["lane"]])
    else:
        bars = bars.assign(lane=[_text(key) for key in bars["lane"]])
    shown = f", the {limit} of {total:,} that changed most" if total > limit else ""
    return bars, f"{chosen}{shown}"


def _telling_field(timeline: TimelineFrame) -> str:
    """Return the field that changed and has the fewest values; where none did, the last one."""
    counts = {}
    for name in timeline.fields:
        texts = timeline[name].map(_text)
        changed = texts.groupby(timeline["pgh_obj_id"], sort=False).nunique().gt(1).any()
        if changed:
            counts[name] = texts.nunique()
    return min(counts, key=lambda name: counts[name]) if counts else timeline.fields[-1]


def _bars_of_fields(timeline: TimelineFrame) -> tuple[pd.DataFrame, str]:
    changed = [name for name in timeline.fields if timeline[name].map(_text).nunique() > 1]
    parts = [_joined(timeline, name).assign(lane=name) for name in changed or timeline.fields]
    key, said = _text(timeline["pgh_obj_id"].iloc[0]), timeline.caption or "Timeline"
    return pd.concat(parts), said if said.endswith(f" {key}") else f"{said} · {key}"


def _joined(timeline: TimelineFrame, field: str) -> pd.DataFrame:
    """Return lane, value, from and to of each time in which a field kept its value."""
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
    return plain.groupby(runs, sort=False).agg(
        **{
            "lane": ("lane", "first"),
            "value": ("value", "first"),
            "from": ("from", _first),
            "to": ("to", _last),
        }
    )


def _first(values: pd.Series[Any]) -> Any:
    return values.iloc[0]


def _last(values: pd.Series[Any]) -> Any:
    return values.iloc[-1]


def _text(value: Any) -> str:
    if not isinstance(value, list | dict) and is_missing(value):
        return "(none)"
    text = str(value)
    if isinstance(value, pd.Timestamp):
        text = f"{value:%Y-%m-%d}" if value == value.normalize() else f"{value:%Y-%m-%d %H:%M}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _drawn(bars: pd.DataFrame, title: str, until: pd.Timestamp, ax: Axes | None) -> Axes:
    lanes = list(dict.fromkeys(bars["lane"]))
    if ax is None:
        size = (_WIDTH_INCHES, 1.1 + _LANE_INCHES * len(lanes))
        _, ax = plt.subplots(figsize=size, layout="constrained", facecolor="none")
    start, end = _bounds(bars, until)
    colours = _colours(bars["value"])
    letter = _LETTER_INCHES / (ax.figure.get_figure(root=True).get_figwidth() * 0.8) * (end - start)
    positions = {name: place for place, name in enumerate(lanes)}
    direct = 0
    for bar in bars.to_dict("records"):
        begins, ends = _number(bar["from"], start), _number(bar["to"], end)
        place, value = positions[bar["lane"]], bar["value"]
        ax.barh(
            place,
            ends - begins,
            left=begins,
            height=_BAR,
            color=colours[value],
            edgecolor="white",
            linewidth=0.8,
        )
        if len(value) * letter < ends - begins:
            ax.text(begins + letter / 2, place, value, va="center", fontsize=8, color="#222222", clip_on=True)
            direct += 1
    _dress(ax, lanes, title, (start, end))
    if direct < len(bars) and len(set(colours.values())) > 1:
        _legend(ax, bars["value"], colours)
    return ax


def _bounds(bars: pd.DataFrame, until: pd.Timestamp) -> tuple[float, float]:
    known = pd.concat([bars["from"], bars["to"]]).dropna()
    start = (
        float(mdates.date2num(known.min().to_pydatetime()))
        if len(known)
        else float(mdates.date2num(until)) - 1
    )
    end = max(
        float(mdates.date2num(until.to_pydatetime())) if bars["to"].isna().any() else start,
        float(mdates.date2num(known.max().to_pydatetime())) if len(known) else start,
    )
    if bars["from"].isna().any():
        # What began before any event reaches in from the left.
        start -= (end - start) * 0.05
    return (start, end) if end > start else (start - 0.5, end + 0.5)


def _number(moment: Any, missing: float) -> float:
    return missing if pd.isna(moment) else float(mdates.date2num(moment.to_pydatetime()))


def _colours(values: pd.Series[Any]) -> dict[str, str]:
    """Return a colour for each value: the most frequent ones have one of their own, the others share one."""
    colours = {"(none)": _MISSING}
    # In order of first appearance, so that a life cycle's first state has the first colour.
    frequent = set(values[values != "(none)"].value_counts().index[: len(_COLOURS)])
    first = [value for value in dict.fromkeys(values) if value in frequent]
    colours |= dict(zip(first, _COLOURS, strict=False))
    return {value: colours.get(value, _REST) for value in dict.fromkeys(values)}


def _dress(ax: Axes, lanes: list[str], title: str, bounds: tuple[float, float]) -> None:
    ax.set_yticks(range(len(lanes)), labels=lanes, fontsize=9)
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    ax.set_xlim(*bounds)
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
